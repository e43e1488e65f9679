"""Which row comes next: sources drawn by weight, each walked in a shuffled order.

Everything follows from (seed, rank, number), so a run that is resumed draws what it would have
drawn. A source's rows are divided among the ranks: rank r takes the shuffled places r, r + world, …
"""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np

from unisono.errors import BadRowError, CheckpointError, DataError, RecipeError
from unisono.manifests import Manifest, Row, StreamedManifest

BLOCK_ROWS = 256
"""Rows of a stream that are shuffled among themselves: so many are in memory."""

Source = Manifest | StreamedManifest


@dataclass(frozen=True)
class Draw:
    """A row that was drawn, not opened yet.

    Attributes:
        source: its name in the recipe.
        place: the row's number; -1 in a stream.
        row: of a stream, where rows come by themselves; None where `place` finds it.
        manifest: what `place` is a number of.
        chance: number that decides whatever is drawn by chance of the row; another one whenever
            it is drawn again.
    """

    source: str
    place: int
    row: Row | BadRowError | None = None
    manifest: Manifest | None = None
    chance: int = 0

    def read(self) -> Row:
        """The row.

        Raises:
            BadRowError: it is broken.
        """
        row = self.manifest[self.place] if self.manifest is not None else self.row
        if isinstance(row, BadRowError):
            raise row
        if row is None:
            raise BadRowError(f"{self.source}: there is no row")
        return row


class Mixture:
    """An endless stream of draws of one rank."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        weights: Mapping[str, float],
        *,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Mix sources.

        Args:
            sources: by name.
            weights: source -> in which proportion it is drawn; those of weight 0 never.
            seed: of every order.
            rank, world: this process, and how many there are.

        Raises:
            RecipeError: a weight is negative, none is positive, or a source is missing.
        """
        chosen = {name: weight for name, weight in weights.items() if weight > 0}
        if not chosen or min(weights.values()) < 0 or not chosen.keys() <= sources.keys():
            raise RecipeError(
                f"weights must be positive and name sources among {sorted(sources)}, "
                f"but are {dict(weights)}"
            )
        self._names = sorted(chosen)
        self._bounds = np.cumsum([chosen[name] for name in self._names]) / sum(chosen.values())
        self._seed, self._rank = seed, rank
        self._walks = {
            name: walk(sources[name], name, seed=seed, rank=rank, world=world)
            for name in self._names
        }
        self._made_of: dict[str, Any] = {
            "world": world,
            "data": {name: sources[name].fingerprint for name in self._names},
            "bounds": self._bounds.tolist(),
        }
        self._number = 0

    @property
    def rows(self) -> int | None:
        """Rows of all sources; None if one is a stream."""
        counts = [w.rows for w in self._walks.values()]
        return None if None in counts else sum(c for c in counts if c is not None)

    def __iter__(self) -> Iterator[Draw]:
        return self

    def __next__(self) -> Draw:
        share = uniform(self._seed, self._rank, self._number)
        chance = digest(self._seed, self._rank, self._number, "chance")
        self._number += 1
        name = self._names[
            min(int(np.searchsorted(self._bounds, share, "right")), len(self._names) - 1)
        ]
        return replace(next(self._walks[name]), chance=chance)

    def state(self) -> dict[str, Any]:
        """Where it is; JSON."""
        return {
            "drawn": self._number,
            "walks": {name: one.state() for name, one in self._walks.items()},
            **self._made_of,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there.

        Raises:
            CheckpointError: it was with other data, another mixture or another number of ranks.
        """
        _check_same(state, self._made_of)
        self._number = int(state["drawn"])
        for name, one in self._walks.items():
            one.restore(state["walks"][name])


class NumberedWalk:
    """Epoch after epoch over a manifest's rows, each in an order of its own."""

    def __init__(self, manifest: Manifest, name: str, key: tuple[int, int, int]) -> None:
        self._manifest, self._name = manifest, name
        self._seed, self._rank, self._world = key
        self.rows: int | None = len(manifest)
        self._taken = 0

    def __next__(self) -> Draw:
        place = self._taken * self._world + self._rank
        self._taken += 1
        epoch, index = divmod(place, len(self._manifest))
        order = digest(self._seed, self._name, epoch)
        shuffled = permuted(index, len(self._manifest), order)
        return Draw(self._name, shuffled, manifest=self._manifest)

    def state(self) -> Any:
        """Rows taken."""
        return self._taken

    def restore(self, state: Any) -> None:
        """Go on after so many rows."""
        self._taken = int(state)


class StreamWalk:
    """Epoch after epoch over a stream; blocks of rows are shuffled, every rank reads all."""

    def __init__(self, manifest: StreamedManifest, name: str, key: tuple[int, int, int]) -> None:
        self._manifest, self._name = manifest, name
        self._seed, self._rank, self._world = key
        self.rows: int | None = None
        self._epoch, self._start, self._taken = 0, 0, 0
        self._stream: Iterator[Row | BadRowError] | None = None
        self._block: list[Row | BadRowError] = []
        self._ended = False

    def __next__(self) -> Draw:
        while self._taken >= len(self._block):
            self._read_block()
        row = self._block[self._taken]
        self._taken += 1
        return Draw(self._name, -1, row=row)

    def state(self) -> Any:
        """Epoch, the first row of the block, and rows taken of it."""
        return [self._epoch, self._start, self._taken]

    def restore(self, state: Any) -> None:
        """Go on in that block."""
        self._epoch, start, taken = (int(x) for x in state)
        self._start, self._block, self._stream = start, [], None
        if taken:
            self._fill()
        self._taken = taken

    def _read_block(self) -> None:
        """The next block with a row for this rank, of the next epoch where this one ends."""
        if self._stream is not None:
            self._start += BLOCK_ROWS
        self._taken = 0
        self._fill()
        ends = 0
        # With more ranks than rows in a block, some blocks have nothing for this one.
        while not self._block:
            ends += self._ended
            if ends > 1:
                raise DataError(
                    f"source {self._name} must have a row for each of {self._world} ranks, "
                    "but has no rows for some"
                )
            self._skip()
            self._fill()

    def _skip(self) -> None:
        if self._ended:
            self._epoch, self._start, self._stream = self._epoch + 1, 0, None
        else:
            self._start += BLOCK_ROWS

    def _fill(self) -> None:
        if self._stream is None:
            self._stream = iter(self._manifest.stream(self._start))
        rows = list(islice(self._stream, BLOCK_ROWS))
        self._ended = len(rows) < BLOCK_ROWS
        random.Random(digest(self._seed, self._name, self._epoch, self._start)).shuffle(rows)
        self._block = rows[(self._rank - self._start) % self._world :: self._world]


def walk(
    source: Source, name: str, *, seed: int, rank: int, world: int
) -> NumberedWalk | StreamWalk:
    """One rank's way through a source."""
    if isinstance(source, Manifest):
        return NumberedWalk(source, name, (seed, rank, world))
    return StreamWalk(source, name, (seed, rank, world))


def permuted(index: int, count: int, key: int) -> int:
    """Where `index` goes in the shuffled order of 0 … count - 1 that `key` names.

    A Feistel network over the next power of four, walked until it falls into the range (Black and
    Rogaway 2002): an order of a billion rows takes no memory.
    """
    half = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for round_number in range(4):
            left, right = right, left ^ (_mixed(right, key, round_number) & mask)
        index = left << half | right
        if index < count:
            return index


def uniform(*key: int) -> float:
    """A number in [0, 1), the same for the same key."""
    return digest(*key) / 2**64


def digest(*key: Any) -> int:
    """64 bits, the same for the same key in every run and process."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "big")


def _check_same(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    if then.get("world") != now["world"]:
        raise CheckpointError(
            f"the checkpoint is of {then.get('world')} ranks, but there are {now['world']} now"
        )
    if changed := _changed(then.get("data"), now["data"]):
        raise CheckpointError(
            f"the data have changed since the checkpoint: {', '.join(changed)} (files, their sizes "
            "or times); begin anew, or bring back what was there"
        )
    if then.get("bounds") != now["bounds"]:
        raise CheckpointError("the weights of the mixture have changed since the checkpoint")


def _changed(then: Any, now: Mapping[str, str]) -> list[str]:
    """The sources that are others now."""
    then = then if isinstance(then, dict) else {}
    return sorted(name for name in then.keys() | now.keys() if then.get(name) != now.get(name))


def _mixed(value: int, key: int, round_number: int) -> int:
    """splitmix64's finaliser (Steele et al. 2014)."""
    x = (value + key + round_number * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return x ^ (x >> 31)
