"""Stage "relevance": whether what is said has to do with what is seen.

Similarities of a model have no scale of their own. So the clip's words compete with sentences
about other things: relevance is the share of those that are less like the frames.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from unisono.curation.records import Case, Nothing, Outcome, present
from unisono.curation.stage import Model
from unisono.curation.store import Store
from unisono.runtime.embedder import Embedder

UNRELATED = "words about something else"

OTHERS = tuple(
    sentence.strip()
    for sentence in """
    A man is talking about the weather. The train arrives at the station at noon.
    This recipe needs two eggs and some flour. The committee will vote on the budget tomorrow.
    She plays the piano every evening. Our team scored three goals in the second half.
    The river flows through the old town. You can reset your password in the settings.
    Children are running across the playground. The doctor said it was only a cold.
    A blue car stops in front of the house. He opened the window and looked at the sea.
    The price of oil has gone up again. An elephant drinks water from the lake.
    The guitar was out of tune. We are looking for a new flat in the city.
    Snow covers the mountains in winter. The cat sleeps on the red sofa.
    The plane will land in twenty minutes. This book tells the story of a young sailor.
    A yellow bird sits on a branch. The computer has stopped working.
    They danced all night at the wedding. Please hold the line.
    The baker sells fresh bread in the morning. A horse jumps over the fence.
    The museum is closed on Mondays. It takes an hour to drive to the airport.
    The flowers in the garden are white and pink. His phone was ringing in his pocket.
    Scientists have found a new planet. The boat is tied to the pier.
    I would like a cup of tea. The orange ball rolls down the hill.
    The clock on the wall is five minutes late. Two dogs are fighting over a bone.
    """.replace("\n", " ").split(". ")
    if sentence.strip()
)


@dataclass(frozen=True)
class Relevance:
    """Compare the words with the frames.

    Attributes:
        embedder: of words and frames.
        least: share of other sentences that must be less like the frames.
        least_words: shorter texts pass.
    """

    embedder: "Model[Rival]"
    least: float = 0.3
    least_words: int = 3

    name: ClassVar[str] = "relevance"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("vectors", "subtitles")
    gives: ClassVar[str] = ""
    record: ClassVar[type] = Nothing

    def run(self, case: Case, store: Store) -> Outcome:
        """Of the whole text, and all frames."""
        text = present(case.subtitles).text
        if len(text.split()) < self.least_words:
            return Outcome(Nothing())
        picture = np.array(present(case.vectors).picture, dtype=np.float32)
        share = self.embedder.get().share(picture, text)
        metrics = {"relevance": round(share, 4)}
        if share < self.least:
            return Outcome(None, UNRELATED, f"more than {share:.0%} of other sentences", metrics)
        return Outcome(Nothing(), metrics=metrics)


class Rival:
    """Holds other sentences against a text."""

    def __init__(self, embedder: Model[Embedder]) -> None:
        self._embedder = embedder

    @cached_property
    def _others(self) -> NDArray[np.float32]:
        return np.asarray(self._embedder.get().embed(text=list(OTHERS)))

    def share(self, picture: NDArray[np.float32], text: str) -> float:
        """Share of other sentences less like a picture [D] than a text is, equal ones by half."""
        own = float(self._embedder.get().embed(text=text)[0] @ picture)
        others = self._others @ picture
        return float(np.mean(others < own - 1e-6) + np.mean(np.abs(others - own) <= 1e-6) / 2)
