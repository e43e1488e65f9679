"""How fast each parameter of a dense model is published to learn, and which of them decay.

Layer-wise decay: of L layers, the embedding learns at d ** (L + 1) times the rate, layer i at
d ** (L - i), what is on top at the full rate. The official groups have oddities, which are kept,
as the published results were made with them: in segmentation the new class, mask and query
parameters learn as slowly as the embedding, and positions decay; in video everything under the
encoder learns at a tenth of the rate, new adapters too, but for norms, positions and [CLS].
"""

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from unisono.errors import ModelConfigError
from unisono.models.onepeace.dense.classification import OnePeaceForImageClassification
from unisono.models.onepeace.dense.segmentation import OnePeaceForSegmentation
from unisono.models.onepeace.dense.video import OnePeaceForVideoClassification
from unisono.models.onepeace.dense.windows import OnePeaceWindowedBackbone


@dataclass(frozen=True)
class Rate:
    """Of one parameter.

    Attributes:
        factor: of the learning rate.
        decays: it has weight decay.
    """

    factor: float
    decays: bool


_LAYER = re.compile(
    r"^(?:backbone\.)?(?:encoder\.layers|adapters\.image\.relative_bias)\.(\d+)(?:\.|$)"
)
_EMBEDDING = re.compile(r"(^|\.)adapters\.")
_SLOW_HEAD = re.compile(
    r"^head\.(classifier|decoder\.(queries_|level_embed|decoder\.mask_predictor))"
)
_VECTORS = re.compile(r"(cls_embedding|position_embedding)$")
_VIDEO_FULL = re.compile(
    r"(cls_embedding|position_embedding)$|(attention_norm|ffn_norm)\.(weight|bias)$|^norm\."
)


def published_rates(model: nn.Module, layer_decay: float | None = None) -> dict[str, Rate]:
    """Name -> rate, of every parameter.

    Args:
        model: one of this package's dense models.
        layer_decay: d; None for the published one: 0.95 for segmentation, 0.9 for detection and
            for classification (0.85 where it begins on ImageNet-21k).

    Raises:
        ModelConfigError: nothing is published for such a model.
    """
    for kind, rate_of, published in _RULES:
        if isinstance(model, kind):
            rule = rate_of(model, published if layer_decay is None else layer_decay)
            return {name: rule(name, p) for name, p in model.named_parameters()}
    raise ModelConfigError(f"no learning rates are published for a {type(model).__name__}")


def published_groups(
    model: nn.Module, *, lr: float, weight_decay: float = 0.05, layer_decay: float | None = None
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer; frozen parameters are left out.

    Args:
        model: one of this package's dense models.
        lr: of what learns at the full rate.
        weight_decay: of what decays.
        layer_decay: see `published_rates`.

    Raises:
        ModelConfigError: nothing is published for such a model.
    """
    rates, groups = published_rates(model, layer_decay), defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[rates[name]].append(parameter)
    return [
        {
            "params": members,
            "lr": lr * rate.factor,
            "lr_factor": rate.factor,
            "weight_decay": weight_decay if rate.decays else 0.0,
        }
        for rate, members in groups.items()
    ]


_Rule = Callable[[str, nn.Parameter], Rate]


def _segmentation(model: OnePeaceForSegmentation, decay: float) -> _Rule:
    factor = _by_layer(model.backbone, decay, also_first=_SLOW_HEAD)
    return lambda name, p: Rate(factor(name), p.dim() > 1)


def _classification(model: OnePeaceForImageClassification, decay: float) -> _Rule:
    factor = _by_layer(model.backbone, decay)
    return lambda name, p: Rate(factor(name), p.dim() > 1 and not _VECTORS.search(name))


def _detection(model: OnePeaceWindowedBackbone, decay: float) -> _Rule:
    factor = _by_layer(model, decay)
    norms = re.compile(r"norm\d?\.(weight|bias)$|rescale\.1\.")
    return lambda name, _: Rate(
        factor(name), not (name.endswith("position_embedding") or norms.search(name))
    )


def _video(model: OnePeaceForVideoClassification, decay: float) -> _Rule:
    def rate(name: str, _: nn.Parameter) -> Rate:
        if _VIDEO_FULL.search(name):
            return Rate(1.0, decays=False)
        return Rate(1.0 if name.startswith("classifier.") else 0.1, decays=True)

    return rate


_RULES: tuple[tuple[type[nn.Module], Callable[[Any, float], _Rule], float], ...] = (
    (OnePeaceForSegmentation, _segmentation, 0.95),
    (OnePeaceForImageClassification, _classification, 0.9),
    (OnePeaceWindowedBackbone, _detection, 0.9),
    (OnePeaceForVideoClassification, _video, 1.0),
)


def _by_layer(
    backbone: nn.Module, decay: float, *, also_first: re.Pattern[str] | None = None
) -> Callable[[str], float]:
    """Name -> factor, by the layer that a parameter belongs to."""
    config: Any = backbone.config
    layers = config.num_hidden_layers

    def layer(name: str) -> int:
        found = _LAYER.search(name)
        if found and ("encoder.layers" in found[0] or config.bias_per_layer):
            return int(found[1]) + 1
        if _EMBEDDING.search(name) or (also_first and also_first.search(name)):
            return 0
        return layers + 1

    return lambda name: float(decay ** (layers + 1 - layer(name)))
