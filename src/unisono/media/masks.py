"""Masks as COCO's JSON has them: run lengths or polygons <-> arrays.

Run lengths go down the columns, first those of the background. Polygons are filled by Pillow: along
their edges a pixel may differ from what COCO's own tool makes of them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from unisono.errors import MediaDecodeError

Mask = NDArray[np.bool_]
Size = tuple[int, int]


def decode_mask(value: Any, size: Size) -> Mask:
    """A mask from run lengths (a list, or COCO's packed text) or polygons.

    Args:
        value: {"size": [height, width], "counts": …}, or [[x, y, x, y, …], …].
        size: height, width of the image.

    Returns:
        bool [H, W].

    Raises:
        MediaDecodeError: it is neither, or of another size.
    """
    if isinstance(value, Mapping):
        return _from_runs(value, size)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return _from_polygons(value, size)
    raise MediaDecodeError(
        f"a mask must be run lengths or polygons, but is {type(value).__name__} instead"
    )


def encode_mask(mask: Mask) -> dict[str, Any]:
    """bool [H, W] -> {"size": [H, W], "counts": [...]}, plain numbers."""
    flat = np.asarray(mask, dtype=bool).T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = np.concatenate([[0], changes, [len(flat)]])
    counts = np.diff(edges).tolist()
    if len(flat) and flat[0]:
        counts = [0, *counts]
    return {"size": list(mask.shape), "counts": counts}


def _from_runs(value: Mapping[str, Any], size: Size) -> Mask:
    counts, own = value.get("counts"), value.get("size")
    if not isinstance(own, Sequence) or tuple(own) != tuple(size):
        raise MediaDecodeError(f"a mask must be of size {list(size)}, but is {own!r:.40} instead")
    runs = _unpacked(counts) if isinstance(counts, str | bytes) else counts
    try:
        lengths = np.asarray(runs, dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        raise MediaDecodeError("a mask's run lengths must be whole numbers") from None
    # Checked before anything is made of it.
    if lengths.ndim != 1 or (lengths < 0).any() or int(lengths.sum()) != size[0] * size[1]:
        raise MediaDecodeError(f"a mask's run lengths must add up to {size[0]} x {size[1]} pixels")
    values = np.arange(len(lengths)) % 2 == 1
    flat: Mask = np.repeat(values, lengths)
    return flat.reshape(size[1], size[0]).T


def _unpacked(packed: str | bytes) -> list[int]:
    """COCO's text: five bits a character, the lowest first; from the third run on differences."""
    data = packed.encode() if isinstance(packed, str) else packed
    runs: list[int] = []
    value = shift = 0
    for character in data:
        bits = character - 48
        if not 0 <= bits < 64:
            raise MediaDecodeError("a mask's packed run lengths have a foreign character")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise MediaDecodeError("a mask's packed run lengths end too early")
    return runs


def _from_polygons(value: Sequence[Any], size: Size) -> Mask:
    picture = Image.new("1", (size[1], size[0]))
    pen = ImageDraw.Draw(picture)
    for polygon in value:
        try:
            corners = np.asarray(polygon, dtype=np.float64)
        except (TypeError, ValueError):
            corners = np.empty(0)
        if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2:
            raise MediaDecodeError("a mask's polygon must be x, y of at least three corners")
        if not np.isfinite(corners).all():
            raise MediaDecodeError("a mask's polygon must be of finite numbers")
        # Corners are at the edges of pixels; Pillow's are at their centres.
        bounds = 2.0 * max(size)
        pen.polygon((np.clip(corners, -bounds, bounds) - 0.5).tolist(), fill=1)
    return np.array(picture, dtype=bool)
