"""Large images through a window; one image at several sizes, and mirrored.

Knows images and scores as tensors, and nothing of models. Shapes: B batch, C channels, K classes,
H, W sides in pixels.
"""

from collections.abc import Callable, Sequence

from torch import Tensor
from torch.nn import functional

from unisono.errors import ModelConfigError

Size = tuple[int, int]
Score = Callable[[Tensor], Tensor]
"""Pixels [B, C, h, w] of any size -> scores [B, K, h, w]."""

OFFICIAL_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)
"""Of the published multi-scale test; it also sees each size mirrored."""


def windows(size: Size, crop: Size, stride: Size) -> list[tuple[slice, slice]]:
    """Where the window stands: the last one of each row and column is shifted back inside.

    Raises:
        ModelConfigError: windows would leave gaps, or not move.
    """
    if not all(0 < s <= c for s, c in zip(stride, crop, strict=True)):
        raise ModelConfigError(
            f"a window of {crop} px must move by 1 px to its own size, but by {stride} px instead"
        )
    rows, columns = (_starts(*along) for along in zip(size, crop, stride, strict=True))
    return [
        (slice(y, min(y + crop[0], size[0])), slice(x, min(x + crop[1], size[1])))
        for y in rows
        for x in columns
    ]


def _starts(size: int, crop: int, stride: int) -> list[int]:
    steps = -(-max(size - crop, 0) // stride)
    return [max(min(i * stride, size - crop), 0) for i in range(steps + 1)]


def sliding_scores(score: Score, pixels: Tensor, *, crop: Size, stride: Size) -> Tensor:
    """Scores [B, K, H, W] of images [B, C, H, W] by windows; where they overlap, their mean.

    An image that fits into the window is looked at as a whole.

    Raises:
        ModelConfigError: windows would leave gaps, or not move.
    """
    total: Tensor | None = None
    times = pixels.new_zeros(pixels.shape[-2:])
    for rows, columns in windows((pixels.shape[-2], pixels.shape[-1]), crop, stride):
        found = score(pixels[..., rows, columns])
        if total is None:
            total = found.new_zeros(*found.shape[:2], *pixels.shape[-2:])
        total[..., rows, columns] += found
        times[rows, columns] += 1
    if total is None:  # there is always a window
        raise ModelConfigError("images must have pixels")
    return total / times


def mean_probabilities(score: Score, views: Sequence[tuple[Tensor, bool]], size: Size) -> Tensor:
    """Probabilities [B, K, H, W] over several views of the same images.

    Args:
        score: of one view.
        views: pixels, and whether they are mirrored.
        size: H and W; what is found in a view is resized to it.
    """
    total: Tensor | None = None
    for pixels, mirrored in views:
        found = probabilities(score(pixels), size)
        found = found.flip(-1) if mirrored else found
        total = found if total is None else total + found
    if total is None:
        raise ModelConfigError("an image must be looked at in at least one size")
    return total / len(views)


def probabilities(scores: Tensor, size: Size) -> Tensor:
    """Scores [B, K, h, w] -> probabilities [B, K, H, W] (resized first, as in the original)."""
    if tuple(scores.shape[-2:]) != size:
        scores = functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)
    return scores.softmax(dim=1)
