"""A fourth modality, depth maps, joins without a change to the encoder."""

from pathlib import Path

import torch
from huggingface_hub.dataclasses import strict
from tiny_onepeace import randomised, texts, tiny_config
from torch import Tensor, nn
from transformers import PreTrainedConfig

from unisono.models.onepeace import (
    Adapter,
    OnePeaceConfig,
    OnePeaceForPretraining,
    OnePeaceModel,
    Stage,
    register_adapter,
)
from unisono.models.onepeace.adapter import Kept, Part, pick
from unisono.models.onepeace.bias import grid_index
from unisono.models.onepeace.losses import cross_modal_contrast

DEPTH = Stage(pair=("text", "depth"), alone={}, joint={}, trained="depth")


@strict
class DepthConfig(PreTrainedConfig):
    """Depth maps of grid x grid cells."""

    model_type = "test_depth"

    grid: int = 3
    cell: int = 4
    type_embeddings: int = 0

    @property
    def decoder_positions(self) -> int:
        return self.grid**2 + 1


class DepthAdapter(Adapter):
    """One Linear on each cell."""

    INPUTS = ("depth_values",)

    def __init__(self, modality: str, config: OnePeaceConfig) -> None:
        depth: DepthConfig = config.modalities[modality]
        super().__init__(modality, config, pairs=(2 * depth.grid - 1) ** 2)
        self.config = depth
        self.projection = nn.Linear(depth.cell**2, config.hidden_size)

    def forward(
        self, depth_values: Tensor, *, kept: Kept | None = None, second: bool = False
    ) -> Part:
        side = self.config.cell
        cells = depth_values.unfold(1, side, side).unfold(2, side, side).flatten(3).flatten(1, 2)
        tokens = self.behind_cls(self.projection(cells))
        if kept is not None:
            tokens = pick(tokens, kept.ids)
        index = grid_index((self.config.grid,) * 2, tokens.device)
        padding = None if kept is None else kept.padding
        return Part(self.modality, tokens, padding, self.bias_at(index, kept))


register_adapter(DepthConfig, DepthAdapter)


def with_depth() -> OnePeaceConfig:
    return tiny_config(more_configs={"depth": {"model_type": "test_depth"}})


def depths(batch: int = 6) -> Tensor:
    return torch.randn(batch, 12, 12, generator=torch.Generator().manual_seed(7))


def test_depth_learns_to_find_its_text() -> None:
    model: OnePeaceForPretraining = randomised(OnePeaceForPretraining(with_depth()))
    model.set_trainable(DEPTH)
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    assert any(n.startswith("onepeace.adapters.text") for n in frozen)
    given = {"input_ids": texts(6), "depth_values": depths()}
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-2)
    before = model(stage=DEPTH, masks={}, **given)
    for _ in range(25):
        optimiser.zero_grad()
        model(stage=DEPTH, masks={}, **given).loss.backward()
        optimiser.step()
    after = model(stage=DEPTH, masks={}, **given)
    assert after.loss.item() < 0.3 * before.loss.item()
    assert int(after.correct["depth"]) == 6
    assert all(torch.equal(p, frozen[n]) for n, p in model.named_parameters() if n in frozen)
    features = model.onepeace(**given).embeddings
    shuffled = cross_modal_contrast(
        features["text"], features["depth"].roll(1, dims=0), model.onepeace.scale()
    )
    assert shuffled.loss.item() > 3 * after.loss.item()


@torch.no_grad()
def test_depth_joins_text_in_one_sequence_and_survives_saving(tmp_path: Path) -> None:
    model: OnePeaceModel = randomised(OnePeaceModel(with_depth()))
    given = {"input_ids": texts(6), "depth_values": depths()}
    out = model(joint=True, **given)
    assert list(out.last_hidden_states) == ["text", "depth"]
    model.save_pretrained(tmp_path)
    again = OnePeaceModel.from_pretrained(tmp_path)
    assert isinstance(again.config.modalities["depth"], DepthConfig)
    embedding = again(joint=True, **given).embeddings["depth"]
    torch.testing.assert_close(embedding, out.embeddings["depth"])
