"""Media of a conversation -> spans: what encoders are fed, and how many tokens they make of it.

Whoever counts the placeholders also makes the pixels and the samples: both happen here.

Shapes: N chunks, S samples of a chunk, F frames, H height, W width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unisono.conversation import AudioPart, ImagePart, MediaPart, VideoPart
from unisono.errors import UnsupportedModalityError
from unisono.media import load_audio, load_image, load_video
from unisono.models.ola.config import OlaConfig
from unisono.models.ola.connector_vision import token_count
from unisono.models.ola.processor_image import frame_pictures, image_pictures
from unisono.models.ola.prompt import AudioSpan, ImageSpan, MediaSpan, VideoSpan


@dataclass(frozen=True)
class Opened:
    """A medium, opened.

    Attributes:
        spans: with `start` 0; a video with sound has two.
        notices: what of the medium the model will not get.
    """

    spans: tuple[MediaSpan, ...]
    notices: tuple[str, ...] = ()

    @property
    def sounds(self) -> bool:
        """Whether there is sound in it."""
        return any(isinstance(span, AudioSpan) for span in self.spans)


class MediaOpener:
    """Opens the media of one conversation, each of them once."""

    def __init__(self, config: OlaConfig) -> None:
        self.config = config
        # By identity: sources may be arrays, which neither hash nor compare to a truth. The part
        # is kept so that its identity stays its own.
        self._opened: dict[int, tuple[MediaPart, Opened]] = {}

    def open(self, part: MediaPart) -> Opened:
        """The part's spans.

        Raises:
            MediaError: it cannot be opened.
            UnsupportedModalityError: the model has no encoder for it.
        """
        if id(part) not in self._opened:
            self._opened[id(part)] = (part, self._open(part))
        return self._opened[id(part)][1]

    def forget_others(self, parts: list[MediaPart]) -> None:
        """Keep only what was opened of these parts."""
        kept = {id(part) for part in parts}
        self._opened = {key: value for key, value in self._opened.items() if key in kept}

    def _open(self, part: MediaPart) -> Opened:
        if isinstance(part, AudioPart):
            return self._sound(load_audio(part.audio))
        if self.config.vision_config is None:
            raise UnsupportedModalityError(
                f"the model has no vision encoder, so it cannot use the {part.type} it was given"
            )
        if isinstance(part, ImagePart):
            return Opened((image_span(load_image(part.image), self.config),))
        return self._video(part)

    def _video(self, part: VideoPart) -> Opened:
        listens = part.use_audio and self.config.hears_sound
        video = load_video(part.video, frames=self.config.video_frames, with_audio=listens)
        span = video_span(video.frames, self.config)
        if video.audio is None:
            return Opened((span,), ("the video has no sound",) if listens else ())
        sound = self._sound(video.audio)
        return Opened((span, *sound.spans), sound.notices)

    def _sound(self, samples: np.ndarray) -> Opened:
        """[samples] -> chunks [N, S], the last one zero-padded, S as the longest window needs."""
        if not self.config.hears_sound:
            raise UnsupportedModalityError(
                "the model has no hearing encoder, so it cannot use the audio it was given"
            )
        size, most = self.config.audio_chunk_samples, self.config.audio_max_chunks
        heard = samples[: most * size]
        chunks = np.zeros((-(-len(heard) // size), size), dtype=np.float32)
        chunks.reshape(-1)[: len(heard)] = heard
        own = tuple(min(size, len(heard) - start) for start in range(0, len(heard), size))
        tokens = [self.config.audio_window_tokens(count) for count in own]
        seen = self.config.audio_window_samples(max(tokens, default=0))
        span = AudioSpan(
            0,
            sum(tokens) + len(tokens) + 2,
            np.ascontiguousarray(chunks[:, :seen]),
            own if self.config.audio_lengths_matter else None,
        )
        return Opened((span,), self._cut(len(samples), len(heard)))

    @staticmethod
    def _cut(given: int, heard: int) -> tuple[str, ...]:
        if heard == given:
            return ()
        return (
            f"the sound lasts {given / 16_000:.0f} s, but the model hears at most "
            f"{heard / 16_000:.0f} s: the rest was left out",
        )


def image_span(image: Image.Image, config: OlaConfig) -> ImageSpan:
    """A picture in Ola's two resolutions, at place 0."""
    pictures = image_pictures(image, config.sizes)
    length = token_count(_grids(pictures, config), is_video=False, pool=config.vision_pool)
    return ImageSpan(0, length, tuple(pictures))


def video_span(frames: np.ndarray, config: OlaConfig) -> VideoSpan:
    """Frames [F, H, W, 3] in the resolution of videos, at place 0."""
    pictures = list(frame_pictures(frames, config.sizes))
    length = token_count(_grids(pictures, config), is_video=True, pool=config.vision_pool)
    return VideoSpan(0, length, tuple(pictures))


def _grids(pictures: Sequence[np.ndarray], config: OlaConfig) -> list[tuple[int, int]]:
    """Rows and columns of patches."""
    side = config.vision_config.patch_size
    return [(picture.shape[0] // side, picture.shape[1] // side) for picture in pictures]


def audio_counts(spans: Sequence[AudioSpan]) -> dict[str, Tensor]:
    """What is known of sounds before they are encoded.

    Returns:
        `audio_chunk_counts` [sounds] and, where it matters, `audio_lengths` [chunks], the samples
        of each that are sound.
    """
    counts = {"audio_chunk_counts": torch.tensor([len(span.chunks) for span in spans])}
    lengths = [length for span in spans for length in span.lengths or ()]
    return counts | ({"audio_lengths": torch.tensor(lengths)} if lengths else {})
