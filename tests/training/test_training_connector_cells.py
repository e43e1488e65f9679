"""Cells of a picture say the words of what lies on them."""

from typing import Any

import composed
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from unisono.conversation import ImagePart, Message, TextPart
from unisono.errors import BadRowError, RecipeError
from unisono.manifests.row import ConversationRow, PairRow
from unisono.training import goals
from unisono.training.objectives.connector_cells import (
    BLANK,
    ConnectorCells,
    cover,
    occurring_words,
    spoken,
)
from unisono.training.parts import set_trainable

SIDE = 64  # 2 x 2 cells of 32 px
THINGS = {"red": "box", "blue": "egg"}


def scene(number: int) -> ConversationRow:
    """A red box in one corner and a blue egg in another."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw = ImageDraw.Draw(image)
    corners = [(number // 3) % 4, ((number // 3) % 4 + 1 + number % 3) % 4]
    boxes = []
    for (colour, name), corner in zip(THINGS.items(), corners, strict=True):
        x, y = 32 * (corner % 2) + 4, 32 * (corner // 2) + 4
        shape = draw.rectangle if name == "box" else draw.ellipse
        shape((x, y, x + 23, y + 23), fill=colour)
        boxes.append([x, y, 24, 24])
    fields = {"names": list(THINGS.values()), "colours": list(THINGS), "boxes": boxes}
    question = Message(role="user", content=(ImagePart(image=image), TextPart(text="What?")))
    return ConversationRow(f"scene:{number}", (question,), fields)


def setting(count: int = 12) -> tuple[Any, ConnectorCells, list[ConversationRow]]:
    model, processor = composed.ola()
    rows = [scene(number) for number in range(count)]
    work = ConnectorCells(processor, goals.ConnectorCells(), occurring_words(rows, processor))
    return model, work, rows


def changed(row: ConversationRow, **fields: Any) -> ConversationRow:
    return ConversationRow(row.name, row.messages, {**row.fields, **fields})


def test_cover_is_the_share_of_each_cell() -> None:
    assert cover([0, 0, 16, 32], (64, 64), (2, 2)) == pytest.approx([0.5, 0, 0, 0])
    assert cover([-8, 48, 80, 40], (64, 64), (2, 2)) == pytest.approx([0, 0, 0.5, 0.5])
    counts = [64 * 40, 32, 64 * 24 - 32]  # column 40, its upper half
    mask = {"size": [64, 64], "counts": counts}
    assert cover(mask, (64, 64), (2, 2)) == pytest.approx([0, 1 / 32, 0, 0])


def test_cells_say_what_lies_on_them() -> None:
    _, work, rows = setting()
    one = work.prepare(rows[0])  # the box above on the left, the egg above on the right
    said: dict[int, set[int]] = {}
    for cell, kind, share in zip(one.cells, one.classes, one.shares, strict=True):
        said.setdefault(cell, set()).add(kind)
        assert 0 < share <= 1
    words = [work.processor.tokenizer.encode(f" {text}") for text in ("red box", "blue egg")]
    assert [{work.tokens[kind - 1] for kind in said[cell]} for cell in (0, 1)] == [
        set(ids) for ids in words
    ]
    assert said[2] == said[3] == {BLANK}
    sums = np.bincount(one.cells, weights=one.shares)
    assert sums == pytest.approx(np.ones(4))


def test_loss_is_that_of_explicit_distances() -> None:
    model, work, rows = setting(3)
    model.requires_grad_(False)
    wrapped = work.wrap(model)
    examples = [work.prepare(row) for row in rows]
    inputs, weight = work.collate(examples)
    assert weight == 3
    expected = torch.zeros(())
    table = model.get_input_embeddings().weight[list(work.tokens)]
    for one in examples:
        media = work.processor.media_tensors([one.span])
        features = model.encoders.see(media["pixel_patches"], media["patch_grids"])
        cells = model.encoders.vision_connector.project(features, [(4, 4)])
        distances = (cells[:, None] - table).square().sum(-1)
        every = torch.cat([wrapped.blank(cells), -wrapped.log_scale.exp() * distances], dim=-1)
        log_probs = every.log_softmax(-1)
        for cell, kind, share in zip(one.cells, one.classes, one.shares, strict=True):
            expected = expected - share * log_probs[cell, kind] / 4
    torch.testing.assert_close(
        work.loss(wrapped, inputs, draw=0).loss, expected, rtol=1e-4, atol=1e-3
    )


def test_scenes_are_learned_and_unseen_ones_read() -> None:
    model, work, rows = setting()
    set_trainable(model, ("vision", "vision_connector"), stage="test")
    wrapped = work.wrap(model.train())
    set_trainable(wrapped, ("vision", "vision_connector", "alignment"), stage="test")
    inputs, _ = work.collate([work.prepare(row) for row in rows])
    optimizer = torch.optim.AdamW([p for p in wrapped.parameters() if p.requires_grad], lr=5e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = work.loss(wrapped, inputs, draw=0).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    blue = work.processor.tokenizer.encode(" ")[0]
    said = wrapped.said(
        wrapped.model.encoders.see_cells(inputs["pixel_patches"], inputs["patch_grids"])
    )
    assert len(said) == 4 * len(rows)
    assert sum(token is None for token in said) >= len(rows)  # half of all cells are empty
    assert blue in work.tokens


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"names": None}, "the field names must be a list"),
        ({"boxes": None}, "the field boxes must be a list"),
        ({"boxes": [[0, 0, 1, 1]]}, "not as many masks or boxes as names"),
        ({"colours": ["red"]}, "there are 2 names, but 1 colours"),
        ({"names": ["box", "zebra"]}, "tokens that were not announced"),
    ],
)
def test_rows_that_do_not_say_what_lies_where(fields: dict[str, Any], reason: str) -> None:
    _, work, rows = setting(1)
    with pytest.raises(BadRowError, match=reason):
        work.prepare(changed(rows[0], **fields))


def test_one_picture_is_needed() -> None:
    _, work, rows = setting(1)
    with pytest.raises(BadRowError, match="one picture, but there are 0"):
        work.prepare(PairRow("p", text="x", fields=rows[0].fields))


def test_unknown_colours_are_not_said() -> None:
    assert spoken(changed(scene(0), colours=["red", None])) == ["red box", "egg"]
    assert spoken(changed(scene(0), colours=None)) == ["box", "egg"]


def test_a_model_that_cannot_see_is_refused() -> None:
    model, processor = composed.ola(vision_config=None)
    with pytest.raises(RecipeError, match="with a vision connector"):
        ConnectorCells(processor, goals.ConnectorCells(), (1, 2)).wrap(model)
    with pytest.raises(RecipeError, match="names and boxes"):
        ConnectorCells(processor, goals.ConnectorCells(), ())
