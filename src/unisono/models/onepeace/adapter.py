"""What every modality does alike: media -> tokens with [CLS] first, positions and a bias.

A modality is one adapter class in one file and one entry in the config. Adding one touches
nothing here or in the encoder: write the adapter and its config, call `register_adapter`.
Shapes: B batch, T tokens with [CLS], K kept tokens, D width, H heads.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedConfig

from unisono.errors import ModelConfigError
from unisono.models.onepeace.bias import Grid, RelativeBias, look_up
from unisono.models.onepeace.config import OnePeaceConfig


@dataclass(frozen=True)
class Part:
    """One modality's tokens on their way into the encoder.

    Attributes:
        modality: its name.
        tokens: [B, T, D].
        padding: [B, T], True at padding; None when there is none.
        bias: layer -> relative bias [1 or B, H, T, T] among these tokens; None for none.
    """

    modality: str
    tokens: Tensor
    padding: Tensor | None
    bias: Callable[[int], Tensor] | None


@dataclass(frozen=True)
class Layout:
    """How a medium lies in its tokens.

    Attributes:
        padding: [B, T], True at padding; None when there is none.
        grid: rows and columns of patches, for images.
    """

    padding: Tensor | None = None
    grid: Grid | None = None


@dataclass(frozen=True)
class Kept:
    """The tokens that masking leaves visible.

    Attributes:
        ids: [B, K] positions, [CLS] first; padded by any legal position.
        padding: [B, K], True where `ids` is only filled up; None when nowhere.
    """

    ids: Tensor
    padding: Tensor | None

    @classmethod
    def of(cls, preserve_ids: Tensor) -> "Kept":
        """From positions that are filled up by -1."""
        padding = preserve_ids < 0
        ids = preserve_ids.masked_fill(padding, preserve_ids.shape[1] - 1)
        return cls(ids, some(padding))


class Adapter(nn.Module):
    """Turns one modality into a `Part`.

    Attributes:
        INPUTS: the names under which a model is given this modality, in the order of
            `forward`'s arguments; the first is the medium itself.
    """

    INPUTS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, modality: str, config: OnePeaceConfig, *, pairs: int) -> None:
        """`pairs`: rows of the relative table, those for [CLS] not counted."""
        super().__init__()
        self.modality = modality
        width, kinds = config.hidden_size, config.modalities[modality].type_embeddings
        layers = config.num_hidden_layers if config.bias_per_layer else 1
        self.cls_embedding = nn.Parameter(torch.zeros(1, 1, width))
        self.type_embeddings = nn.ParameterList(torch.zeros(1, 1, width) for _ in range(kinds))
        self.relative_bias = RelativeBias(pairs, config.num_attention_heads, layers)

    def forward(self, *inputs: Any, **settings: Any) -> Part:
        """Embed the inputs named by `INPUTS`.

        Args:
            *inputs: the medium, and what else the adapter takes.
            **settings: `kept: Kept | None`, the tokens that go on, None for all; `second: bool`,
                it is the second image of a pair.
        """
        raise NotImplementedError

    def layout(self, *inputs: Any) -> Layout:
        """Padding and grid of the inputs named by `INPUTS`, all tokens counted."""
        return Layout()

    def bias_at(
        self, index: Tensor, kept: Kept | None, table: Callable[[int], Tensor] | None = None
    ) -> Callable[[int], Tensor]:
        """The biases of rows `index` [T, T], of the kept tokens only when there are such.

        `table`: layer -> table, where it is not simply the learned one.
        """
        source = table or self.relative_bias.table
        chosen = index if kept is None else index[kept.ids[:, :, None], kept.ids[:, None, :]]
        return lambda layer: look_up(source(layer), chosen)

    def marked(self, tokens: Tensor, *, second: bool) -> Tensor:
        """Add the type embeddings, where the model has them; a second image gets both."""
        for mark in list(self.type_embeddings)[: 1 + second]:
            tokens = tokens + mark
        return tokens

    def behind_cls(self, tokens: Tensor) -> Tensor:
        """Put [CLS] in front: [B, T - 1, D] -> [B, T, D]."""
        cls = self.cls_embedding.to(tokens.dtype).expand(len(tokens), -1, -1)
        return torch.cat([cls, tokens], dim=1)


_ADAPTERS: dict[str, type[Adapter]] = {}


def register_adapter(config_class: type[PreTrainedConfig], adapter_class: type[Adapter]) -> None:
    """Say which adapter belongs to a modality's config; both may then be named in a model's."""
    AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    _ADAPTERS[config_class.model_type] = adapter_class


def build_adapter(modality: str, config: OnePeaceConfig) -> Adapter:
    """The adapter of one of `config.modalities`.

    Raises:
        ModelConfigError: none is registered for the modality's config.
    """
    kind = config.modalities[modality].model_type
    if kind not in _ADAPTERS:
        raise ModelConfigError(f"no adapter is registered for {kind!r} (modality {modality!r})")
    build: Callable[..., Any] = _ADAPTERS[kind]
    adapter: Adapter = build(modality, config)
    return adapter


def pick(values: Tensor, ids: Tensor) -> Tensor:
    """[B, T, ...] at [B, K] -> [B, K, ...]."""
    return values[torch.arange(len(ids), device=ids.device)[:, None], ids]


def some(padding: Tensor) -> Tensor | None:
    """The mask, or None when it masks nothing."""
    return padding if bool(padding.any()) else None
