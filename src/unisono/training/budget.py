"""How long a stage is, and how much of that is done."""

from dataclasses import asdict, dataclass
from typing import Any

from unisono.errors import RecipeError
from unisono.training.recipe import Length


@dataclass
class Totals:
    """What a stage has done so far, on all ranks.

    Attributes:
        steps: of the optimizer, skipped ones included.
        samples, tokens: read.
        seconds: of work, interruptions excluded.
    """

    steps: int = 0
    samples: int = 0
    tokens: int = 0
    seconds: float = 0.0

    def add(self, samples: int, tokens: int, seconds: float) -> None:
        """A step."""
        self.steps += 1
        self.samples += samples
        self.tokens += tokens
        self.seconds += seconds

    def state(self) -> dict[str, Any]:
        """JSON values that make another of it."""
        return asdict(self)


@dataclass(frozen=True)
class Budget:
    """The length of a stage.

    Attributes:
        unit: "steps", "samples" or "tokens".
        total: of them.
    """

    unit: str
    total: int

    @classmethod
    def of(cls, length: Length) -> "Budget":
        """From a recipe's length.

        Raises:
            RecipeError: it is in epochs, which only who knows the data can turn into samples.
        """
        for unit in ("steps", "samples", "tokens"):
            if total := getattr(length, unit):
                return cls(unit, total)
        raise RecipeError("the length of a stage must be in steps, samples or tokens here")

    def done(self, totals: Totals) -> int:
        """In its unit; more than `total`, if the last step did not fit exactly."""
        return int(getattr(totals, self.unit))

    def progress(self, totals: Totals, step: Totals | None = None) -> float:
        """Share that is done, in [0, 1].

        Args:
            totals: so far.
            step: what comes on top of it.
        """
        coming = 0 if step is None else self.done(step)
        return min((self.done(totals) + coming) / self.total, 1.0)
