"""Checkpoints on disk: whole or not at all, and checked before one is believed.

<stage>/checkpoints/step-00001234/
    model.safetensors          the trained parameters
    ema.safetensors            their average, if there is one
    moments-00000.safetensors  AdamW's, of the first rank; where they are sharded, of each
    state.json                 written last: places in data and journal, totals, generators, what
                               the run was, and the size and checksum of every file

Nothing in it is a pickle. This module knows files; `snapshot` knows what is in them.
"""

import json
import logging
import os
import re
import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unisono.errors import CheckpointError
from unisono.training.distributed import Ranks

_LOG = logging.getLogger(__name__)

MODEL, EMA, STATE = "model.safetensors", "ema.safetensors", "state.json"
_VERSION = 1
_NAME = re.compile(r"step-(\d{8,})")
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Snapshot:
    """What a rank has to save.

    Attributes:
        step: optimizer steps done.
        files: name -> tensors that this rank writes.
        state: JSON values of the run; the first rank's are written.
    """

    step: int
    files: Mapping[str, Mapping[str, Tensor]]
    state: Mapping[str, Any]


def moments_file(rank: int) -> str:
    """Where a rank keeps its moments."""
    return f"moments-{rank:05d}.safetensors"


def save_checkpoint(folder: Path, snapshot: Snapshot, ranks: Ranks, *, keep: int) -> Path:
    """Write a checkpoint, and remove all but the last few. All ranks call it.

    Args:
        folder: of the stage's checkpoints; on several machines, one they share.
        snapshot: of this rank.
        ranks: all of them.
        keep: how many remain.

    Returns:
        Its folder.

    Raises:
        CheckpointError: it cannot be written (a full disk, say), on all ranks. Those before it
            are as they were, and nothing is left of this one.
    """
    final = folder / f"step-{snapshot.step:08d}"
    partial = final.with_name(f"{final.name}.partial")
    try:
        _together(folder, ranks, lambda: _emptied(partial) if ranks.is_main else None)
        written = _together(folder, ranks, lambda: _write_files(partial, snapshot.files))
        files = {name: entry for one in written for name, entry in one.items()}
        state = {"version": _VERSION, **snapshot.state, "step": snapshot.step, "files": files}
        _together(folder, ranks, lambda: _finish(partial, final, state) if ranks.is_main else None)
    except CheckpointError:
        if ranks.is_main:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    if ranks.is_main:
        _prune(folder, keep)
    return final


def newest_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint that is whole; None if there never was one.

    Raises:
        CheckpointError: there are some, but none is whole.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        try:
            _verify(path)
        except CheckpointError as error:
            _LOG.warning("%s; the checkpoint before it is taken", error)
        else:
            return path
    if found:
        raise CheckpointError(
            f"none of the {len(found)} checkpoints in '{folder}' can be read; --fresh begins anew"
        )
    return None


def agreed_checkpoint(folder: Path, ranks: Ranks) -> Path | None:
    """`newest_checkpoint`, as the first rank sees it.

    Raises:
        CheckpointError: there are some, but none is whole; on all ranks.
    """
    found: Path | None = None
    failure: CheckpointError | None = None
    if ranks.is_main:
        try:
            found = newest_checkpoint(folder)
        except CheckpointError as error:
            failure = error
    found, failure = ranks.gather((found, failure))[0]
    if failure is not None:
        raise failure
    return found


def checkpoints(folder: Path) -> list[Path]:
    """Those there are, damaged ones too, in the order of their steps."""
    named = ((_NAME.fullmatch(path.name), path) for path in folder.glob("step-*"))
    return [path for _, path in sorted((int(match[1]), path) for match, path in named if match)]


def read_state(path: Path) -> dict[str, Any]:
    """The JSON values of a checkpoint.

    Raises:
        CheckpointError: they cannot be read, or another version of Unisono wrote them.
    """
    try:
        state = json.loads((path / STATE).read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint '{path}' is damaged: {STATE}: {error}") from error
    if not isinstance(state, dict) or state.get("version") != _VERSION:
        raise CheckpointError(f"checkpoint '{path}' is of another version of Unisono")
    return state


def read_tensors(path: Path, name: str) -> dict[str, Tensor]:
    """One file of a checkpoint, on the CPU.

    Raises:
        CheckpointError: it is not there, or damaged.
    """
    try:
        return load_file(path / name)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint '{path}' has no readable {name}: {error}") from error


def _together(folder: Path, ranks: Ranks, work: Callable[[], Any]) -> list[Any]:
    """Do something on all ranks; if one fails, all raise."""
    result: Any = None
    failure: str | None = None
    try:
        result = work()
    except (OSError, SafetensorError, RuntimeError) as error:
        failure = " ".join(str(getattr(error, "strerror", None) or error).split())
    outcomes = ranks.gather((result, failure))
    if failures := [one for _, one in outcomes if one is not None]:
        raise CheckpointError(f"a checkpoint cannot be written to '{folder}': {failures[0]}")
    return [one for one, _ in outcomes]


def _emptied(partial: Path) -> None:
    for left in partial.parent.glob("*.partial"):
        shutil.rmtree(left)
    partial.mkdir(parents=True)


def _write_files(
    folder: Path, files: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, tuple[int, int]]:
    """Name -> bytes and checksum."""
    entries = {}
    for name, tensors in files.items():
        path = folder / name
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
        _flush(path)
        entries[name] = _described(path)
    return entries


def _finish(partial: Path, final: Path, state: Mapping[str, Any]) -> None:
    path = partial / STATE
    path.write_text(json.dumps(state))
    _flush(path)
    _flush(partial)
    if final.exists():  # of this very step, but damaged: else the run would have begun with it
        shutil.rmtree(final)
    partial.replace(final)
    _flush(final.parent)


def _prune(folder: Path, keep: int) -> None:
    for path in checkpoints(folder)[:-keep]:
        # Renamed first: killed half-way, it does not look like a checkpoint any more.
        doomed = path.with_name(f"{path.name}.partial")
        path.replace(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _verify(path: Path) -> None:
    for name, (size, checksum) in read_state(path)["files"].items():
        try:
            same = [size, checksum] == list(_described(path / name))
        except OSError as error:
            raise CheckpointError(
                f"checkpoint '{path}' is damaged: {name}: {error.strerror}"
            ) from error
        if not same:
            raise CheckpointError(f"checkpoint '{path}' is damaged: {name} is not as written")


def _described(path: Path) -> tuple[int, int]:
    """Bytes and CRC-32."""
    checksum = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum = zlib.crc32(block, checksum)
    return path.stat().st_size, checksum


def _flush(path: Path) -> None:
    """To the disk, a file or a folder's list of names: a crash of the machine takes no bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
