"""Connector pre-alignment for pictures: each cell of one says the words of what lies on it.

A vision connector makes one embedding of each cell (`vision_pool` x `vision_pool` patches). Where
it is known what lies where, each cell can be told its words: the cross-entropy of
`TokenAlignment`'s logits with the tokens of the things on it, "red" and "dog", by how much of the
cell they cover. Pictures are to a vision connector what utterances are to `connector_ctc`. The idea
is ours.

Shapes: C cells of all pictures of a batch, K tokens that occur, D width of the language model.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from unisono.conversation import ImagePart
from unisono.errors import BadRowError, RecipeError
from unisono.manifests.row import PairRow, Row
from unisono.media import ImageSource, load_image
from unisono.models.ola.model import OlaForConditionalGeneration
from unisono.models.ola.processor import OlaProcessor
from unisono.models.ola.prompt import ImageSpan
from unisono.training import goals
from unisono.training.batch import Computed
from unisono.training.objectives.alignment import BLANK, TokenAlignment

LEAST_COVER = 0.2
"""A cell of which things cover less than this says nothing."""


@dataclass(frozen=True)
class Labelled:
    """A picture and what its cells show.

    Attributes:
        span: the picture.
        cells: [n] of the picture's cells, raster order; each may come several times.
        classes: [n], what such a cell says.
        shares: [n], how much of what the cell says that is; they sum to 1 for each cell.
    """

    span: ImageSpan
    cells: tuple[int, ...]
    classes: tuple[int, ...]
    shares: tuple[float, ...]


class CellAlignment(TokenAlignment):
    """`TokenAlignment` of a vision connector."""

    needs = "vision_connector"

    def forward(
        self,
        *,
        pixel_patches: Tensor,
        patch_grids: Tensor,
        cells: Tensor,
        classes: Tensor,
        shares: Tensor,
    ) -> Tensor:
        """The cross-entropy, averaged over a picture's cells and summed over pictures (float32).

        Args:
            pixel_patches, patch_grids: see `OlaEncoders.each`; one grid for all pictures.
            cells: [n] among the cells of all pictures.
            classes: [n].
            shares: [n].
        """
        said = self.model.encoders.see_cells(pixel_patches, patch_grids)
        log_probs = self.logits(said).log_softmax(dim=-1)
        a_picture = len(log_probs) // len(patch_grids)
        return -(shares * log_probs[cells, classes]).sum() / a_picture

    def said(self, cells: Tensor) -> tuple[int | None, ...]:
        """The token id that each cell [C, D] says most; None for nothing."""
        best = self.logits(cells).argmax(-1).tolist()
        return tuple(None if kind == BLANK else int(self.tokens[kind - 1]) for kind in best)


class ConnectorCells:
    """Objective of pictures of which it is known what lies where.

    A row has one picture and the fields `names`, and `boxes` ([x, y, width, height] in pixels) or
    `masks` (COCO's uncompressed run lengths), and perhaps `colours` (None for unknown ones).

    Attributes:
        packs: never; there is no text to pack.
    """

    packs = False

    def __init__(
        self,
        processor: OlaProcessor,
        settings: goals.ConnectorCells,
        tokens: Sequence[int],
    ) -> None:
        """Learn as a recipe says.

        Args:
            processor: the model's.
            settings: of the stage.
            tokens: ids that may be said; see `occurring_words`.

        Raises:
            RecipeError: there are no tokens, or a picture has cells of several sizes.
        """
        if not tokens:
            raise RecipeError("connector_cells needs rows with names and boxes, but there are none")
        self.processor = processor
        self.settings = settings
        self.tokens = tuple(tokens)
        self._classes = {token: index + 1 for index, token in enumerate(self.tokens)}

    def wrap(self, model: OlaForConditionalGeneration) -> CellAlignment:
        """What `loss` takes: the model with the stage's own parameters, all to be trained."""
        return CellAlignment(model, self.tokens, self.settings.scale)

    def prepare(self, row: Row) -> Labelled:
        """Open a picture.

        Raises:
            BadRowError: the row does not say what lies where, or has not one picture.
            MediaError, UnsupportedModalityError: see `OlaProcessor.prompt`.
        """
        image = load_image(_picture(row))
        (span,) = self.processor.opener().open(ImagePart(image=image)).spans
        if not isinstance(span, ImageSpan) or len(span.pictures) != 1:
            raise BadRowError(f"{row.name}: the model must see a picture in one resolution")
        grid = self._grid(span)
        covers = [cover(shape, image.size, grid) for shape in _shapes(row)]
        words = [self._ids(words) for words in spoken(row)]
        return Labelled(span, *_shares(covers, words, grid[0] * grid[1]))

    def length(self, example: Labelled) -> int:
        """The tokens the language model would read of it."""
        return example.span.length

    def kind(self, example: Labelled) -> str:
        """Always "image"."""
        return "image"

    def collate(self, examples: Sequence[Labelled]) -> tuple[Mapping[str, Any], float]:
        """What `CellAlignment.forward` takes; the weight is the pictures."""
        media = self.processor.media_tensors([one.span for one in examples])
        rows, columns = self._grid(examples[0].span)
        cells = [
            number * rows * columns + cell
            for number, one in enumerate(examples)
            for cell in one.cells
        ]
        inputs = {
            "pixel_patches": media["pixel_patches"],
            "patch_grids": media["patch_grids"],
            "cells": torch.tensor(cells),
            "classes": torch.tensor([kind for one in examples for kind in one.classes]),
            "shares": torch.tensor([share for one in examples for share in one.shares]),
        }
        return inputs, float(len(examples))

    def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        """Summed over the pictures; `model` is what `wrap` made, or a wrapper around it."""
        return Computed(model(**inputs))

    def _grid(self, span: ImageSpan) -> tuple[int, int]:
        """Rows and columns of cells."""
        config = self.processor.config
        cell = config.vision_config.patch_size * config.vision_pool
        height, width = span.pictures[0].shape[:2]
        return height // cell, width // cell

    def _ids(self, words: str) -> tuple[int, ...]:
        ids = _token_ids(self.processor, words)
        if unknown := [token for token in ids if token not in self._classes]:
            raise BadRowError(f"{words!r} has tokens that were not announced: {unknown}")
        return tuple(self._classes[token] for token in ids)


def occurring_words(rows: Iterable[Row], processor: OlaProcessor) -> tuple[int, ...]:
    """The ids of all tokens in what lies on pictures, ascending; no medium is opened."""
    said = {words for row in rows if row.fields.get("names") for words in spoken(row)}
    return tuple(sorted({token for words in said for token in _token_ids(processor, words)}))


def spoken(row: Row) -> list[str]:
    """What is said of each thing: its colour, if that is known, and its name.

    Raises:
        BadRowError: there is no such field, or the lengths differ.
    """
    names = _field(row, "names")
    colours = row.fields.get("colours") or [None] * len(names)
    if len(colours) != len(names):
        raise BadRowError(f"{row.name}: there are {len(names)} names, but {len(colours)} colours")
    pairs = zip(colours, names, strict=True)
    return [f"{colour} {name}" if colour else str(name) for colour, name in pairs]


def cover(shape: Any, size: tuple[int, int], grid: tuple[int, int]) -> np.ndarray:
    """How much of each cell a thing covers.

    Args:
        shape: a box [x, y, width, height], or a mask {"size": [height, width], "counts": [...]}.
        size: width and height of the picture.
        grid: rows and columns of cells.

    Returns:
        float [cells] in [0, 1].
    """
    width, height = size
    if isinstance(shape, Mapping):
        rows, columns = shape["size"]
        flat = np.repeat(np.arange(len(shape["counts"])) % 2, shape["counts"])
        mask = flat.reshape(columns, rows).T  # COCO counts down the columns
    else:
        x, y, w, h = (round(side) for side in shape)
        mask = np.zeros((height, width), np.uint8)
        mask[max(0, y) : y + h, max(0, x) : x + w] = 1
    image = Image.fromarray(mask.astype(np.float32))
    return np.asarray(image.resize((grid[1], grid[0]), Image.Resampling.BOX)).reshape(-1)


def _token_ids(processor: OlaProcessor, words: str) -> tuple[int, ...]:
    """As in the middle of a sentence: behind a space."""
    return tuple(processor.tokenizer.encode(f" {words}", add_special_tokens=False))


def _picture(row: Row) -> ImageSource:
    if isinstance(row, PairRow):
        pictures = [] if row.image is None else [row.image]
    else:
        parts = [part for message in row.messages for part in message.parts]
        pictures = [part.image for part in parts if isinstance(part, ImagePart)]
    if len(pictures) != 1:
        raise BadRowError(f"{row.name}: there must be one picture, but there are {len(pictures)}")
    return cast(ImageSource, pictures[0])


def _shapes(row: Row) -> Sequence[Any]:
    shapes = _field(row, "masks" if row.fields.get("masks") else "boxes")
    if len(shapes) != len(_field(row, "names")):
        raise BadRowError(f"{row.name}: there are not as many masks or boxes as names")
    return shapes


def _field(row: Row, name: str) -> Sequence[Any]:
    found = row.fields.get(name)
    if not isinstance(found, list | tuple):
        raise BadRowError(f"{row.name}: the field {name} must be a list, but is {found!r} instead")
    return found


def _shares(
    covers: Sequence[np.ndarray], words: Sequence[Sequence[int]], cells: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[float, ...]]:
    """Cell, class and share of everything that is said."""
    said = list(_each_share(covers, words, cells))
    return (
        tuple(cell for cell, _, _ in said),
        tuple(kind for _, kind, _ in said),
        tuple(share for _, _, share in said),
    )


def _each_share(
    covers: Sequence[np.ndarray], words: Sequence[Sequence[int]], cells: int
) -> Iterator[tuple[int, int, float]]:
    for cell in range(cells):
        here = [float(each[cell]) for each in covers]
        if sum(here) < LEAST_COVER:
            yield cell, BLANK, 1.0
            continue
        for covered, ids in zip(here, words, strict=True):
            for kind in ids if covered > 0 else ():
                yield cell, kind, covered / sum(here) / len(ids)
