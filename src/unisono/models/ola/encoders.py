"""Media in, embeddings of the language model's width out: every encoder with its connector.

`OlaEncoders` stands apart from the language model, so that one stepped by another engine
(llama.cpp, say) can be fed the same embeddings.

Shapes: D width of the language model, N audio chunks, P patches of all pictures, W encoder width.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AutoModel, PreTrainedModel

from unisono.errors import UnsupportedModalityError
from unisono.models.ola.config import OlaConfig
from unisono.models.ola.connector import AudioConnector
from unisono.models.ola.connector_vision import VisionConnector
from unisono.models.ola.features import KeepFeatures, Known, as_it_serves, completed
from unisono.models.ola.hearing import HearingEncoders
from unisono.models.ola.windows import Windows, in_windows, window_tokens

MEDIA_INPUTS = (
    *("audio_mels", "audio_samples", "audio_chunk_counts", "audio_lengths"),
    *("pixel_patches", "patch_grids", "picture_counts", "is_video"),
)
"""What the processor makes of media; read once, before the first token."""

KNOWN_FEATURES = ("audio_features", "audio_known", "vision_features", "vision_known")
"""What training may hand in instead of some of them."""

_BLIND = "the model has no vision encoder, but was given pictures"
_DEAF = "the model has no hearing encoder, but was given sound"

_CHUNKS_AT_ONCE = 4
_PATCHES_AT_ONCE = 16_384
"""Without gradients, long media pass their encoders in slices, which bounds the memory."""


class OlaEncoders(nn.Module):
    """The vision encoder, the hearing encoders and their connectors; each may be absent.

    Attributes:
        other_forwards: methods that, as `forward`, may be called of a sharded model.
    """

    other_forwards = ("see_cells",)

    def __init__(self, config: OlaConfig) -> None:
        super().__init__()
        self.config = config
        out_width = config.text_config.hidden_size
        self.vision: PreTrainedModel | None = None
        self.vision_connector: VisionConnector | None = None
        self.hearing: HearingEncoders | None = None
        self.audio_connector: AudioConnector | None = None
        if config.vision_config is not None:
            self.vision = AutoModel.from_config(config.vision_config)
            width = config.vision_config.hidden_size
            self.vision_connector = VisionConnector(width, out_width, pool=config.vision_pool)
        if width := HearingEncoders.width_of(config):
            self.hearing = HearingEncoders(config)
            self.audio_connector = AudioConnector(
                width, config.audio_connector_width, out_width, stack=config.audio_stack
            )

    def forward(
        self, *, keep: KeepFeatures | None = None, **media: Tensor | None
    ) -> dict[int, Tensor]:
        """Encode whatever is there; what is absent costs nothing.

        In training, trainable parameters that nothing passes take part with no tokens: all ranks
        have gradients of the same parameters then, whatever media are in their batches.

        Args:
            keep: see `each`.
            **media: see `each`.

        Returns:
            Placeholder id -> [tokens, D].

        Raises:
            UnsupportedModalityError: a medium the model has no encoder for.
        """
        each = self.each(keep=keep, **media)
        found = {kind: torch.cat(tokens) for kind, tokens in each.items() if tokens}
        if self.training and torch.is_grad_enabled():
            self._add_idle(found)
        return found

    def see(self, patches: Tensor, grids: Tensor) -> Tensor:
        """The vision encoder alone: [P, C * p * p] and [pictures, 2] -> features [P, W].

        Raises:
            UnsupportedModalityError: the model has none.
        """
        vision = self.vision
        if vision is None:
            raise UnsupportedModalityError(_BLIND)
        patches = patches.to(vision.device, vision.dtype)
        starts = [0, *grids.prod(dim=1).cumsum(0).tolist()]
        with as_it_serves(vision):
            return _in_slices(
                lambda at: (
                    vision(patches[starts[at.start] : starts[at.stop]], grids[at]).last_hidden_state
                ),
                list(_picture_slices(starts)),
            )

    def see_cells(self, patches: Tensor, grids: Tensor) -> Tensor:
        """What the connector makes of each cell of pictures: see `see` -> [cells, D].

        Raises:
            UnsupportedModalityError: the model has no vision encoder.
        """
        if self.vision_connector is None:
            raise UnsupportedModalityError(_BLIND)
        sizes = [(int(rows), int(columns)) for rows, columns in grids.tolist()]
        return self.vision_connector.project(self.see(patches, grids), sizes)

    def hear(
        self, mels: Tensor | None, samples: Tensor | None, lengths: Tensor | None = None
    ) -> Tensor:
        """The hearing encoders alone: chunks -> features [units, F, W].

        A unit is a chunk; with windows of utterances, it is the frames of a token (see
        `Windows`).

        Args:
            mels: [N, mel bins, mel frames], for the speech encoder.
            samples: [N, samples] at 16 kHz, for the sound encoder.
            lengths: [N], the samples of each chunk that are sound, where it matters.

        Raises:
            UnsupportedModalityError: the model has none.
            ValueError: what an encoder needs is missing.
        """
        hearing, config = self.hearing, self.config
        if hearing is None:
            raise UnsupportedModalityError(_DEAF)

        def encode(chunks: list[int], tokens: int) -> Tensor:
            return hearing(
                None if mels is None else mels[chunks, :, : config.audio_window_mels(tokens)],
                None if samples is None else samples[chunks, : config.audio_window_samples(tokens)],
                None if lengths is None else lengths[chunks],
                frames=tokens * config.audio_stack,
            )

        count = max(1, *(0 if one is None else len(one) for one in (mels, samples)))
        with as_it_serves(hearing):
            at_once = count if torch.is_grad_enabled() else _CHUNKS_AT_ONCE
            features = in_windows(window_tokens(config, count, lengths), at_once, encode)
        if config.audio_window == "chunk":
            return torch.stack(features)
        return torch.cat([one.view(-1, config.audio_stack, one.shape[-1]) for one in features])

    def each(  # noqa: PLR0913 -- the names of the processor's tensors
        self,
        *,
        audio_mels: Tensor | None = None,
        audio_samples: Tensor | None = None,
        audio_chunk_counts: Tensor | None = None,
        audio_lengths: Tensor | None = None,
        audio_features: Tensor | None = None,
        audio_known: Tensor | None = None,
        pixel_patches: Tensor | None = None,
        patch_grids: Tensor | None = None,
        picture_counts: Tensor | None = None,
        is_video: Tensor | None = None,
        vision_features: Tensor | None = None,
        vision_known: Tensor | None = None,
        keep: KeepFeatures | None = None,
    ) -> dict[int, list[Tensor]]:
        """Encode media, each medium apart.

        Features that are known already take the place of mels, samples and patches, which are
        then those of the other media only; counts and grids are always those of all media.

        Args:
            audio_mels: [N, mel bins, mel frames], for the speech encoder.
            audio_samples: [N, samples] at 16 kHz, for the sound encoder.
            audio_chunk_counts: [sounds], the chunks of each sound.
            audio_lengths: [chunks of all sounds], the samples of each that are sound, where it
                matters (`OlaConfig.audio_lengths_matter`).
            audio_features: [units, F, W] of the known sounds, one after the other; see `hear`.
            audio_known: [sounds], bool; the others are encoded one by one. None: none is known.
            pixel_patches: [P, C * p * p], the patches of all pictures.
            patch_grids: [pictures, 2], the rows and columns of each picture.
            picture_counts: [media], the pictures of each image (its resolutions) and of each
                video (its frames).
            is_video: [media], bool.
            vision_features: [patches, W] of the known media, one after the other.
            vision_known: [media], bool; the others are encoded one by one. None: none is known.
            keep: told the features of each medium that is encoded by itself.

        Returns:
            Placeholder id -> a tensor [tokens, D] for each medium, in their order.

        Raises:
            UnsupportedModalityError: a medium the model has no encoder for.
        """
        image_id, audio_id, video_id = self.config.placeholder_ids
        found: dict[int, list[Tensor]] = {image_id: [], audio_id: [], video_id: []}
        if audio_chunk_counts is not None:
            known = Known("audio", audio_known, audio_features, keep)
            sounds = _Sounds(audio_mels, audio_samples, audio_chunk_counts, audio_lengths)
            found[audio_id] = self._heard(sounds, known)
        if pixel_patches is not None or vision_features is not None:
            if patch_grids is None or picture_counts is None or is_video is None:
                raise ValueError("patch_grids, picture_counts and is_video must be given too")
            known = Known("vision", vision_known, vision_features, keep)
            features = self._vision_features(pixel_patches, patch_grids, picture_counts, known)
            if self.vision_connector is None:
                raise UnsupportedModalityError(_BLIND)
            seen = self.vision_connector(features, patch_grids, picture_counts, is_video)
            for tokens, moving in zip(seen, is_video.tolist(), strict=True):
                found[video_id if moving else image_id].append(tokens)
        return found

    def _heard(self, sounds: "_Sounds", known: Known) -> list[Tensor]:
        if self.audio_connector is None:
            raise UnsupportedModalityError(_DEAF)
        windows = Windows.of(self.config, sounds.chunk_counts, sounds.lengths)
        if known.which is None:
            frames = self.hear(sounds.mels, sounds.samples, sounds.lengths)
        else:
            new = sounds.each_new(known.which)
            frames = completed(known, windows.units, lambda index, _: self.hear(*new[index]))
        tokens = self.audio_connector(
            frames, sounds.chunk_counts, None if windows.by_chunk else windows.tokens
        )
        return list(torch.split(tokens, windows.sound_tokens))

    def _vision_features(
        self, patches: Tensor | None, grids: Tensor, picture_counts: Tensor, known: Known
    ) -> Tensor:
        none = grids.new_zeros(0, 1)  # all media are known
        patches = none if patches is None else patches
        if known.which is None:
            return self.see(patches, grids)
        media = torch.split(grids, picture_counts.tolist())
        sizes = [int(pictures.prod(dim=1).sum()) for pictures in media]
        return completed(known, sizes, lambda index, at: self.see(patches[at], media[index]))

    def _add_idle(self, found: dict[int, Tensor]) -> None:
        """Add [0, D] of what has nothing to do, with gradients (zeros) for its parameters."""
        image_id, audio_id, video_id = self.config.placeholder_ids
        hears: list[nn.Module | None] = [self.hearing, self.audio_connector]
        sees: list[nn.Module | None] = [self.vision, self.vision_connector]
        width = self.config.text_config.hidden_size
        for modules, kinds in ((hears, {audio_id}), (sees, {image_id, video_id})):
            parameters = [p for one in modules if one for p in one.parameters() if p.requires_grad]
            if parameters and not kinds & found.keys():
                nothing = torch.cat([parameter.flatten()[:0] for parameter in parameters])
                found[min(kinds)] = nothing.view(0, width)


@dataclass(frozen=True)
class _Sounds:
    """The sounds of a batch; see `OlaEncoders.each`.

    Attributes:
        mels, samples: of the chunks that are to be encoded.
        chunk_counts: of all sounds.
        lengths: of all chunks.
    """

    mels: Tensor | None
    samples: Tensor | None
    chunk_counts: Tensor
    lengths: Tensor | None

    def each_new(self, known: Tensor) -> dict[int, tuple[Tensor | None, ...]]:
        """Mels, samples and lengths of each sound that is not known, by its index."""
        found: dict[int, tuple[Tensor | None, ...]] = {}
        counts, first, first_new = self.chunk_counts.tolist(), 0, 0
        for index, (count, is_known) in enumerate(zip(counts, known.tolist(), strict=True)):
            if not is_known:
                place = slice(first_new, first_new + count)
                new = (None if one is None else one[place] for one in (self.mels, self.samples))
                own = None if self.lengths is None else self.lengths[first : first + count]
                found[index] = (*new, own)
                first_new += count
            first += count
        return found


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
