"""How much memory a stage needs on one rank, estimated from the model's shapes alone.

P parameters, T of them trained, t tokens of a micro-batch, b bytes of a value (2 in bf16 and fp16,
else 4), L layers of width d with feed-forward width f, N ranks:

    weights      4 P        (FSDP: 4 P / N, and two layers that are gathered)
    gradients    4 T        (DDP on several ranks: 8 T, its buckets; FSDP: 4 T / N)
    AdamW        8 T        (with EMA 12 T; FSDP: / N)
    activations  L t b (8 d + 4 f), or L t b d + t b (8 d + 4 f) with gradient checkpointing,
                 for each stack that gradients pass; and the logits that exist at once

The real need differs with kernels and fragmentation: expect it within a third of this.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from unisono.models import OlaConfig, OnePeaceConfig
from unisono.training.goals import DenseSettings, NextToken, Ranking, TaskSettings, task_inputs
from unisono.training.objectives.next_token import LOSS_CHUNK
from unisono.training.recipe import Recipe, StageSettings

How = Literal["ddp", "fsdp"]

_TEXT_TOKENS, _LONGEST_CLIP = 72, 15 * 16_000
"""Of a caption and a sound, at most: what `OnePeaceProcessor` leaves."""

_ENCODED = {"text": 2.45, "image": 1.56, "audio": 2.0}
"""How often a pair's tokens pass ONE-PEACE: whole, masked alone, masked jointly."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one rank."""

    weights: float
    gradients: float
    optimizer: float
    activations: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True)
class _Stack:
    """Equal layers, and the tokens that pass them."""

    layers: int
    width: int
    ffn_width: int
    tokens: float


def estimate(
    model: nn.Module,
    parts: Mapping[str, int],
    recipe: Recipe,
    stage: StageSettings,
    *,
    ranks: int,
    how: How,
) -> Memory:
    """What a rank needs; see above.

    Args:
        model: may be without memory.
        parts: part -> parameters, those that come on top of the model (an adapter) too.
        recipe, stage: what is trained, and how.
        ranks: N.
        how: "ddp" or "fsdp".
    """
    on_top = sum(parts.get(part, 0) for part in ("lora", "alignment"))
    every = on_top + sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parts[part] for part in stage.trainable)
    shards = ranks if how == "fsdp" else 1
    buckets = 2 if how == "ddp" and ranks > 1 else 1
    adam = 12 if stage.optimizer.ema else 8
    gathered = 8 * _largest_layer(model) if shards > 1 else 0
    return Memory(
        weights=4 * every / shards + gathered,
        gradients=4 * trained * buckets / shards,
        optimizer=adam * trained / shards,
        activations=_activations(model.config, recipe, stage, ranks),
    )


def tokens_of_pair(config: OnePeaceConfig, other: str) -> int:
    """Tokens of a text and another medium, [CLS] included, at most."""
    return _TEXT_TOKENS + _medium_tokens(config, other)


def tokens_of_view(config: Any) -> int:
    """Patches that a dense model sees of a row."""
    side: int = getattr(config, "crop_px", None) or config.image_px
    frames: int = getattr(config, "frames", 1)
    return (side // 16) ** 2 * frames


def tokens_of_item(config: OnePeaceConfig, objective: TaskSettings) -> int:
    """Tokens of a task's item, [CLS] included, at most; of all candidates together."""
    inputs = task_inputs(objective)
    sizes = {one: _medium_tokens(config, one.removesuffix("_2")) for one in inputs if one != "text"}
    text = _TEXT_TOKENS if "text" in inputs else 0
    passes = objective.candidates if isinstance(objective, Ranking) else 1
    return passes * (sum(sizes.values()) + text * (1 + ("image_2" in inputs)))


def _activations(config: Any, recipe: Recipe, stage: StageSettings, ranks: int) -> float:
    width = 2 if recipe.precision in ("bf16", "fp16") else 4
    if isinstance(stage.objective, DenseSettings):
        stacks, logits = [_frame_stack(config, stage)], 0.0
    elif isinstance(config, OnePeaceConfig):
        stacks, logits = list(_onepeace_stacks(config, stage)), _pair_logits(stage, ranks)
    else:
        stacks, logits = list(_ola_stacks(config, stage)), _word_logits(config, stage)
    kept = sum(_kept(one, checkpointing=recipe.gradient_checkpointing) for one in stacks)
    return width * kept + 8.0 * logits  # float32, and their gradients


def _kept(stack: _Stack, *, checkpointing: bool) -> float:
    a_layer = stack.tokens * (8 * stack.width + 4 * stack.ffn_width)
    if not checkpointing:
        return stack.layers * a_layer
    return stack.layers * stack.tokens * stack.width + a_layer


def _frame_stack(config: Any, stage: StageSettings) -> _Stack:
    """The encoder's, as though the head had nothing to keep beside it."""
    whole = stage.batch.tokens or (stage.batch.samples or 1) * tokens_of_view(config)
    return _Stack(*_sizes(config.vision_config), whole)


def _ola_stacks(config: OlaConfig, stage: StageSettings) -> Iterator[_Stack]:
    """As though every token were of the medium whose encoder trains."""
    tokens = _ola_tokens(stage)
    text, vision, speech = config.text_config, config.vision_config, config.speech_config
    if isinstance(stage.objective, NextToken):
        yield _Stack(*_sizes(text), tokens)  # also frozen: gradients pass it to the connectors
    if "vision" in stage.trainable:
        yield _Stack(*_sizes(vision), tokens * config.vision_pool**2)
    if "speech_encoder" in stage.trainable:
        sizes = speech.encoder_layers, speech.d_model, speech.encoder_ffn_dim
        yield _Stack(*sizes, tokens * config.audio_stack)
    if "sound_encoder" in stage.trainable:
        yield _Stack(*_sizes(config.sound_config), tokens * config.audio_stack)


def _ola_tokens(stage: StageSettings) -> int:
    batch, objective = stage.batch, stage.objective
    longest = objective.max_tokens if isinstance(objective, NextToken) else LOSS_CHUNK
    return batch.tokens or longest * (batch.samples or 1)


def _onepeace_stacks(config: OnePeaceConfig, stage: StageSettings) -> Iterator[_Stack]:
    pairs, other = stage.batch.samples or 1, other_modality(stage)
    if isinstance(stage.objective, TaskSettings):
        whole = stage.batch.tokens or pairs * tokens_of_item(config, stage.objective)
        yield _Stack(*_sizes(config), whole)
        return
    tokens = _ENCODED["text"] * _TEXT_TOKENS + _ENCODED[other] * _medium_tokens(config, other)
    yield _Stack(*_sizes(config), pairs * tokens)
    whole = pairs * 2 * tokens_of_pair(config, other)
    yield _Stack(*_sizes(config.decoder_config), whole)


def other_modality(stage: StageSettings) -> str:
    """What a contrast pairs with text."""
    return "image" if getattr(stage.objective, "stage", "") == "vision_language" else "audio"


def _medium_tokens(config: OnePeaceConfig, modality: str) -> int:
    if modality == "image":
        return int(config.image_config.bias_grid**2 + 1)
    return int(config.audio_config.frames(_LONGEST_CLIP) + 1)


def _sizes(config: Any) -> tuple[int, int, int]:
    return config.num_hidden_layers, config.hidden_size, config.intermediate_size


def _word_logits(config: OlaConfig, stage: StageSettings) -> float:
    tokens = min(LOSS_CHUNK, _ola_tokens(stage))
    return float(tokens * config.text_config.vocab_size)


def _pair_logits(stage: StageSettings, ranks: int) -> float:
    pairs = stage.batch.samples or 1
    return 2.0 * pairs * pairs * ranks


def _largest_layer(model: nn.Module) -> int:
    """Parameters of the largest layer of any stack."""
    stacks = (m for m in model.modules() if isinstance(m, nn.ModuleList))
    layers = (layer for stack in stacks for layer in stack)
    return max((sum(p.numel() for p in layer.parameters()) for layer in layers), default=0)
