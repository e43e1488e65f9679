"""The official names of the dense models' parameters and ours, as tables; values keep their shapes.

Names of the encoder itself are in `onepeace.convert_keys`. What released files put in front is
in `PREFIXES`; it follows from the frameworks they were trained in, as the files were not at hand.
"""

from unisono.models.key_table import KeyRule, under

_DEFORMABLE = tuple(
    KeyRule(f"{name}.{{p}}", f"{name}.{{p}}")
    for name in ("sampling_offsets", "attention_weights", "value_proj", "output_proj")
)

_EXTRACTOR = (
    KeyRule("query_norm.{p}", "query_norm.{p}"),
    KeyRule("feat_norm.{p}", "value_norm.{p}"),
    KeyRule("ffn_norm.{p}", "ffn_norm.{p}"),
    KeyRule("ffn.fc1.{p}", "ffn.up_proj.{p}"),
    KeyRule("ffn.dwconv.dwconv.{p}", "ffn.depthwise.{p}"),
    KeyRule("ffn.fc2.{p}", "ffn.down_proj.{p}"),
    *under(_DEFORMABLE, official="attn.", ours="attention."),
)

_INTERACTION = (
    KeyRule("injector.gamma", "injector.gamma"),
    KeyRule("injector.query_norm.{p}", "injector.query_norm.{p}"),
    KeyRule("injector.feat_norm.{p}", "injector.value_norm.{p}"),
    *under(_DEFORMABLE, official="injector.attn.", ours="injector.attention."),
    *under(_EXTRACTOR, official="extractor.", ours="extractors.0."),
    *under(_EXTRACTOR, official="extra_extractors.0.", ours="extractors.1."),
    *under(_EXTRACTOR, official="extra_extractors.1.", ours="extractors.2."),
)

PYRAMID: tuple[KeyRule, ...] = (
    KeyRule("level_embed", "level_embedding"),
    *(
        rule
        for i in range(3)
        for rule in (
            KeyRule(f"spm.stem.{3 * i}.weight", f"spatial_prior.stem.{i}.conv.weight"),
            KeyRule(f"spm.stem.{3 * i + 1}.{{rest}}", f"spatial_prior.stem.{i}.norm.{{rest}}"),
            KeyRule(f"spm.conv{i + 2}.0.weight", f"spatial_prior.stages.{i}.conv.weight"),
            KeyRule(f"spm.conv{i + 2}.1.{{rest}}", f"spatial_prior.stages.{i}.norm.{{rest}}"),
        )
    ),
    KeyRule("spm.fc{n}.{p}", "spatial_prior.projections.{n}.{p}", offset=1),
    *under(_INTERACTION, official="interactions.{n}.", ours="interactions.{n}."),
    KeyRule("up.{p}", "up.{p}"),
    KeyRule("norm{n}.{rest}", "norms.{n}.{rest}", offset=1),
)
"""ViT-Adapter."""

_PIXEL_LAYER = (
    *under(_DEFORMABLE, official="attentions.0.", ours="self_attn."),
    KeyRule("ffns.0.layers.0.0.{p}", "fc1.{p}"),
    KeyRule("ffns.0.layers.1.{p}", "fc2.{p}"),
    KeyRule("norms.0.{p}", "self_attn_layer_norm.{p}"),
    KeyRule("norms.1.{p}", "final_layer_norm.{p}"),
)

_QUERY_LAYER = (
    KeyRule("attentions.0.attn.in_proj_{p}", "cross_attn.in_proj_{p}"),
    KeyRule("attentions.0.attn.out_proj.{p}", "cross_attn.out_proj.{p}"),
    # The official one is a single matrix; `separated` cuts it.
    *(
        KeyRule(f"attentions.1.attn.{x}_proj.{{p}}", f"self_attn.{x}_proj.{{p}}")
        for x in ("q", "k", "v", "out")
    ),
    KeyRule("ffns.0.layers.0.0.{p}", "fc1.{p}"),
    KeyRule("ffns.0.layers.1.{p}", "fc2.{p}"),
    KeyRule("norms.0.{p}", "cross_attn_layer_norm.{p}"),
    KeyRule("norms.1.{p}", "self_attn_layer_norm.{p}"),
    KeyRule("norms.2.{p}", "final_layer_norm.{p}"),
)

SEPARATED = "attentions.1.attn.in_proj_"
"""In the official name of a matrix, or bias, that is query, key and value projection in one."""

MASK_HEAD: tuple[KeyRule, ...] = (
    *under(
        (
            KeyRule("input_convs.{n}.conv.{p}", "input_projections.{n}.0.{p}"),
            KeyRule("input_convs.{n}.gn.{p}", "input_projections.{n}.1.{p}"),
            *under(_PIXEL_LAYER, official="encoder.layers.{n}.", ours="encoder.layers.{n}."),
            KeyRule("level_encoding.weight", "level_embed"),
            KeyRule("lateral_convs.0.conv.weight", "adapter_1.0.weight"),
            KeyRule("lateral_convs.0.gn.{p}", "adapter_1.1.{p}"),
            KeyRule("output_convs.0.conv.weight", "layer_1.0.weight"),
            KeyRule("output_convs.0.gn.{p}", "layer_1.1.{p}"),
            KeyRule("mask_feature.{p}", "mask_projection.{p}"),
        ),
        official="pixel_decoder.",
        ours="pixel_decoder.",
    ),
    *under(
        _QUERY_LAYER,
        official="transformer_decoder.layers.{n}.",
        ours="decoder.decoder.layers.{n}.",
    ),
    KeyRule("transformer_decoder.post_norm.{p}", "decoder.decoder.layernorm.{p}"),
    KeyRule("query_embed.weight", "decoder.queries_embedder.weight"),
    KeyRule("query_feat.weight", "decoder.queries_features.weight"),
    KeyRule("level_embed.weight", "decoder.level_embed.weight"),
    KeyRule("cls_embed.{p}", "classifier.{p}"),
    *(
        KeyRule(f"mask_embed.{2 * i}.{{p}}", f"{start}mask_embedder.{i}.0.{{p}}")
        for start in ("decoder.decoder.mask_predictor.",)
        for i in range(3)
    ),
)
"""Mask2Former."""

_LEVELS = (
    # official level, ours, where its 1x1 and its 3x3 convolution stand
    (2, 0, 4),
    (3, 1, 1),
    (4, 2, 0),
    (5, 3, 1),
)

FEATURE_PYRAMID: tuple[KeyRule, ...] = (
    *(
        rule
        for level, ours, lateral in _LEVELS
        for i, name in ((lateral, "lateral"), (lateral + 1, "output"))
        for rule in (
            KeyRule(f"simfp_{level}.{i}.weight", f"levels.{ours}.{name}.conv.weight"),
            KeyRule(f"simfp_{level}.{i}.norm.{{p}}", f"levels.{ours}.{name}.norm.{{p}}"),
        )
    ),
    *(KeyRule(f"simfp_2.{i}.{{p}}", f"levels.0.rescale.{i}.{{p}}") for i in (0, 1, 3)),
    KeyRule("simfp_3.0.{p}", "levels.1.rescale.0.{p}"),
)
"""Detection's simple pyramid."""

_WINDOWS: tuple[KeyRule, ...] = tuple(
    KeyRule(
        f"encoder.layers.{{n}}.self_attn.rel_pos_{axis}",
        f"encoder.layers.{{n}}.attention.{name}_bias",
    )
    for axis, name in (("h", "row"), ("w", "column"))
)
"""What attention in windows has besides the encoder's own."""

VIDEO: tuple[KeyRule, ...] = (
    KeyRule("image_adapter.temporal_embedding", "temporal_embedding"),
    *(
        KeyRule(
            f"encoder.layers.{{n}}.{official}.D_fc{i}.{{p}}",
            f"video_layers.{{n}}.{ours}.{side}_proj.{{p}}",
        )
        for official, ours in (
            ("T_Adapter", "temporal_adapter"),
            ("T_Adapter_in", "temporal_adapter_in"),
            ("S_Adapter", "spatial_adapter"),
            ("MLP_Adapter", "ffn_adapter"),
        )
        for i, side in ((1, "down"), (2, "up"))
    ),
    KeyRule("encoder.image_layer_norm.{p}", "norm.{p}"),
    KeyRule("fc_cls.{p}", "classifier.{p}"),
)
"""Temporal adapters and the head of video classification."""

IMAGE_CLASSIFICATION: tuple[KeyRule, ...] = (
    KeyRule("fc_norm.{p}", "norm.{p}"),
    KeyRule("encoder.layer_norm.{p}", "norm.{p}"),
    KeyRule("head.{p}", "classifier.{p}"),
)
"""The head of image classification, of both kinds of pooling."""

SEGMENTATION = (
    *under(PYRAMID, official="", ours="pyramid."),
    *under(MASK_HEAD, official="decode_head.", ours="head."),
)
DETECTION = (*under(FEATURE_PYRAMID, official="", ours="pyramid."), *_WINDOWS)

PREFIXES = ("backbone.net.", "backbone.", "net.", "cls_head.")
"""What may stand in front of the names above, and of the encoder's."""

UNUSED = (".num_batches_tracked", "rp_bucket", "rp_bucket_window", "position_idx")
"""Endings of what means nothing for the result: counters and index tables."""
