"""The configurations of official dense checkpoints, read off the shapes of their weights.

What shapes do not tell is the published value: four points a head in deformable attention, 32
groups in group normalisation, stretches of equal length. Shapes as in `convert`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig

from unisono.errors import ModelConfigError
from unisono.models.onepeace.branch_config import OnePeaceVisionConfig
from unisono.models.onepeace.convert_config import config_from_official
from unisono.models.onepeace.convert_keys import canonical
from unisono.models.onepeace.dense.config import (
    OnePeaceImageClassificationConfig,
    OnePeaceSegmentationConfig,
    OnePeaceVideoClassificationConfig,
    OnePeaceWindowedConfig,
)

State = Mapping[str, Tensor]

POINTS = 4
MAP_LEVELS = 3
"""Levels that deformable attention looks at, in the injectors and in the pixel decoder."""

_CLS = "image_adapter.cls_embedding"


def segmentation_config(state: State) -> OnePeaceSegmentationConfig:
    """Of a ViT-Adapter with a Mask2Former head."""
    return OnePeaceSegmentationConfig(
        vision_config=_vision(state),
        adapter_config=_adapter(state),
        mask_config=_mask_head(state),
        num_labels=_rows(state, "decode_head.cls_embed.weight") - 1,
    )


def detection_config(state: State) -> OnePeaceWindowedConfig:
    """Of the encoder in windows, with or without its feature pyramid."""
    width = state["image_adapter.pos_embed"].shape[1]
    # The official encoder of detection has no [CLS]; its config is read as if it had.
    vision = _vision({**state, _CLS: state["image_adapter.pos_embed"].new_zeros(1, 1, width)})
    pattern = re.compile(r"encoder\.layers\.(\d+)\.self_attn\.rel_pos_h")
    sides = {int(m[1]): (len(x) + 1) // 2 for k, x in state.items() if (m := pattern.fullmatch(k))}
    window = min(sides.values())
    pyramid = state.get("simfp_4.0.weight")
    fields = vision.to_dict()
    fields.pop("model_type")
    return OnePeaceWindowedConfig(
        **fields,
        window=window,
        window_layers=sorted(i for i, side in sides.items() if side == window),
        pyramid_width=None if pyramid is None else len(pyramid),
    )


def image_classification_config(state: State) -> OnePeaceImageClassificationConfig:
    """Of either kind of pooling."""
    return OnePeaceImageClassificationConfig(
        vision_config=_vision(state),
        pooling="mean" if "fc_norm.weight" in state else "cls",
        num_labels=_rows(state, "head.weight"),
        image_px=16 * round((_rows(state, "image_adapter.pos_embed") - 1) ** 0.5),
    )


def video_classification_config(state: State) -> OnePeaceVideoClassificationConfig:
    """Of the encoder with temporal adapters, and its head."""
    vision = _vision(state)
    inner = _rows(state, "encoder.layers.0.S_Adapter.D_fc1.weight")
    return OnePeaceVideoClassificationConfig(
        vision_config=vision,
        frames=state["image_adapter.temporal_embedding"].shape[1],
        adapter_ratio=inner / vision.hidden_size,
        adapter_before="encoder.layers.0.T_Adapter_in.D_fc1.weight" in state,
        num_labels=_rows(state, "fc_cls.weight"),
        image_px=16 * round((_rows(state, "image_adapter.pos_embed") - 1) ** 0.5),
    )


CONFIGS: dict[str, Callable[[State], PreTrainedConfig]] = {
    "segmentation": segmentation_config,
    "detection": detection_config,
    "image_classification": image_classification_config,
    "video_classification": video_classification_config,
}
"""Task -> its config from official weights."""


def _vision(state: State) -> OnePeaceVisionConfig:
    whole = config_from_official({canonical(key): value for key, value in state.items()})
    return OnePeaceVisionConfig.of(whole)


def _adapter(state: State) -> dict[str, Any]:
    extractor = "interactions.0.extractor"
    width = state["level_embed"].shape[1]
    return {
        "stem_width": _rows(state, "spm.stem.0.weight"),
        "heads": _rows(state, f"{extractor}.attn.attention_weights.weight") // POINTS,
        "points": POINTS,
        "value_ratio": _rows(state, f"{extractor}.attn.value_proj.weight") / width,
        "ffn_ratio": _rows(state, f"{extractor}.ffn.fc1.weight") / width,
    }


def _mask_head(state: State) -> dict[str, Any]:
    head, pixels = "decode_head", "decode_head.pixel_decoder.encoder.layers"
    queries = f"{head}.transformer_decoder.layers"
    weights = _rows(state, f"{pixels}.0.attentions.0.attention_weights.weight")
    return {
        "width": state[f"{head}.query_feat.weight"].shape[1],
        "queries": _rows(state, f"{head}.query_feat.weight"),
        "heads": weights // (MAP_LEVELS * POINTS),
        "encoder_layers": _layers(state, pixels),
        "encoder_ffn_width": _rows(state, f"{pixels}.0.ffns.0.layers.0.0.weight"),
        "decoder_layers": _layers(state, queries),
        "decoder_ffn_width": _rows(state, f"{queries}.0.ffns.0.layers.0.0.weight"),
    }


def _rows(state: State, key: str) -> int:
    if key not in state:
        raise ModelConfigError(f"the checkpoint lacks {key}")
    return int(state[key].shape[0])


def _layers(state: State, start: str) -> int:
    pattern = re.compile(re.escape(start) + r"\.(\d+)\.")
    return len({m[1] for m in map(pattern.match, state) if m})
