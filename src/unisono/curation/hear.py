"""Stage "hear": what is said, word by word, by a listener."""

from dataclasses import dataclass
from typing import ClassVar

from unisono.curation.records import Case, Heard, Outcome, present
from unisono.curation.stage import Model
from unisono.curation.store import Store
from unisono.media import load_audio
from unisono.speech import Listener, Word


@dataclass(frozen=True)
class Hear:
    """Listen.

    Attributes:
        listener: who does.
        language: ISO 639-1 code of what is spoken; None lets the listener find it.
    """

    listener: Model[Listener]
    language: str | None = None

    name: ClassVar[str] = "hear"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("clip",)
    gives: ClassVar[str] = "heard"
    record: ClassVar[type] = Heard

    def run(self, case: Case, store: Store) -> Outcome:
        """A `Heard`; without words where nobody speaks."""
        sound = store.sound(present(case.clip))
        if sound is None:
            return Outcome(Heard((), "", 0.0))
        said = self.listener.get().listen(load_audio(sound), language=self.language)
        words = tuple(
            Word(word.text, word.start_s, word.end_s, round(word.probability, 3))
            for word in said.words
        )
        heard = Heard(words, said.language, round(said.language_probability, 3))
        return Outcome(heard, metrics={"words": len(words)})
