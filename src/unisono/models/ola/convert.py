"""An official Ola checkpoint -> a folder that `OlaForConditionalGeneration.from_pretrained` reads.

Strict (every key in, every parameter filled), frugal (a tensor at a time), resumable (finished
shards are kept) and verified (every tensor is read back and compared).
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from unisono.errors import HubError, ModelConfigError
from unisono.hub.progress import Progress, QuietProgress
from unisono.models.ola.config import OlaConfig
from unisono.models.ola.convert_config import config_from_official
from unisono.models.ola.convert_official import (
    OfficialCheckpoint,
    is_official_ola,
    open_official,
)
from unisono.models.ola.convert_plan import PlannedTensor, Shard, pack, plan_tensors
from unisono.models.ola.convert_tokenizer import check_tokenizer, copy_tokenizer
from unisono.models.ola.convert_write import (
    PART,
    as_json,
    is_written,
    replacing,
    shard_size_bytes,
    verify_shard,
    write_index,
    write_json,
    write_shard,
)

__all__ = ["ConversionOptions", "ConversionReport", "convert", "is_official_ola"]

PLAN = "conversion.json"
"""What was made of what; tells a later run whether it may go on."""
_FORMAT = 1


@dataclass(frozen=True)
class ConversionOptions:
    """What may be chosen.

    Attributes:
        whisper: OpenAI's file of Whisper, if the config's path does not lead to it.
        beats: Microsoft's file of BEATs, likewise.
        dtype: of what is written; None keeps each tensor's own.
        shard_size_bytes: largest file of weights; a tensor that is larger has one of its own.
        vision_heads: attention heads of the vision encoder, which no official file says; None
            takes those of the official code (16).
    """

    whisper: Path | None = None
    beats: Path | None = None
    dtype: torch.dtype | None = None
    shard_size_bytes: int = 2_000_000_000
    vision_heads: int | None = None

    def __post_init__(self) -> None:
        if self.shard_size_bytes < 1:
            raise ModelConfigError(
                f"the shard size must be at least 1 byte, but is {self.shard_size_bytes} instead"
            )
        if self.dtype is not None and not self.dtype.is_floating_point:
            raise ModelConfigError(f"dtype must be a floating kind, but is {self.dtype} instead")


@dataclass(frozen=True)
class ConversionReport:
    """What was done.

    Attributes:
        folder: where the result is.
        tensors: how many there are.
        size_bytes: of all of them.
        written, kept: shards that were written now, and by an earlier run.
        verified: tensors that were read back and found equal, bit by bit.
        notes: what a user should know, a sentence each.
    """

    folder: Path
    tensors: int
    size_bytes: int
    written: int
    kept: int
    verified: int
    notes: tuple[str, ...] = field(default=())


def convert(
    source: Path,
    folder: Path,
    options: ConversionOptions | None = None,
    *,
    progress: Progress | None = None,
) -> ConversionReport:
    """Convert an official Ola checkpoint.

    Args:
        source: its folder.
        folder: for the result; new, empty, or of an earlier run on the same files that was
            interrupted.
        options: what may be chosen.
        progress: told how far it is.

    Raises:
        UnknownModelError: there is no such folder or file.
        IncompleteFileError: a file is missing, cut short, or not as it was written.
        ModelConfigError: the checkpoint does not fit the model, or `folder` holds something else.
        HubError: the disk has too little room, or does not take what is written.
    """
    options = options or ConversionOptions()
    checkpoint = open_official(source, whisper=options.whisper, beats=options.beats)
    check_tokenizer(source)
    config, assumed = config_from_official(checkpoint, vision_heads=options.vision_heads)
    tensors = plan_tensors(checkpoint.tensors, config, options.dtype)
    config.dtype = _language_dtype(tensors)
    shards = pack(tensors, options.shard_size_bytes)
    try:
        _begin(folder, _plan(checkpoint, shards, options), shards)
        noted = _write_config(config, source, folder)
        written = _write(shards, folder, progress or QuietProgress())
    except OSError as error:
        raise HubError(f"{folder} cannot be written: {error.strerror or error}") from error
    return ConversionReport(
        folder=folder,
        tensors=len(tensors),
        size_bytes=sum(tensor.size_bytes for tensor in tensors),
        written=written,
        kept=len(shards) - written,
        verified=_verify(shards, folder, progress or QuietProgress()),
        notes=checkpoint.notes + assumed + noted,
    )


def _language_dtype(tensors: Sequence[PlannedTensor]) -> torch.dtype:
    """The kind the whole model is loaded in, if nothing else is asked for."""
    return next(t.dtype for t in tensors if t.key.endswith("embed_tokens.weight"))


def _plan(
    checkpoint: OfficialCheckpoint, shards: Sequence[Shard], options: ConversionOptions
) -> dict[str, Any]:
    """What the result depends on; two runs with the same plan write the same bytes."""
    stats = {file.path.name: file.path.stat() for file in checkpoint.files}
    placed = [
        [shard.name, tensor.key, str(tensor.dtype), tensor.source.file.path.name, tensor.source.key]
        for shard in shards
        for tensor in shard.tensors
    ]
    return {
        "format": _FORMAT,
        "made_of": {
            name: {"size_bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}
            for name, stat in stats.items()
        },
        "dtype": options.dtype and str(options.dtype).removeprefix("torch."),
        "vision_heads": options.vision_heads,
        "shards": {shard.name: shard_size_bytes(shard) for shard in shards},
        "tensors_sha256": hashlib.sha256(json.dumps(placed).encode()).hexdigest(),
    }


def _begin(folder: Path, plan: dict[str, Any], shards: Sequence[Shard]) -> None:
    """Make the folder, or take up what an earlier run left there."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {path.name for path in folder.iterdir() if path.suffix != PART}
    if PLAN in found:
        if (folder / PLAN).read_bytes() != as_json(plan):
            raise ModelConfigError(
                f"{folder} holds a conversion of other files or with other options: remove it, "
                "or name another folder"
            )
    elif found:
        raise ModelConfigError(f"{folder} must be empty, but has {len(found)} files in it")
    missing = sum(shard_size_bytes(s) for s in shards if not is_written(s, folder))
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise HubError(
            f"{folder} needs {missing / 1e9:,.1f} GB, but its disk has {free / 1e9:,.1f} GB free"
        )
    write_json(folder / PLAN, plan)


def _write_config(config: OlaConfig, source: Path, folder: Path) -> tuple[str, ...]:
    with replacing(folder / "config.json") as file:
        file.write(config.to_json_string().encode())
    return copy_tokenizer(source, folder, config.text_config.vocab_size)


def _write(shards: Sequence[Shard], folder: Path, progress: Progress) -> int:
    """Write what is not there yet; how many shards that were."""
    todo = [shard for shard in shards if not is_written(shard, folder)]
    sizes = {shard.name: sum(t.size_bytes for t in shard.tensors) for shard in shards}
    total = sum(sizes.values())
    progress.start("converting", total, total - sum(sizes[shard.name] for shard in todo))
    try:
        for shard in todo:
            write_shard(shard, folder, progress.advance)
    finally:
        progress.finish()
    write_index(shards, folder)
    return len(todo)


def _verify(shards: Sequence[Shard], folder: Path, progress: Progress) -> int:
    """Compare every tensor; how many there are."""
    progress.start("verifying", sum(t.size_bytes for s in shards for t in s.tensors), 0)
    try:
        for shard in shards:
            verify_shard(shard, folder, progress.advance)
    finally:
        progress.finish()
    return sum(len(shard.tensors) for shard in shards)
