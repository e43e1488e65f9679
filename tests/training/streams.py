"""Manifests in memory, and an objective that needs no model, for tests of the data's way."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from unisono.errors import BadRowError
from unisono.manifests import PairRow, Row
from unisono.training.batch import Computed


class Listed:
    """A manifest whose row n has a text of n characters or so; some rows are broken."""

    def __init__(self, name: str, count: int, broken: Sequence[int] = ()) -> None:
        self.name, self.count, self.broken = name, count, set(broken)
        self.fingerprint = f"{name} {count}"

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Row:
        if index in self.broken:
            raise BadRowError(f"{self.name}:{index}: torn")
        return PairRow(f"{self.name}:{index}", text="x" * (1 + index * 7 % 23))


class Streamed:
    """The same, in order only."""

    def __init__(self, name: str, count: int, broken: Sequence[int] = ()) -> None:
        self._listed = Listed(name, count, broken)
        self.fingerprint = f"stream {self._listed.fingerprint}"
        self.started: list[int] = []

    def stream(self, start: int = 0) -> Iterator[Row | BadRowError]:
        self.started.append(start)
        for index in range(start, len(self._listed)):
            try:
                yield self._listed[index]
            except BadRowError as error:
                yield error


class Texts:
    """Learns nothing; a text's characters are its tokens."""

    def __init__(
        self, *, slow_s: float = 0.0, pause_s: float = 0.0, refused: str = "", packs: bool = False
    ) -> None:
        self.slow_s, self.pause_s, self.refused, self.packs = slow_s, pause_s, refused, packs
        self.threads: set[str] = set()

    def prepare(self, row: Row) -> str:
        self.threads.add(threading.current_thread().name)
        time.sleep(self.pause_s)
        if self.slow_s:
            time.sleep(self.slow_s * (hash(row.name) % 5))
        if self.refused and self.refused in row.name:
            raise BadRowError("of no use")
        assert isinstance(row, PairRow)
        return f"{row.name} {row.text}"

    def length(self, example: str) -> int:
        return len(example.partition(" ")[2])

    def kind(self, example: str) -> str:
        return "odd" if self.length(example) % 2 else "even"

    def collate(self, examples: Sequence[str]) -> tuple[Mapping[str, Any], float]:
        return {"lengths": torch.tensor([self.length(e) for e in examples])}, float(len(examples))

    def loss(self, model: Any, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        return Computed(model(inputs["lengths"].float().mean()[None]).sum())
