"""`unisono convert`: an official checkpoint becomes a folder that `unisono` loads."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unisono.cli.options import DtypeOption, torch_dtype
from unisono.errors import IncompleteFileError, ModelConfigError, UnknownModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


@dataclass(frozen=True)
class _Request:
    """What was asked for."""

    source: Path
    folder: Path
    dtype: "torch.dtype | None"
    shard_size_bytes: int
    whisper: Path | None
    beats: Path | None
    vision_heads: int | None
    vocabulary: Path | None


def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="The official checkpoint.")],
    folder: Annotated[Path, typer.Argument(metavar="DST", help="A new folder.")],
    whisper: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ola: Whisper's large-v3.pt.")
    ] = None,
    beats: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Ola: the .pt file of BEATs.")
    ] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="ONE-PEACE: folder of encoder.json, vocab.bpe, dict.txt."),
    ] = None,
    dtype: DtypeOption = None,
    shard_size: Annotated[str, typer.Option(help="Largest file of weights.")] = "2GB",
    vision_heads: Annotated[
        int | None,
        typer.Option(min=1, help="Ola: of the vision encoder, where it is not Ola-7b's."),
    ] = None,
) -> None:
    """Convert an official checkpoint of Ola or ONE-PEACE to a folder that unisono loads.

    Of Ola, an interrupted run is taken up again, and what was written is read back and compared.
    """
    request = _Request(
        source,
        folder,
        torch_dtype(dtype),
        parse_size(shard_size),
        whisper=whisper,
        beats=beats,
        vision_heads=vision_heads,
        vocabulary=vocabulary,
    )
    for line in _family(source)(request):
        typer.echo(line)


def _family(source: Path) -> Callable[[_Request], list[str]]:
    """What converts it, by what it is."""
    from unisono.models.ola.convert import is_official_ola

    if not source.exists():
        raise UnknownModelError(f"there is no {str(source)!r}")
    if is_official_ola(source):
        return _convert_ola
    if source.suffix in (".pt", ".pth", ".pkl"):
        return _convert_onepeace
    raise ModelConfigError(
        f"{str(source)!r} must be a checkpoint that can be converted: a folder of Ola, with "
        "model_type ola_qwen in its config.json, or a .pt, .pth or .pkl file of ONE-PEACE"
    )


def _convert_ola(request: _Request) -> list[str]:
    """The lines to print."""
    from unisono.hub.progress import terminal_progress
    from unisono.models.ola.convert import ConversionOptions
    from unisono.models.ola.convert import convert as convert_ola

    options = ConversionOptions(
        whisper=request.whisper,
        beats=request.beats,
        dtype=request.dtype,
        shard_size_bytes=request.shard_size_bytes,
        vision_heads=request.vision_heads,
    )
    report = convert_ola(request.source, request.folder, options, progress=terminal_progress())
    return [
        *(f"Note: {note}" for note in report.notes),
        f"{report.folder}: {report.tensors} tensors, {report.size_bytes / 1e9:,.3f} GB in "
        f"{report.written + report.kept} files ({report.kept} of an earlier run); "
        f"{report.verified} read back and equal, bit by bit",
    ]


def _convert_onepeace(request: _Request) -> list[str]:
    """The lines to print."""
    from unisono.models.onepeace.convert import convert as convert_onepeace
    from unisono.models.onepeace.dense import DENSE_MODELS
    from unisono.models.onepeace.processor import OnePeaceProcessor

    if request.folder.is_dir() and any(request.folder.iterdir()):
        raise ModelConfigError(f"{request.folder} must be empty, but there are files in it")
    tokenizer, lacking = _vocabulary(request)
    model = convert_onepeace(request.source, request.folder, dtype=request.dtype)
    line = f"{request.folder}: {type(model).__name__}, {model.num_parameters():,} parameters"
    if isinstance(model, tuple(kind for _, kind in DENSE_MODELS)):
        return [line]
    if tokenizer is None and model.config.text_config is not None:
        return [line, f"Note: it cannot read text yet: {lacking}; name its folder by --vocabulary"]
    OnePeaceProcessor.from_config(tokenizer, model.config).save_pretrained(request.folder)
    return [line]


def _vocabulary(request: _Request) -> tuple["PreTrainedTokenizerBase | None", str]:
    """The tokenizer beside the checkpoint or in the folder named; or why there is none.

    Raises:
        IncompleteFileError: a folder was named, but has none.
    """
    from unisono.models.onepeace.processor_text import load_tokenizer

    try:
        return load_tokenizer(request.vocabulary or request.source.parent), ""
    except IncompleteFileError as error:
        if request.vocabulary is not None:
            raise
        return None, str(error)


def parse_size(text: str) -> int:
    """`2GB`, `500 MB` or a number of bytes -> bytes.

    Raises:
        ModelConfigError: it is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]B|)", text.strip().upper())
    if match is None or not (size := round(float(match[1]) * _UNITS[match[2]])):
        raise ModelConfigError(f"the shard size must be like 2GB or 500MB, but is {text!r} instead")
    return size
