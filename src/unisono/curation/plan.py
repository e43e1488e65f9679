"""Which stages there are, with their settings and models, in what order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from unisono.curation.loudness import Silence
from unisono.curation.probe import Probe
from unisono.curation.records import Case, Outcome
from unisono.curation.split import Split
from unisono.curation.stage import Stage, settings_of
from unisono.curation.store import Store


class Together(Protocol):
    """A stage that has to see all clips at once."""

    name: ClassVar[str]

    def run(
        self, cases: Sequence[Case]
    ) -> tuple[Mapping[int, Outcome], Sequence[Mapping[str, float]], Mapping[str, Any]]:
        """The places of those that are left out, metrics, and facts for the report."""


class Write(Protocol):
    """Writes a data set."""

    def write(
        self, cases: Sequence[Case], store: Store, linked: Sequence[Sequence[str]]
    ) -> dict[str, Any]:
        """Of clips, of videos some of which may not be parted; facts for the report."""


@dataclass(frozen=True)
class Plan:
    """The pipeline.

    Attributes:
        probe, split: from files to clips.
        describe: from a clip to all that is known of it; filters among them.
        together: what needs to see all clips.
        ask: questions, and their checks.
        write: data sets.
    """

    probe: Stage = field(default_factory=Probe)
    split: Stage = field(default_factory=Split)
    describe: Sequence[Stage] = field(default_factory=lambda: (Silence(),))
    together: Sequence[Together] = ()
    ask: Sequence[Stage] = ()
    write: Sequence[Write] = ()

    def settings(self) -> dict[str, Any]:
        """Stage -> its settings as JSON values, models by name and fingerprint."""
        stages: list[Any] = [self.probe, self.split, *self.describe, *self.together, *self.ask]
        said = {stage.name: settings_of(stage) for stage in stages}
        return said | {type(one).__name__.lower(): settings_of(one) for one in self.write}
