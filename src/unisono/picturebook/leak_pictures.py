"""Pictures that look the same: by perceptual hash first, then by small copies of them.

Legend: N pictures, Q queries, S `_SMALL_PX`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unisono.media import load_video
from unisono.picturebook.leak_workers import for_all

_HASH_PX = 32
_LOW = 8  # frequencies kept, each way: 64 bits
_SMALL_PX = 16
_BLOCK = 1024
_FURTHEST_BITS = 12
_FURTHEST = 0.15
"""Mean difference of the small copies up to which pictures are the same, as a share of how far one
differs from its own mean: a few words on a plain ground differ little from any other words."""
_CLIP_FRAMES = 4


@dataclass(frozen=True)
class Looks:
    """What is compared of N pictures.

    Attributes:
        grey: uint8 [N, 32, 32], on white.
        small: uint8 [N, S, S, 4], on white, with the shape of what is drawn.
    """

    grey: NDArray[np.uint8]
    small: NDArray[np.uint8]

    def mirrored(self) -> "Looks":
        """The same pictures in a mirror."""
        return Looks(self.grey[:, :, ::-1], self.small[:, :, ::-1])

    def chosen(self, which: NDArray[np.intp]) -> "Looks":
        """Some of the pictures, by their numbers."""
        return Looks(self.grey[which], self.small[which])


def looks(paths: Sequence[Path]) -> Looks:
    """Read pictures, or videos by some of their frames, side by side.

    Raises:
        OSError: a picture cannot be opened.
        MediaError: a video cannot be opened.
    """
    if not paths:
        return Looks(
            np.zeros((0, _HASH_PX, _HASH_PX), np.uint8),
            np.zeros((0, _SMALL_PX, _SMALL_PX, 4), np.uint8),
        )
    read = for_all(_read, paths)
    return Looks(np.stack([one for one, _ in read]), np.stack([one for _, one in read]))


def same_pictures(asked: Looks, known: Looks) -> Iterator[tuple[int, int, float]]:
    """Pictures of `asked` (Q) that are among `known` (N).

    Yields:
        For each of them its number, the number of the most like it, and how far they are apart:
        the mean difference of the small copies by the contrast within the one.
    """
    if not len(known.grey):
        return
    ours, theirs = _hashes(asked.grey), _hashes(known.grey)
    for first in range(0, len(ours), _BLOCK):
        bits = np.bitwise_count(ours[first : first + _BLOCK, None] ^ theirs)  # [block, N]
        yield from _nearest(asked, known, first, bits)


def _nearest(
    asked: Looks, known: Looks, first: int, bits: NDArray[Any]
) -> Iterator[tuple[int, int, float]]:
    for row in np.flatnonzero((bits <= _FURTHEST_BITS).any(axis=1)):
        near = np.flatnonzero(bits[row] <= _FURTHEST_BITS)
        one = asked.small[first + row].astype(np.float32)
        contrast = max(1.0, float(np.abs(one - one.mean(axis=(0, 1))).mean()))
        distances = np.abs(known.small[near] - one).mean(axis=(1, 2, 3)) / contrast
        best = int(distances.argmin())
        if distances[best] <= _FURTHEST:
            yield first + int(row), int(near[best]), float(distances[best])


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Grey [32, 32] and RGBA [S, S, 4], both on white."""
    picture = _strip(path) if path.suffix == ".mp4" else _opened(path)
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    grey = white.convert("L").resize((_HASH_PX, _HASH_PX), Image.Resampling.BOX)
    small = np.asarray(white.resize((_SMALL_PX, _SMALL_PX), Image.Resampling.BOX)).copy()
    shape = picture.getchannel("A").resize((_SMALL_PX, _SMALL_PX), Image.Resampling.BOX)
    small[..., 3] = np.asarray(shape)
    return np.asarray(grey), small


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as file:
        return file.convert("RGBA")


def _strip(path: Path) -> Image.Image:
    """Frames of a video side by side."""
    frames = load_video(str(path), frames=_CLIP_FRAMES, with_audio=False).frames
    return Image.fromarray(np.concatenate(list(frames), axis=1)).convert("RGBA")


def _hashes(grey: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """[N, 32, 32] -> [N]: which of the lowest frequencies are above their median."""
    wave = np.cos(np.pi / _HASH_PX * np.outer(np.arange(_LOW), np.arange(_HASH_PX) + 0.5))
    low = np.einsum("uh,nhw,vw->nuv", wave, grey.astype(np.float32), wave, optimize=True)
    flat = low.reshape(len(grey), -1)
    signs = flat > np.median(flat[:, 1:], axis=1, keepdims=True)
    return np.packbits(signs, axis=1).view(np.uint64)[:, 0]
