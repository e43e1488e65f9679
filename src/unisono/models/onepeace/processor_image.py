"""Pictures squashed to a square, and boxes in them.

Knows the square, its normalisation and what becomes of a box; opening files is `media`'s affair.

Shapes: N boxes, one a picture; S side of the square in pixels; sizes are (width, height), as
Pillow has them; a box is x1, y1, x2, y2.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unisono.errors import ConversationError

Size = tuple[int, int]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
"""Of red, green and blue on the scale from 0 to 1, over CLIP's training pictures."""


def square_pixels(picture: Image.Image, side_px: int) -> Tensor:
    """A picture as the encoder sees it, aspect ratio given up, nothing cut off.

    Bicubic, antialiased when it becomes smaller.

    Returns:
        float32 [3, S, S], (value / 255 - mean) / std.
    """
    square = picture.convert("RGB").resize((side_px, side_px), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1).float().div_(255)
    mean, std = (torch.tensor(three)[:, None, None] for three in (CLIP_MEAN, CLIP_STD))
    return pixels.sub_(mean).div_(std).contiguous()


def resize_ratios(sizes: Sequence[Size], side_px: int) -> Tensor:
    """float32 [N, 2]: the factors by which width and height change."""
    return side_px / torch.tensor(sizes, dtype=torch.float32).view(-1, 2)


def box_fractions(boxes: Any, sizes: Sequence[Size], side_px: int) -> Tensor:
    """Boxes in the original pictures' pixels -> what a grounding model is trained to find.

    Args:
        boxes: [N, 4], as a tensor, array or lists.
        sizes: of the original pictures.
        side_px: S.

    Returns:
        float32 [N, 4], fractions of the picture; those of the square are the same.

    Raises:
        ConversationError: there is not one box of four finite numbers for every picture.
    """
    scaled = _checked(boxes, sizes) * resize_ratios(sizes, side_px).repeat(1, 2)
    return scaled / side_px


def boxes_in_pixels(fractions: Any, sizes: Sequence[Size]) -> Tensor:
    """Boxes a grounding model found -> float32 [N, 4] in the original pictures' pixels.

    Args:
        fractions: [N, 4], as the model gives them.
        sizes: of the original pictures.

    Raises:
        ConversationError: there is not one box of four finite numbers for every picture.
    """
    found = _checked(fractions, sizes)
    return found * torch.tensor(sizes, dtype=torch.float32).view(-1, 2).repeat(1, 2)


def _checked(boxes: Any, sizes: Sequence[Size]) -> Tensor:
    try:
        given = torch.as_tensor(boxes, dtype=torch.float32).detach().cpu()
    except (TypeError, ValueError) as error:
        raise ConversationError(f"boxes must be numbers x1, y1, x2, y2: {error}") from None
    if given.shape != (len(sizes), 4):
        raise ConversationError(
            f"boxes must be [{len(sizes)}, 4], x1, y1, x2, y2 for each image, "
            f"but are {list(given.shape)} instead"
        )
    if not bool(given.isfinite().all()):
        raise ConversationError("boxes must be finite numbers")
    return given
