"""Clips with questions -> data sets that `unisono train` reads."""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unisono.curation.records import Case, present
from unisono.curation.splits import SHARES, assign
from unisono.curation.store import Store
from unisono.manifests.shard_writing import SHARD_BYTES, ShardForm, Talk, Turn, write_shards


@dataclass(frozen=True)
class Export:
    """Write conversations, a folder a form.

    Attributes:
        forms: of the files.
        shares: of videos, by the name of the split.
        seed: of the lots that split them.
        shard_bytes: of media, after which a shard is full.
    """

    forms: Sequence[ShardForm] = ("ola",)
    shares: Mapping[str, float] | None = None
    seed: int = 0
    shard_bytes: int = SHARD_BYTES

    def write(
        self, cases: Sequence[Case], store: Store, linked: Sequence[Sequence[str]]
    ) -> dict[str, Any]:
        """Write `out/dataset/<form>/<split>…`; it is there whole, or as it was before.

        Args:
            cases: clips with questions.
            store: of their media.
            linked: pairs of videos that may not be parted.

        Returns:
            How many clips and questions each split has, for the report.

        Raises:
            DataError: the shares do not sum to 1, or a file cannot be written.
            MissingExtraError: Parquet needs pyarrow.
        """
        shares = self.shares or SHARES
        pairs = [(pair[0], pair[1]) for pair in linked]
        split_of = assign((case.content for case in cases), pairs, shares, self.seed)
        unfinished = store.folder / "dataset.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        for form in self.forms:
            for split in shares:
                chosen = [case for case in cases if split_of[case.content] == split]
                if chosen:
                    size = self.shard_bytes
                    talks = _talks(chosen, store)
                    write_shards(talks, unfinished / form, split, form, shard_bytes=size)
        _take_place(unfinished, store.folder / "dataset")
        clips = Counter(split_of[case.content] for case in cases)
        questions: Counter[str] = Counter()
        for case in cases:
            questions[split_of[case.content]] += len(present(case.questions).kept)
        videos = Counter(split_of.values())
        return {
            "splits": {
                name: {
                    "videos": videos[name],
                    "clips": clips[name],
                    "questions": questions[name],
                }
                for name in shares
            }
        }


def _talks(cases: Sequence[Case], store: Store) -> Iterator[Talk]:
    for case in cases:
        clip, asked = present(case.clip), present(case.questions).kept
        fields = {
            "source": clip.source,
            "start_s": clip.start_s,
            "end_s": clip.end_s,
            "needs": [question.needs for question in asked],
            "forms": [question.form for question in asked],
        }
        turns = [Turn(question.text, question.answer) for question in asked]
        yield Talk(clip.id, store.frames(clip), store.sound(clip), turns, fields)


def _take_place(unfinished: Path, folder: Path) -> None:
    """As `picturebook` does it: what has a name is whole."""
    before = folder.with_name(f"{folder.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    if folder.exists():
        folder.rename(before)
    if unfinished.exists():
        unfinished.rename(folder)
    shutil.rmtree(before, ignore_errors=True)
