"""Media in, embeddings of the language model's width out: every encoder with its connector.

`OlaEncoders` stands apart from the language model, so that one stepped by another engine
(llama.cpp, say) can be fed the same embeddings.

Shapes: D width of the language model, N audio chunks, P patches of all pictures, W encoder width.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from unisono.errors import UnsupportedModalityError
from unisono.models.ola.config import OlaConfig
from unisono.models.ola.connector import AudioConnector
from unisono.models.ola.connector_vision import VisionConnector
from unisono.models.ola.hearing import HearingEncoders
from unisono.models.ola.vision import OryxVisionModel

MEDIA_INPUTS = (
    *("audio_mels", "audio_samples", "audio_chunk_counts"),
    *("pixel_patches", "patch_grids", "picture_counts", "is_video"),
)
"""What the processor makes of media; read once, before the first token."""

_CHUNKS_AT_ONCE = 4
_PATCHES_AT_ONCE = 16_384
"""Without gradients, long media pass their encoders in slices, which bounds the memory."""


class OlaEncoders(nn.Module):
    """The vision encoder, the hearing encoders and their connectors; each may be absent."""

    def __init__(self, config: OlaConfig) -> None:
        super().__init__()
        self.config = config
        out_width = config.text_config.hidden_size
        self.vision: OryxVisionModel | None = None
        self.vision_connector: VisionConnector | None = None
        self.hearing: HearingEncoders | None = None
        self.audio_connector: AudioConnector | None = None
        if config.vision_config is not None:
            self.vision = OryxVisionModel(config.vision_config)
            width = config.vision_config.hidden_size
            self.vision_connector = VisionConnector(width, out_width, pool=config.vision_pool)
        if width := HearingEncoders.width_of(config):
            self.hearing = HearingEncoders(config)
            self.audio_connector = AudioConnector(
                width, config.audio_connector_width, out_width, stack=config.audio_stack
            )

    def forward(self, **media: Tensor | None) -> dict[int, Tensor]:
        """Encode whatever is there; what is absent costs nothing.

        Args:
            **media: see `each`.

        Returns:
            Placeholder id -> [tokens, D].

        Raises:
            UnsupportedModalityError: a medium the model has no encoder for.
        """
        each = self.each(**media)
        return {kind: torch.cat(tokens) for kind, tokens in each.items() if tokens}

    def each(
        self,
        *,
        audio_mels: Tensor | None = None,
        audio_samples: Tensor | None = None,
        audio_chunk_counts: Tensor | None = None,
        pixel_patches: Tensor | None = None,
        patch_grids: Tensor | None = None,
        picture_counts: Tensor | None = None,
        is_video: Tensor | None = None,
    ) -> dict[int, list[Tensor]]:
        """Encode media, each medium apart.

        Args:
            audio_mels: [N, mel bins, mel frames], for the speech encoder.
            audio_samples: [N, samples] at 16 kHz, for the sound encoder.
            audio_chunk_counts: [sounds], the chunks of each sound.
            pixel_patches: [P, C * p * p], the patches of all pictures.
            patch_grids: [pictures, 2], the rows and columns of each picture.
            picture_counts: [media], the pictures of each image (its resolutions) and of each
                video (its frames).
            is_video: [media], bool.

        Returns:
            Placeholder id -> a tensor [tokens, D] for each medium, in their order.

        Raises:
            UnsupportedModalityError: a medium the model has no encoder for.
        """
        image_id, audio_id, video_id = self.config.placeholder_ids
        found: dict[int, list[Tensor]] = {image_id: [], audio_id: [], video_id: []}
        if audio_chunk_counts is not None:
            found[audio_id] = self._heard(audio_mels, audio_samples, audio_chunk_counts)
        if pixel_patches is not None:
            if patch_grids is None or picture_counts is None or is_video is None:
                raise ValueError("patch_grids, picture_counts and is_video must be given too")
            seen = self._seen(pixel_patches, patch_grids, picture_counts, is_video)
            for tokens, moving in zip(seen, is_video.tolist(), strict=True):
                found[video_id if moving else image_id].append(tokens)
        return found

    def _heard(
        self, mels: Tensor | None, samples: Tensor | None, chunk_counts: Tensor
    ) -> list[Tensor]:
        if self.hearing is None or self.audio_connector is None:
            raise UnsupportedModalityError("the model has no hearing encoder, but was given sound")
        hearing = self.hearing
        count = int(chunk_counts.sum())
        spans = [slice(i, i + _CHUNKS_AT_ONCE) for i in range(0, count, _CHUNKS_AT_ONCE)]
        frames = _in_slices(
            lambda at: hearing(
                None if mels is None else mels[at], None if samples is None else samples[at]
            ),
            spans,
        )
        tokens = self.audio_connector(frames, chunk_counts)
        lengths = [n * self.config.audio_tokens_per_chunk + 2 for n in chunk_counts.tolist()]
        return list(torch.split(tokens, lengths))

    def _seen(
        self, patches: Tensor, grids: Tensor, picture_counts: Tensor, is_video: Tensor
    ) -> list[Tensor]:
        if self.vision is None or self.vision_connector is None:
            raise UnsupportedModalityError(
                "the model has no vision encoder, but was given pictures"
            )
        vision = self.vision
        patches = patches.to(vision.device, vision.dtype)
        starts = [0, *grids.prod(dim=1).cumsum(0).tolist()]
        features = _in_slices(
            lambda at: (
                vision(patches[starts[at.start] : starts[at.stop]], grids[at]).last_hidden_state
            ),
            list(_picture_slices(starts)),
        )
        return self.vision_connector(features, grids, picture_counts, is_video)


def _in_slices(encode: Callable[[slice], Tensor], slices: list[slice]) -> Tensor:
    """Encode slice by slice, or all at once where gradients are wanted."""
    if torch.is_grad_enabled():
        return encode(slice(slices[0].start, slices[-1].stop))
    return torch.cat([encode(one) for one in slices])


def _picture_slices(starts: list[int]) -> Iterator[slice]:
    """Slices of whole pictures of at most `_PATCHES_AT_ONCE` patches, or of one picture."""
    first = 0
    for index in range(1, len(starts)):
        last = index == len(starts) - 1
        if last or starts[index + 1] - starts[first] > _PATCHES_AT_ONCE:
            yield slice(first, index)
            first = index
