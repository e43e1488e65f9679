"""Scenes as rows of manifests, and their pictures as files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unisono.conversation import ImagePart, Message, TextPart
from unisono.manifests import ConversationRow, PairRow
from unisono.picturebook.cut_outs import Pasted
from unisono.picturebook.scene import Scene, box_of, place_of, run_lengths
from unisono.picturebook.scene_questions import Question
from unisono.picturebook.scene_templates import AT

JPEG_QUALITY = 92


@dataclass(frozen=True)
class Shown:
    """A scene, its picture, and what is asked about it.

    Attributes:
        scene: the plan.
        pasted: the pixels.
        path: of the picture's file.
        asked: the questions, in order.
    """

    scene: Scene
    pasted: Pasted
    path: Path
    asked: tuple[Question, ...]


def save(shown: Shown) -> None:
    """Write the picture; the same bytes every time."""
    shown.path.parent.mkdir(parents=True, exist_ok=True)
    shown.pasted.image.save(shown.path, "JPEG", quality=JPEG_QUALITY, subsampling=0)


def conversation_row(shown: Shown) -> ConversationRow:
    """All the questions about one picture as one conversation, the picture in its first turn."""
    turns = [{"kind": q.kind, "form": q.form, "template": q.template} for q in shown.asked]
    return _row(shown, fields_of(shown) | {"turns": turns})


def question_row(shown: Shown) -> ConversationRow:
    """The only question about a picture, with what is needed to score it."""
    question = shown.asked[0]
    asked = {
        "kind": question.kind,
        "form": question.form,
        "template": question.template,
        "answers": list(question.answers),
        "thing": question.thing,
    }
    return _row(shown, fields_of(shown) | asked)


def grounding_rows(shown: Shown) -> list[PairRow]:
    """Phrases that mean one thing of the scene, each with its box and mask."""
    return [
        PairRow(
            name=shown.path.stem,
            text=phrase,
            image=shown.path,
            fields={
                "box": box_of(shown.pasted.masks[thing]).xywh,
                "mask": run_lengths(shown.pasted.masks[thing]),
                "name": shown.scene.things[thing].name,
            },
        )
        for phrase, thing in phrases(shown.scene)
    ]


def phrases(scene: Scene) -> list[tuple[str, int]]:
    """What means exactly one thing, "the dog on the left", and that thing's number."""
    places = [place_of(thing.box) for thing in scene.things]
    names = [thing.name for thing in scene.things]
    found = []
    for index, (name, place) in enumerate(zip(names, places, strict=True)):
        if scene.single(name):
            found.append((f"the {name}", index))
        same = [place_ for other, place_ in zip(names, places, strict=True) if other == name]
        if place is not None and None not in same and same.count(place) == 1:
            found.append((f"the {name} {AT[place]}", index))
    return found


def fields_of(shown: Shown) -> dict[str, Any]:
    """What is known of a scene, thing by thing; boxes are [left, top, width, height] in px."""
    things, masks = shown.scene.things, shown.pasted.masks
    return {
        "names": [thing.name for thing in things],
        "drawings": [thing.drawing.name for thing in things],
        "colours": [thing.colour for thing in things],
        "painted": [thing.painted for thing in things],
        "boxes": [box_of(mask).xywh for mask in masks],
        "masks": [run_lengths(mask) for mask in masks],
        "layout": shown.scene.layout,
    }


def _row(shown: Shown, fields: dict[str, Any]) -> ConversationRow:
    messages = tuple(m for i, q in enumerate(shown.asked) for m in _turn(q, shown.path, i == 0))
    return ConversationRow(name=shown.path.stem, messages=messages, fields=fields)


def _turn(question: Question, path: Path, first: bool) -> Sequence[Message]:
    text = TextPart(text=question.text)
    content = (ImagePart(image=path), text) if first else (text,)
    answer = Message(role="assistant", content=question.answers[0])
    return Message(role="user", content=content), answer
