"""Stage "label": what is seen and what sounds, of some labels (zero-shot)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from unisono.curation.records import Case, Label, Labels, Outcome, Vectors, present
from unisono.curation.stage import Model
from unisono.curation.store import Store
from unisono.retrieval.classify import Classifier
from unisono.runtime.embedder import Embedder

SOUNDS = (
    *("speech", "music", "singing", "laughter", "applause", "crowd", "footsteps", "silence"),
    *("dog", "cat", "bird", "cow", "horse", "sheep", "pig", "rooster", "frog", "insect"),
    *("rain", "wind", "thunder", "water", "fire", "engine", "car", "train", "airplane", "siren"),
    *("bell", "telephone", "door", "clock", "keyboard", "piano", "guitar", "violin", "flute"),
    *("trumpet", "drum", "organ"),
)
"""Labels of sounds, unless others are given."""

PICTURES = (
    *("person", "face", "crowd", "child", "hand", "dog", "cat", "bird", "cow", "horse", "sheep"),
    *("pig", "fish", "frog", "insect", "elephant", "lion", "bear", "mouse", "snake", "tree"),
    *("flower", "grass", "mountain", "sea", "river", "sky", "snow", "night", "street", "house"),
    *("room", "kitchen", "office", "car", "bus", "train", "airplane", "boat", "bicycle", "ball"),
    *("book", "computer", "telephone", "table", "chair", "bed", "food", "fruit", "cake", "cup"),
    *("piano", "guitar", "violin", "drum", "bell", "clock", "text on a screen", "a map"),
)
"""Labels of pictures, unless others are given."""

_KEPT = 5
_KIND_OF = {"picture": "video", "sound": "audio"}


@dataclass(frozen=True)
class Describe:
    """Find the likeliest labels.

    Attributes:
        classifiers: makes those of pictures and of sounds, by the two lists of labels.
        pictures, sounds: the labels.
    """

    classifiers: "Model[Classifiers]"
    pictures: Sequence[str] = PICTURES
    sounds: Sequence[str] = SOUNDS

    name: ClassVar[str] = "label"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("vectors",)
    gives: ClassVar[str] = "labels"
    record: ClassVar[type] = Labels

    def run(self, case: Case, store: Store) -> Outcome:
        """A `Labels`."""
        vectors, both = present(case.vectors), self.classifiers.get()
        labels = Labels(
            both.best(vectors, "picture", self.pictures), both.best(vectors, "sound", self.sounds)
        )
        metrics = {
            name: found[0].probability
            for name, found in (("picture", labels.pictures), ("sound", labels.sounds))
            if found
        }
        return Outcome(labels, metrics=metrics)


class Classifiers:
    """Zero-shot classifiers of one representation model; labels are embedded once."""

    def __init__(self, embedder: Model[Embedder]) -> None:
        self._embedder = embedder
        self._made: dict[tuple[str, ...], Classifier] = {}

    def best(self, vectors: Vectors, kind: str, labels: Sequence[str]) -> tuple[Label, ...]:
        """The likeliest labels of what is seen ("picture") or heard ("sound"), the best first."""
        vector = np.array(getattr(vectors, kind), dtype=np.float32)
        if not len(vector):
            return ()
        listed = tuple(labels)
        if listed not in self._made:
            self._made[listed] = Classifier(self._embedder.get(), listed)
        shares = self._made[listed].of_vector(vector, (_KIND_OF[kind],))
        order = np.argsort(-shares, kind="stable")[:_KEPT]
        return tuple(Label(listed[place], round(float(shares[place]), 4)) for place in order)
