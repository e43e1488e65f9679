"""`unisono predict`: what a model with a head says of files, with pictures of it."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unisono.cli.embed import Entry, find_entries
from unisono.cli.options import DeviceOption, DtypeOption, torch_dtype
from unisono.errors import ConversationError, DataError

if TYPE_CHECKING:
    from unisono.runtime.predictor import Answer

_FAILED = 2


def predict(
    task: Annotated[str, typer.Argument(help="classify, ground, rank, segment or detect.")],
    files: Annotated[list[Path], typer.Argument(help="Pictures, sounds, videos, folders.")],
    model: Annotated[str, typer.Option("--model", "-m", help="A folder that training wrote.")],
    text: Annotated[
        str | None, typer.Option(help="A phrase or question, for models that read one.")
    ] = None,
    choice: Annotated[
        list[str] | None, typer.Option(help="An answer to rank; give it several times.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for pictures of what was found.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Labels shown per file.")] = 3,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Things less sure than this are left out.")
    ] = 0.5,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Items a batch.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object an item.")] = False,
) -> None:
    """Classes, boxes, maps or things in files, by a model that was trained for it.

    A model of two pictures takes the files two at a time. With --out, boxes and masks are drawn
    over the pictures, and the answers stand beside them in JSON.
    """
    from unisono.runtime.load_predictor import load_predictor

    entries = list(find_entries(files, ()))
    predictor = load_predictor(
        model, task=task, device=device, dtype=torch_dtype(dtype), threshold=threshold
    )
    groups = _groups(entries, predictor.inputs)
    items = [_item(group, predictor.inputs, text, choice) for group in groups]
    failed = 0
    for one in predictor.predict_each(items, batch_size=batch_size):
        name = " + ".join(entry.name for entry in groups[one.index])
        if one.answer is None:
            failed += 1
            print(f"unisono: {name}: {one.error}", file=sys.stderr)
            continue
        said = {"path": name, **one.answer.as_json(top=top)}
        print(json.dumps(said) if as_json else f"{name}: {_line(one.answer, top)}")
        if out is not None:
            _write(out, one.index, groups[one.index][0], one.answer, said)
    if failed:
        raise typer.Exit(_FAILED)


def _groups(entries: Sequence[Entry], inputs: Sequence[str]) -> list[list[Entry]]:
    """The files of each item."""
    if not entries:
        raise ConversationError("there is nothing to look at or hear in what was named")
    if "image_2" not in inputs:
        return [[entry] for entry in entries]
    if len(entries) % 2:
        raise ConversationError(f"the model takes pairs of pictures, but {len(entries)} are named")
    return [list(entries[place : place + 2]) for place in range(0, len(entries), 2)]


def _item(
    group: Sequence[Entry], inputs: Sequence[str], text: str | None, choice: list[str] | None
) -> dict[str, Any]:
    """An item; a video is also a sound for a model that only hears."""
    item: dict[str, Any] = {"text": text, "choices": choice}
    for place, entry in enumerate(group):
        kind = entry.kind
        if kind == "video" and "video" not in inputs and "audio" in inputs:
            kind = "audio"
        item[f"{kind}_2" if place else kind] = entry.item()[entry.kind]
    return {name: value for name, value in item.items() if value is not None}


def _line(answer: "Answer", top: int) -> str:
    if answer.box is not None:
        return "box " + " ".join(f"{one:.0f}" for one in answer.box)
    if answer.segmentation is not None:
        return _shares(answer.segmentation.shares(), top)
    if answer.labels:
        return _shares(answer.labels, top)
    things = (f"{thing.name} {thing.score:.0%}" for thing in answer.things)
    return ", ".join(things) or "nothing"


def _shares(shares: Any, top: int) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in list(shares.items())[:top])


def _write(folder: Path, index: int, entry: Entry, answer: "Answer", said: Any) -> None:
    """The answer, and of a picture what was found in it."""
    from unisono.media import load_image
    from unisono.runtime.overlays import overlay

    stem = f"{index:04d}-{Path(entry.name).stem}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stem}.json").write_text(json.dumps(said, indent=1) + "\n")
        if entry.kind == "image":
            overlay(load_image(entry.item()["image"]), answer).save(folder / f"{stem}.png")
    except OSError as error:
        raise DataError(f"'{folder}' cannot be written: {error.strerror}") from None
