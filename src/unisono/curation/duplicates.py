"""Clips that show and say the same again, in whatever size and compression.

Two clips are the same if their frames are (by difference hashes and embedding) and their sound is
(by words, or by embedding where there are few): a picture that stands still while something else
is said is no duplicate. The larger, longer one stays.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np

from unisono.curation.embed import distance
from unisono.curation.records import Case, Clip, Outcome, present
from unisono.retrieval.duplicates import near_duplicates

AGAIN = "near-duplicate"
_FEW_WORDS = 3


@dataclass(frozen=True)
class Duplicates:
    """Leave out what is there again.

    Attributes:
        picture: least similarity of the frames' embeddings.
        hashes: most bits that differ, of 1, in the mean of the key frames.
        sure: similarity of frames from which hashes are not asked: cropped copies have others.
        words: least overlap of what is said (Jaccard, of 1).
        sound: least similarity of the sounds' embeddings, where hardly anything is said.
    """

    picture: float = 0.9
    hashes: float = 0.15
    sure: float = 0.995
    words: float = 0.6
    sound: float = 0.9

    name: ClassVar[str] = "duplicates"

    def run(
        self, cases: Sequence[Case]
    ) -> tuple[Mapping[int, Outcome], Sequence[Mapping[str, float]], Mapping[str, Any]]:
        """Places of duplicates, with whose they are."""
        if not cases:
            return {}, (), {"linked_sources": []}
        vectors = np.array([present(case.vectors).picture for case in cases], dtype=np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        order = sorted(range(len(cases)), key=lambda place: _rank(present(cases[place].clip)))
        better = {place: number for number, place in enumerate(order)}
        rejected: dict[int, Outcome] = {}
        linked: set[tuple[str, str]] = set()
        for group in near_duplicates(vectors, self.picture):
            members = sorted(group.members, key=better.__getitem__)
            for first, second in combinations(members, 2):
                similarity = float(vectors[first] @ vectors[second])
                if not self._same(cases[first], cases[second], similarity):
                    continue
                clip = present(cases[first].clip)
                linked.add(_pair(clip.source, present(cases[second].clip).source))
                if first not in rejected and second not in rejected:
                    detail = f"of {clip.id}, similarity {similarity:.3f}"
                    rejected[second] = Outcome(None, AGAIN, detail)
        pairs = sorted(list(pair) for pair in linked if pair[0] != pair[1])
        return rejected, (), {"linked_sources": pairs}

    def _same(self, first: Case, second: Case, similarity: float) -> bool:
        if similarity < self.picture:
            return False  # in one group for the sake of a third
        hashes = zip(present(first.vectors).hashes, present(second.vectors).hashes, strict=False)
        apart = float(np.mean([distance(a, b) for a, b in hashes]))
        if apart > self.hashes and similarity < self.sure:
            return False
        return self._sounds_same(first, second)

    def _sounds_same(self, first: Case, second: Case) -> bool:
        one, other = _words(first), _words(second)
        if min(len(one), len(other)) >= _FEW_WORDS:
            return len(one & other) / len(one | other) >= self.words
        if max(len(one), len(other)) >= 2 * _FEW_WORDS:
            return False
        heard = [np.array(present(case.vectors).sound) for case in (first, second)]
        if not all(map(len, heard)):
            return True
        lengths = np.linalg.norm(heard[0]) * np.linalg.norm(heard[1])
        return bool(heard[0] @ heard[1] / max(lengths, 1e-12) >= self.sound)


def _rank(clip: Clip) -> tuple[float, float, str]:
    return -clip.pixels, -clip.duration_s, clip.id


def _words(case: Case) -> set[str]:
    text = case.subtitles.text if case.subtitles else ""
    return {word.strip(".,!?;:\"'").lower() for word in text.split()}


def _pair(first: str, second: str) -> tuple[str, str]:
    return (first, second) if first <= second else (second, first)
