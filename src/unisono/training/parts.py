"""Names of a model's parts, as recipes say them, and which parameters each has.

Every parameter is of exactly one part, or of none (`part_of` returns "" then): what a model
computes once and keeps, or only carries along, trains in no stage.

Ola: `vision`, `vision_connector`, `speech_encoder`, `sound_encoder`, `audio_connector`,
`language_model` (its embeddings and head too), `lora`, and `alignment` (what connector
pre-alignment learns besides). ONE-PEACE: a part for each modality (adapter, feed-forward networks,
final norm and projection), `attention` (whatever modalities share in the encoder's layers),
`decoder`, `logit_scale`, and of task models `head`. Dense models: `image`, `attention`, what makes
maps of the encoder's (`pyramid`) or lets it look along time (`adapters`), and `head`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from torch import nn

from unisono.errors import RecipeError

_WRAPPERS = re.compile(
    r"^(?:module\.|_orig_mod\.|base_model\.model\."
    r"|model\.(?=(?:base_model\.model\.)?(?:encoders|language_model)\.))+"
)
"""What DDP, torch.compile, PEFT and `TokenAlignment` put in front of a name."""

_OLA_PARTS = {
    "encoders.vision.": "vision",
    "encoders.vision_connector.": "vision_connector",
    "encoders.hearing.speech.": "speech_encoder",
    "encoders.hearing.sound.": "sound_encoder",
    "encoders.audio_connector.": "audio_connector",
    "language_model.": "language_model",
    "blank.": "alignment",
    "log_scale": "alignment",
    "stem.": "audio",  # of `StemSpectrum`
}
_ENCODERS = ("onepeace.", "backbone.", "detector.model.model.backbone.backbone.")
"""Where task models and dense models have ONE-PEACE's encoder."""

_DENSE_PARTS = {
    "pyramid.": "pyramid",
    "video_layers.": "adapters",
    "temporal_embedding": "adapters",
    "norm.": "head",
    "classifier.": "head",
    "detector.": "head",
}
_NEVER_TRAINED = ("hearing.speech.embed_positions.", "hearing.sound.predictor.")
"""Whisper's sinusoids are fixed; BEATs' predictor of sound classes is not asked by Ola."""

_OF_MODALITY = (
    re.compile(r"^(?:adapters|projections)\.(\w+)\."),
    re.compile(r"^encoder\.norms\.(\w+)\."),
    re.compile(r"^encoder\.layers\.\d+\.(?:ffn|attention)\.(?!shared\.)(\w+)\."),
)


def part_of(name: str) -> str:
    """The part a parameter is of, by its name in the model, wrapped or not; "" for none."""
    name = _bare(name)
    if ".lora_" in name:
        return "lora"
    if any(fixed in name for fixed in _NEVER_TRAINED):
        return ""
    for beginning, part in _OLA_PARTS.items():
        if name.startswith(beginning):
            return part
    return _onepeace_part(name)


def parts_of(model: nn.Module) -> dict[str, int]:
    """Part -> how many parameters (single numbers) it has, in the model's order."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        if part := part_of(name):
            counts[part] += parameter.numel()
    return dict(counts)


def set_trainable(model: nn.Module, parts: Iterable[str], *, stage: str = "") -> None:
    """Let the parameters of some parts train, and freeze all others.

    Args:
        model: of either family, with an adapter or not.
        parts: their names.
        stage: for the message.

    Raises:
        RecipeError: the model has no such part.
    """
    chosen = set(parts)
    check_parts(parts_of(model), chosen, f"trainable of stage {stage}" if stage else "trainable")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name) in chosen)


def check_parts(known: Iterable[str], named: Iterable[str], where: str) -> None:
    """All names must be parts the model has.

    Raises:
        RecipeError: one is not; the message lists those that are.
    """
    known = list(known)
    if unknown := sorted(set(named) - set(known)):
        raise RecipeError(
            f"{where} names {', '.join(unknown)}, but the model's parts are {', '.join(known)}"
        )


def depth_finder(model: nn.Module) -> "DepthOf":
    """What tells the depth of each parameter of a model; see `DepthOf`."""
    return DepthOf([name for name, _ in model.named_parameters()])


class DepthOf:
    """For layer-wise decay: name of a parameter -> (its place, places of its stack).

    What is before the layers of a stack (embeddings, adapters, convolutions) is at 0, layer i at
    i + 1, and norms, projections and heads behind them at the last place, as in the official
    fine-tuning of ONE-PEACE (and in BEiT). A parameter that is in no stack (a connector's, a
    task's head) has no depth: None.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._layers: Counter[str] = Counter()
        for name in map(_bare, names):
            if (layer := _layer(name)) is not None:
                stack = _stack(name)
                self._layers[stack] = max(self._layers[stack], layer + 1)

    def __call__(self, name: str) -> tuple[int, int] | None:
        """The depth, or None."""
        name = _bare(name)
        layers = self._layers[_stack(name)]
        if not layers:
            return None
        if (layer := _layer(name)) is not None:
            return layer + 1, layers + 2
        behind = _BEHIND.search(name) and ".adapters." not in name
        return (layers + 1 if behind else 0), layers + 2


_STACKS = (
    *("encoders.vision.", "encoders.hearing.speech.", "encoders.hearing.sound."),
    *("language_model.", *_ENCODERS, "decoder."),
)
"""How names of the parameters of one stack of layers, and of what is around it, begin."""

_LAYER = re.compile(r"\.layers\.(\d+)\.")
_BEHIND = re.compile(r"\.(norms?|layer_norm|lm_head|projections|logit_scale|heads)(\.|$)")


def _stack(name: str) -> str:
    return next((beginning for beginning in _STACKS if name.startswith(beginning)), "")


def _layer(name: str) -> int | None:
    """None outside of the stack; an adapter's own convolutions stand before it."""
    found = None if ".adapters." in name else _LAYER.search(name)
    return None if found is None or not _stack(name) else int(found[1])


def _bare(name: str) -> str:
    return _WRAPPERS.sub("", name)


def _onepeace_part(name: str) -> str:
    if name.startswith(("decoder.", "head.")):
        return name.partition(".")[0]
    inside = next((name.removeprefix(one) for one in _ENCODERS if name.startswith(one)), None)
    if inside is None:
        for beginning, part in _DENSE_PARTS.items():
            if name.startswith(beginning):
                return part
    name = name if inside is None else inside
    if name == "logit_scale":
        return name
    for pattern in _OF_MODALITY:
        if (found := pattern.match(name)) is not None:
            return found[1]
    return "attention" if name.startswith("encoder.") else ""
