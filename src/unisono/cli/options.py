"""Options that several verbs share, and what they mean."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unisono.errors import ModelConfigError

if TYPE_CHECKING:
    import torch

ModelOption = Annotated[
    str, typer.Option("--model", "-m", help="A model of `unisono models`, or a folder.")
]
LibraryOption = Annotated[
    str, typer.Option("--library", "-l", metavar="LIB", help="A folder, or s3://…, gs://….")
]
EngineOption = Annotated[
    str, typer.Option(help="auto, torch or llama.cpp: what steps the language model.")
]
QuantizationOption = Annotated[
    str | None, typer.Option(help="int8 or int4: for a large model in a folder, on a CPU.")
]
DTYPES = ("float32", "bfloat16", "float16")
DtypeOption = Annotated[str | None, typer.Option(help=f"Of the weights: {', '.join(DTYPES)}.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda, …; by default the best.")]
VoiceOption = Annotated[
    str | None, typer.Option(help="A voice of `unisono models`, or a Piper .onnx file.")
]
LanguageOption = Annotated[
    str | None, typer.Option(help="Spoken in the sounds: a code such as en, or auto.")
]
HearingOption = Annotated[
    str | None,
    typer.Option(help="connector, listener or both: how spoken words reach the model."),
]
MaxTokensOption = Annotated[
    int | None, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")
]
TemperatureOption = Annotated[
    float | None, typer.Option(min=0, help="0 takes the likeliest token; higher is more varied.")
]
SeedOption = Annotated[int | None, typer.Option(help="Makes a varied answer repeatable.")]
SystemOption = Annotated[str | None, typer.Option(help="Tell the model who it is.")]
SpeakOption = Annotated[
    Path | None,
    typer.Option("--speak", metavar="FILE", help="Speak the answer into a WAV file (- : stdout)."),
]
PlayOption = Annotated[bool, typer.Option("--play", help="Speak through the loudspeakers.")]


def generation_settings(
    max_tokens: int | None, temperature: float | None, seed: int | None
) -> dict[str, int | float]:
    """The settings that were given, by their name in `GenerationSettings`."""
    given = {"max_new_tokens": max_tokens, "temperature": temperature, "seed": seed}
    return {name: value for name, value in given.items() if value is not None}


def torch_dtype(name: str | None) -> "torch.dtype | None":
    """The kind of number an option names; None for none.

    Raises:
        ModelConfigError: there is no such kind among `DTYPES`.
    """
    import torch

    if name is None:
        return None
    if name not in DTYPES:
        raise ModelConfigError(f"dtype must be one of {', '.join(DTYPES)}, but is {name!r} instead")
    kind: torch.dtype = getattr(torch, name)
    return kind
