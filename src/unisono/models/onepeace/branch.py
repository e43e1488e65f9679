"""One modality of a ONE-PEACE model as an encoder: pictures or sounds in, a vector a token out.

The numbers are those the whole model makes of that modality when it is encoded alone; [CLS] takes
part in the attention and is left out of the result. Pixels and samples come as any vision or
hearing encoder of this package takes them.

Shapes: P patches of all pictures, p side of a patch, C channels, N clips, S samples at 16 kHz,
F frames, W width.
"""

import os
from collections.abc import Mapping
from typing import Self, cast

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from unisono.models.onepeace.bias import Grid, resized_table
from unisono.models.onepeace.branch_config import OnePeaceSoundConfig, OnePeaceVisionConfig
from unisono.models.onepeace.image import PATCH_PX, resized_positions
from unisono.models.onepeace.model import OnePeaceModel, OnePeacePreTrainedModel
from unisono.models.onepeace.pretraining import OnePeaceForPretraining
from unisono.models.onepeace.processor_audio import batch_clips, normalised_clip

Source = OnePeaceModel | OnePeaceForPretraining | str | os.PathLike[str]
"""A ONE-PEACE model, or a folder or hub name with one."""


class OnePeaceVisionModel(OnePeacePreTrainedModel):
    """Patches of pictures in, one feature vector a patch out."""

    config_class = OnePeaceVisionConfig
    config: OnePeaceVisionConfig
    main_input_name = "pixel_patches"
    input_modalities = ("image",)

    def __init__(self, config: OnePeaceVisionConfig) -> None:
        super().__init__(config)
        self.onepeace = OnePeaceModel(config, with_projections=False)
        self.post_init()

    @classmethod
    def from_onepeace(cls, source: Source, *, grid: int | None = None) -> Self:
        """The vision branch of a model, in float32 and eval mode.

        Args:
            source: the model; text, sound, projections and decoder are left behind.
            grid: side of the square of patches that positions and relative bias are resampled
                to; None leaves them, and any picture of another size has them resampled anew.

        Raises:
            ModelConfigError: the model does not see, or its weights do not fit.
            OSError: there is no such model.
        """
        model = whole_model(source)
        branch = cls(OnePeaceVisionConfig.of(model.config, grid=grid))
        weights = branch_weights(model, branch.onepeace)
        side = branch.config.image_config.bias_grid
        if side != (learned := model.config.image_config.bias_grid):
            for name in [name for name in weights if "relative_bias" in name]:
                weights[name] = resized_table(weights[name], learned, (side, side))
        side = branch.config.image_config.position_grid
        name = "adapters.image.position_embedding"
        weights[name] = resized_positions(weights[name], (side, side))
        branch.onepeace.load_state_dict(weights)
        return branch.eval()

    def forward(self, pixel_patches: Tensor, patch_grids: Tensor) -> BaseModelOutput:
        """Encode pictures, each on its own; those of equal size together.

        Args:
            pixel_patches: [P, C * p * p], normalised; picture after picture, row after row, each
                patch in the order channel, row, column.
            patch_grids: [pictures, 2], rows and columns of each picture.

        Returns:
            `last_hidden_state` [P, W], in the order given.

        Raises:
            ValueError: the grids do not describe P patches.
        """
        grids = [(rows, columns) for rows, columns in patch_grids.tolist()]
        sizes = [rows * columns for rows, columns in grids]
        if not grids or sum(sizes) != len(pixel_patches):
            raise ValueError(
                f"patch_grids describe {sum(sizes)} patches, but there are {len(pixel_patches)}"
            )
        pictures = torch.split(pixel_patches, sizes)
        features: dict[int, Tensor] = {}
        for grid, members in _by_grid(grids).items():
            encoded = self._encoded(torch.stack([pictures[i] for i in members]), grid)
            features |= dict(zip(members, encoded, strict=True))
        return BaseModelOutput(
            last_hidden_state=torch.cat([features[i] for i in range(len(grids))])
        )

    def _encoded(self, patches: Tensor, grid: Grid) -> Tensor:
        """[pictures, h * w, C * p * p] -> [pictures, h * w, W]."""
        rows, columns = grid
        cut = patches.view(len(patches), rows, columns, -1, PATCH_PX, PATCH_PX)
        pixels = cut.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)  # [pictures, C, H, W]
        return _last_hidden(self.onepeace, "image", {"pixel_values": pixels})


class OnePeaceSoundModel(OnePeacePreTrainedModel):
    """Samples in, 50 feature vectors a second out."""

    config_class = OnePeaceSoundConfig
    config: OnePeaceSoundConfig
    main_input_name = "input_values"
    input_modalities = ("audio",)

    def __init__(self, config: OnePeaceSoundConfig) -> None:
        super().__init__(config)
        self.onepeace = OnePeaceModel(config, with_projections=False)
        self.post_init()

    @classmethod
    def from_onepeace(cls, source: Source) -> Self:
        """The sound branch of a model, in float32 and eval mode.

        Args:
            source: the model; text, pictures, projections and decoder are left behind.

        Raises:
            ModelConfigError: the model does not hear, or its weights do not fit.
            OSError: there is no such model.
        """
        model = whole_model(source)
        branch = cls(OnePeaceSoundConfig.of(model.config))
        branch.onepeace.load_state_dict(branch_weights(model, branch.onepeace))
        return branch.eval()

    def forward(self, input_values: Tensor, lengths: Tensor | None = None) -> BaseModelOutput:
        """Encode clips, each normalised over its own samples and repeated if under a second.

        Args:
            input_values: [N, S] at 16 kHz.
            lengths: [N], the samples of each clip; those behind are not heard. None: all S.

        Returns:
            `last_hidden_state` [N, F, W], F what the stem makes of S samples; zeros behind a
            clip's last frame.

        Raises:
            ContextLengthError: S exceeds `config.longest_samples`.
            MediaEmptyError: S are too few samples for a frame.
        """
        samples = input_values.detach().float().cpu()
        own = [samples.shape[1]] * len(samples) if lengths is None else lengths.tolist()
        clips = [
            normalised_clip(one[:n].numpy(), samples.shape[1])
            for one, n in zip(samples, own, strict=True)
        ]
        values, mask = batch_clips(clips, self.config.audio_config.frames)
        given = {"audio_values": values.to(self.device), "audio_mask": mask.to(self.device)}
        hidden = _last_hidden(self.onepeace, "audio", given)
        hidden = hidden * given["audio_mask"][:, 1:, None].to(hidden.dtype)
        missing = self.config.audio_config.frames(samples.shape[1]) - hidden.shape[1]
        return BaseModelOutput(last_hidden_state=pad(hidden, (0, 0, 0, missing)))


def _last_hidden(model: OnePeaceModel, modality: str, inputs: Mapping[str, Tensor]) -> Tensor:
    """Behind the modality's final norm, without [CLS]: [B, T - 1, W]."""
    return model.encode(model.embed(inputs)).sequences[modality][:, 1:]


def _by_grid(grids: list[Grid]) -> dict[Grid, list[int]]:
    """Each size and the pictures that have it."""
    members: dict[Grid, list[int]] = {}
    for index, grid in enumerate(grids):
        members.setdefault(grid, []).append(index)
    return members


def whole_model(source: Source) -> OnePeaceModel:
    """The model itself; of a folder or hub name, loaded in float32."""
    if isinstance(source, OnePeaceForPretraining):
        return source.onepeace
    if isinstance(source, OnePeaceModel):
        return source
    return cast(OnePeaceModel, OnePeaceModel.from_pretrained(source, dtype=torch.float32))


def branch_weights(model: OnePeaceModel, branch: PreTrainedModel) -> dict[str, Tensor]:
    """Of the model's weights those that the branch has too, in float32."""
    own = branch.state_dict().keys()
    return {n: w.detach().float() for n, w in model.state_dict().items() if n in own}
