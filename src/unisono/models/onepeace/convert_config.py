"""The configuration of an official ONE-PEACE checkpoint, read off its shapes and its `cfg`.

What shapes tell is taken from them; `cfg`, which not every file has, adds what they cannot:
strides, the decoder's heads, drop-path, the modality a classifier pools.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from unisono.errors import ModelConfigError
from unisono.models.onepeace.bias import CLS_ROWS
from unisono.models.onepeace.config import OnePeaceConfig
from unisono.models.onepeace.convert_keys import MODALITIES

STRIDES = {10: 5, 3: 2, 2: 2}
"""Kernel -> stride in the official audio stem, for files without a `cfg`."""

State = Mapping[str, Tensor]


def config_from_official(state: State, cfg: Mapping[str, Any] | None = None) -> OnePeaceConfig:
    """The config that fits official weights, named as in `convert_keys.KEYS` (official side).

    Args:
        state: the weights.
        cfg: the official model's config ("encoder", "decoder", …), if the file has one.

    Raises:
        ModelConfigError: a weight that tells a size is missing.
    """
    given = cfg or {}
    encoder = _sub(given, "encoder")
    adapters = {m: _ADAPTER_CONFIGS[m](state, encoder) for m in MODALITIES if _has(state, m)}
    width, heads, tables = _attention_sizes(state, tuple(adapters))
    return OnePeaceConfig(
        hidden_size=width,
        intermediate_size=_ffn_width(state, "encoder_wrapper"),
        num_hidden_layers=_count(state, r"encoder_wrapper\.fusion_model\.layers\.(\d+)\."),
        num_attention_heads=heads,
        drop_path_rate=float(encoder.get("drop_path_rate", 0.0)),
        layer_scale_init=float(encoder.get("layer_scale_init_value", 1e-6)),
        bias_per_layer=tables > 1,
        decoder_config=_decoder(state, _sub(given, "decoder"), width // heads),
        head_config=_head(state, given, tuple(adapters)),
        num_labels=_labels(state),
        **{f"{m}_config": adapters.get(m) for m in MODALITIES},
    )


def _sub(cfg: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return cfg.get(name) or {}


def _has(state: State, modality: str) -> bool:
    return f"encoder_wrapper.{modality}_adapter.cls_embedding" in state


def _shape(state: State, key: str) -> tuple[int, ...]:
    if key not in state:
        raise ModelConfigError(f"the checkpoint lacks {key}")
    return tuple(state[key].shape)


def _count(state: State, pattern: str) -> int:
    """How many numbers the group of a pattern takes."""
    return len({m.group(1) for m in (re.match(pattern, key) for key in state) if m})


def _attention_sizes(state: State, names: tuple[str, ...]) -> tuple[int, int, int]:
    """Width, heads, and relative tables of a modality."""
    if not names:
        raise ModelConfigError("the checkpoint has no text, image or audio adapter")
    adapter = f"encoder_wrapper.{names[0]}_adapter"
    width = _shape(state, f"{adapter}.cls_embedding")[-1]
    heads = _shape(state, f"{adapter}.rel_pos_table_list.0.weight")[1]
    tables = rf"{re.escape(adapter)}\.rel_pos_table_list\.(\d+)\.weight"
    return width, heads, _count(state, tables)


def _ffn_width(state: State, wrapper: str) -> int:
    start = f"{wrapper}.fusion_model.layers.0."
    found = [
        x
        for key, x in state.items()
        if key.startswith(start) and key.endswith("_ffn.0.wi_0.weight")
    ]
    if not found:
        raise ModelConfigError(f"the checkpoint lacks the feed-forward networks of {start[:-1]}")
    return int(found[0].shape[0])


def _pairs(state: State, modality: str) -> int:
    key = f"encoder_wrapper.{modality}_adapter.rel_pos_table_list.0.weight"
    return _shape(state, key)[0] - CLS_ROWS


def _types(state: State, modality: str) -> int:
    start = f"encoder_wrapper.{modality}_adapter.type_embedding"
    return sum(key.startswith(start) for key in state)


def _text(state: State, encoder: Mapping[str, Any]) -> dict[str, Any]:
    adapter = "encoder_wrapper.text_adapter"
    return {
        "vocab_size": _shape(state, f"{adapter}.embed_tokens.weight")[0],
        "max_position_embeddings": _shape(state, f"{adapter}.embed_positions.weight")[0],
        "position_buckets": (_pairs(state, "text") + 1) // 2,
        "type_embeddings": _types(state, "text"),
    }


def _image(state: State, encoder: Mapping[str, Any]) -> dict[str, Any]:
    adapter = "encoder_wrapper.image_adapter"
    stem = _shape(state, f"{adapter}.embed_images.0.weight")
    positions = _shape(state, f"{adapter}.pos_embed")[0]
    return {
        "num_channels": stem[1],
        "stem_width": stem[0],
        "position_grid": round((positions - 1) ** 0.5),
        "bias_grid": (round(_pairs(state, "image") ** 0.5) + 1) // 2,
        "type_embeddings": _types(state, "image"),
    }


def _audio(state: State, encoder: Mapping[str, Any]) -> dict[str, Any]:
    adapter = "encoder_wrapper.audio_adapter"
    position = _shape(state, f"{adapter}.embed_positions.1.0.weight")
    sizes = {
        "conv_layers": [list(x) for x in _conv_layers(state, _sub(encoder, "audio_adapter"))],
        "position_layers": _count(state, rf"{re.escape(adapter)}\.embed_positions\.(\d+)\."),
        "position_kernel": position[2],
        "position_groups": position[0] // position[1],
        "position_buckets": (_pairs(state, "audio") + 1) // 2,
        "type_embeddings": _types(state, "audio"),
    }
    decoder = "decoder_wrapper.audio_adapter.embed_positions.weight"
    if decoder in state:
        sizes["decoder_positions"] = state[decoder].shape[0]
    return sizes


_ADAPTER_CONFIGS = {"text": _text, "image": _image, "audio": _audio}


def _conv_layers(state: State, cfg: Mapping[str, Any]) -> Iterator[tuple[int, int, int]]:
    spec = cfg.get("feature_encoder_spec")
    strides = [layer[2] for layer in parse_conv_spec(spec)] if spec else None
    stem = "encoder_wrapper.audio_adapter.embed_audios.0.conv_layers"
    for i in range(_count(state, rf"{re.escape(stem)}\.(\d+)\.0\.weight")):
        channels, _, kernel = _shape(state, f"{stem}.{i}.0.weight")
        stride = strides[i] if strides else STRIDES.get(kernel)
        if stride is None:
            raise ModelConfigError(f"the checkpoint does not say the stride of {stem}.{i}")
        yield channels, kernel, stride


def parse_conv_spec(text: str) -> list[tuple[int, int, int]]:
    """fairseq's "[(512, 10, 5)] + [(512, 3, 2)] * 4": lists of triples, added and repeated.

    Raises:
        ModelConfigError: it is anything else.
    """
    try:
        return [tuple(layer) for layer in _value(ast.parse(text, mode="eval").body)]
    except (SyntaxError, TypeError, ValueError) as error:
        raise ModelConfigError(f"feature_encoder_spec is not understood: {text!r}") from error


def _value(node: ast.expr) -> Any:
    """Lists, tuples, whole numbers, + and * only: a file must not choose what is computed."""
    match node:
        case ast.Constant(value=int() as number):
            return number
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _value(left) + _value(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=ast.Constant(value=int() as times)):
            return _value(left) * min(times, 64)
    raise ValueError(ast.dump(node))


def _decoder(state: State, cfg: Mapping[str, Any], head_width: int) -> dict[str, Any] | None:
    widths = [x.shape[1] for key, x in state.items() if key.endswith("_mask_token")]
    if not widths:
        return None
    return {
        "hidden_size": widths[0],
        "intermediate_size": _ffn_width(state, "decoder_wrapper"),
        "num_hidden_layers": _count(state, r"decoder_wrapper\.fusion_model\.layers\.(\d+)\."),
        # Shapes do not tell; the released decoder's heads are as wide as the encoder's.
        "num_attention_heads": int(cfg.get("attention_heads", max(widths[0] // head_width, 1))),
    }


def _head(state: State, cfg: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any] | None:
    key = "classify_head.classifier.0.weight"
    if key not in state:
        return None
    inner, inputs = _shape(state, key)
    width = _shape(state, f"encoder_wrapper.{names[0]}_adapter.cls_embedding")[-1]
    of_image = bool(cfg.get("use_image_features")) and "image" in names
    return {
        "modality": "image" if of_image else names[0],
        "attention_pooling": "classify_head.attn_pooling_func.q" in state,
        "pooler": "classify_head.pooler.1.weight" in state,
        "hidden_ratio": inner // width,
        "images": inputs // width,
    }


def _labels(state: State) -> int:
    key = "classify_head.classifier.3.weight"
    return int(state[key].shape[0]) if key in state else 2
