"""The official ONE-PEACE parameter names and ours, as one table; values keep their shapes.

`{m}` stands for a modality, `{n}` for a number, `{p}` for weight or bias.
"""

from collections.abc import Iterable

from unisono.errors import ModelConfigError
from unisono.models.key_table import KeyRule, reversed_rules

MODALITIES = ("text", "image", "audio")

_TRANSFORMER = (
    # official, ours; behind "fusion_model." and "encoder."
    ("layers.{n}.self_attn.q_proj.{p}", "layers.{n}.attention.shared.q_proj.{p}"),
    ("layers.{n}.self_attn.k_proj.weight", "layers.{n}.attention.shared.k_proj.weight"),
    ("layers.{n}.self_attn.v_proj.{p}", "layers.{n}.attention.shared.v_proj.{p}"),
    ("layers.{n}.self_attn.out_proj.{p}", "layers.{n}.attention.shared.out_proj.{p}"),
    ("layers.{n}.self_attn.ln.{p}", "layers.{n}.attention.shared.norm.{p}"),
    ("layers.{n}.self_attn_layer_norm.{p}", "layers.{n}.attention_norm.{p}"),
    ("layers.{n}.final_layer_norm.{p}", "layers.{n}.ffn_norm.{p}"),
    ("layers.{n}.gamma_1", "layers.{n}.attention_branch.gamma"),
    ("layers.{n}.gamma_2", "layers.{n}.ffn_branch.gamma"),
    ("layers.{n}.{m}_ffn.0.wi_0.weight", "layers.{n}.ffn.{m}.gate_proj.weight"),
    ("layers.{n}.{m}_ffn.0.wi_1.weight", "layers.{n}.ffn.{m}.up_proj.weight"),
    ("layers.{n}.{m}_ffn.2.{p}", "layers.{n}.ffn.{m}.norm.{p}"),
    ("layers.{n}.{m}_ffn.3.{p}", "layers.{n}.ffn.{m}.down_proj.{p}"),
    ("{m}_layer_norm.{p}", "norms.{m}.{p}"),
)

_ADAPTERS = (
    # official, ours; behind "encoder_wrapper." and "adapters."
    ("{m}_adapter.cls_embedding", "{m}.cls_embedding"),
    ("{m}_adapter.type_embedding", "{m}.type_embeddings.0"),
    ("{m}_adapter.type_embedding_2", "{m}.type_embeddings.1"),
    ("{m}_adapter.rel_pos_table_list.{n}.weight", "{m}.relative_bias.{n}"),
    ("text_adapter.embed_tokens.weight", "text.embed_tokens.weight"),
    ("text_adapter.embed_positions.weight", "text.position_embedding"),
    ("image_adapter.embed_images.0.{p}", "image.stem.conv1.{p}"),
    ("image_adapter.embed_images.1.layer_norm.{p}", "image.stem.norm1.{p}"),
    ("image_adapter.embed_images.3.{p}", "image.stem.conv2.{p}"),
    ("image_adapter.embed_images.4.layer_norm.{p}", "image.stem.norm2.{p}"),
    ("image_adapter.embed_images.6.{p}", "image.stem.conv3.{p}"),
    ("image_adapter.pos_embed", "image.position_embedding"),
    ("audio_adapter.embed_audios.0.conv_layers.{n}.0.weight", "audio.stem.layers.{n}.conv.weight"),
    ("audio_adapter.embed_audios.0.conv_layers.{n}.2.1.{p}", "audio.stem.layers.{n}.norm.{p}"),
    ("audio_adapter.embed_audios.2.{p}", "audio.stem.norm.{p}"),
    ("audio_adapter.embed_audios.3.{p}", "audio.stem.projection.{p}"),
    ("audio_adapter.cls_pos_embed", "audio.cls_position"),
)

KEYS: tuple[KeyRule, ...] = (
    *(KeyRule(f"encoder_wrapper.{a}", f"adapters.{b}") for a, b in _ADAPTERS),
    KeyRule(
        "encoder_wrapper.audio_adapter.embed_positions.{n}.0.{p}",
        "adapters.audio.positions.layers.{n}.conv.{p}",
        offset=1,
    ),
    *(KeyRule(f"encoder_wrapper.fusion_model.{a}", f"encoder.{b}") for a, b in _TRANSFORMER),
    KeyRule("{m}_proj.{p}", "projections.{m}.{p}"),
    KeyRule("logit_scale", "logit_scale"),
    KeyRule("decoder_{m}_embed.{p}", "decoder.embed.{m}.{p}"),
    KeyRule("{m}_mask_token", "decoder.mask_tokens.{m}"),
    KeyRule("{m}_mask_head.{p}", "decoder.heads.{m}.{p}"),
    KeyRule("decoder_wrapper.text_adapter.embed_positions.weight", "decoder.positions.text"),
    KeyRule("decoder_wrapper.image_adapter.pos_embed", "decoder.positions.image"),
    KeyRule("decoder_wrapper.audio_adapter.embed_positions.weight", "decoder.positions.audio"),
    *(
        KeyRule(f"decoder_wrapper.fusion_model.{a}", f"decoder.encoder.{b}")
        for a, b in _TRANSFORMER
    ),
    KeyRule("classify_head.norm.{p}", "head.norm.{p}"),
    KeyRule("classify_head.attn_pooling_func.q", "head.pooling.query"),
    KeyRule("classify_head.attn_pooling_func.k_proj.weight", "head.pooling.k_proj.weight"),
    KeyRule("classify_head.attn_pooling_func.v_proj.{p}", "head.pooling.v_proj.{p}"),
    KeyRule("classify_head.attn_pooling_func.out_proj.{p}", "head.pooling.out_proj.{p}"),
    KeyRule("classify_head.pooler.1.{p}", "head.pooler.{p}"),
    KeyRule("classify_head.classifier.{n}.{p}", "head.classifier.{n}.{p}"),
)

_BACK = reversed_rules(KEYS)

UNUSED = tuple(
    KeyRule(official, "")
    for official in (
        # Index tables, which follow from the sizes, and a marker of the format.
        "encoder_wrapper.{m}_adapter.rp_bucket",
        "encoder_wrapper.image_adapter.position_idx",
        "decoder_wrapper.{m}_adapter.rp_bucket",
        "decoder_wrapper.image_adapter.position_idx",
        "encoder_wrapper.fusion_model.version",
        "decoder_wrapper.fusion_model.version",
        # Parameters that the official code makes and never reads.
        "encoder_wrapper.audio_adapter.mask_embedding",
        "decoder_wrapper.audio_adapter.mask_embedding",
        "decoder_wrapper.{m}_adapter.cls_embedding",
    )
)
"""Official keys that mean nothing: dropped on reading, not written."""

RENAMED = (
    # What official files are called by other versions or in the vision branch -> the table above.
    KeyRule(
        "encoder_wrapper.{m}_adapter.rel_pos_table.weight",
        "encoder_wrapper.{m}_adapter.rel_pos_table_list.0.weight",
    ),
    KeyRule(
        "image_adapter.rel_pos_table.weight",
        "encoder_wrapper.image_adapter.rel_pos_table_list.0.weight",
    ),
    KeyRule(
        "encoder.layers.{n}.rel_pos_table.weight",
        "encoder_wrapper.image_adapter.rel_pos_table_list.{n}.weight",
    ),
)

VISION_PREFIXES = (
    ("image_adapter.", "encoder_wrapper.image_adapter."),
    ("encoder.layers.", "encoder_wrapper.fusion_model.layers."),
)
"""How the vision branch shortens names."""


def canonical(key: str) -> str:
    """The name `KEYS` knows an official key by."""
    for rule in RENAMED:
        renamed = rule.renamed(key)
        if renamed is not None:
            return renamed
    for short, full in VISION_PREFIXES:
        if key.startswith(short):
            return full + key.removeprefix(short)
    return key


def to_ours(keys: Iterable[str]) -> dict[str, str]:
    """Official key -> our key, for those that mean something.

    Raises:
        ModelConfigError: keys that no rule is about; all are named.
    """
    found: dict[str, str] = {}
    unknown: list[str] = []
    for key in keys:
        ours = next((o for r in KEYS if (o := r.renamed(canonical(key))) is not None), None)
        if ours is not None:
            found[key] = ours
        elif all(rule.renamed(canonical(key)) is None for rule in UNUSED):
            unknown.append(key)
    if unknown:
        raise ModelConfigError(f"the checkpoint has unexpected keys: {', '.join(sorted(unknown))}")
    return found


def to_official(keys: Iterable[str]) -> dict[str, str]:
    """Our key (of the bare model, without "onepeace.") -> the official one.

    Raises:
        ModelConfigError: keys that the official models have no name for; all are named.
    """
    found, unknown = {}, []
    for key in keys:
        name = next((o for r in _BACK if (o := r.renamed(key)) is not None), None)
        if name is None:
            unknown.append(key)
        else:
            found[key] = name
    if unknown:
        raise ModelConfigError(f"ONE-PEACE has no official name for: {', '.join(sorted(unknown))}")
    return found
