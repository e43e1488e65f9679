"""`unisono search`, `unisono similar`: find files in a library."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unisono.cli.options import LibraryOption
from unisono.errors import ConversationError, DataError

if TYPE_CHECKING:
    from unisono.retrieval import Filter, Hit

_Files = list[Path] | None
_DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9}

LimitOption = Annotated[int, typer.Option("--limit", "-n", min=1, help="At most so many hits.")]
ModalityOption = Annotated[
    list[str] | None, typer.Option(help="text, image, audio, video or page; may be given again.")
]
UnderOption = Annotated[
    str | None, typer.Option(help="Pattern of paths: a folder, '*.png', 'holiday/**/*.mp4'.")
]
AfterOption = Annotated[
    datetime | None, typer.Option(formats=_DATES, help="Modified then or later.")
]
BeforeOption = Annotated[datetime | None, typer.Option(formats=_DATES, help="Modified earlier.")]
LargerOption = Annotated[str | None, typer.Option(help="Than so many bytes; 10k, 2M, 1G.")]
SmallerOption = Annotated[str | None, typer.Option(help="Than so many bytes.")]
JsonOption = Annotated[bool, typer.Option("--json", help="A JSON list, for other programs.")]
SheetOption = Annotated[
    Path | None, typer.Option("--sheet", metavar="FILE", help="Also draw the hits into a PNG.")
]


def search(
    library: LibraryOption,
    text: Annotated[str | None, typer.Argument(help="Words to look for.")] = None,
    image: Annotated[_Files, typer.Option(help="A picture to look for.")] = None,
    audio: Annotated[_Files, typer.Option(help="A sound to look for.")] = None,
    video: Annotated[_Files, typer.Option(help="A video to look for.")] = None,
    minus_text: Annotated[list[str] | None, typer.Option(help="Words to keep away from.")] = None,
    minus_image: Annotated[_Files, typer.Option(help="A picture to keep away from.")] = None,
    minus_audio: Annotated[_Files, typer.Option(help="A sound to keep away from.")] = None,
    minus_video: Annotated[_Files, typer.Option(help="A video to keep away from.")] = None,
    weight: Annotated[
        list[str] | None, typer.Option(help="Of a part of the sum: audio=0.5, minus_text=2.")
    ] = None,
    limit: LimitOption = 10,
    modality: ModalityOption = None,
    under: UnderOption = None,
    after: AfterOption = None,
    before: BeforeOption = None,
    larger_than: LargerOption = None,
    smaller_than: SmallerOption = None,
    as_json: JsonOption = False,
    sheet: SheetOption = None,
) -> None:
    """Find files by words, pictures, sounds, videos, or any sum of them."""
    from unisono.retrieval import Query

    added = {"text": text, "image": image, "audio": audio, "video": video}
    taken = {
        "minus_text": minus_text,
        "minus_image": minus_image,
        "minus_audio": minus_audio,
        "minus_video": minus_video,
    }
    sources = {name: _plain(given) for name, given in (added | taken).items() if given}
    if not sources:
        raise ConversationError("there is nothing to look for: give words, --image, --audio, …")
    query = Query.of(weights=_weights(weight or ()), **sources)
    where = _filter(modality, under, (after, before), (larger_than, smaller_than))
    _show(_open(library).search(query, limit=limit, where=where), as_json=as_json, sheet=sheet)


def similar(
    library: LibraryOption,
    file: Annotated[Path | None, typer.Argument(help="In the library or not.")] = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Instead: groups of files nearly the same.")
    ] = False,
    threshold: Annotated[float, typer.Option(help="Of duplicates: cosine similarity.")] = 0.98,
    limit: LimitOption = 10,
    modality: ModalityOption = None,
    under: UnderOption = None,
    as_json: JsonOption = False,
    sheet: SheetOption = None,
) -> None:
    """Find files that are like a file, or that are there more than once."""
    if (file is None) != duplicates:
        raise ConversationError("name a file, or ask for --duplicates")
    opened = _open(library)
    if file is not None:
        where = _filter(modality, under, (None, None), (None, None))
        _show(opened.similar(file, limit=limit, where=where), as_json=as_json, sheet=sheet)
        return
    groups = opened.duplicates(threshold)
    if as_json:
        print(json.dumps([[hit.as_json() for hit in group] for group in groups], indent=1))
        return
    for group in groups:
        print(f"{group[0].score:.3f}")
        for hit in group:
            print(f"       {_printable(hit.path)}  {hit.place}".rstrip())
    if sheet is not None and groups:
        _draw([hit for group in groups for hit in group], sheet)


def _open(library: str) -> Any:
    from unisono.retrieval import Library

    if "://" not in library and not Path(library).is_dir():
        raise DataError(f"there is no library '{library}': make it with `unisono index`")
    return Library(library)


def _plain(given: Any) -> Any:
    return [str(one) for one in given] if isinstance(given, list) else given


def _weights(given: Sequence[str]) -> Mapping[str, float]:
    weights = {}
    for one in given:
        name, _, value = one.partition("=")
        try:
            weights[name.replace("-", "_")] = float(value)
        except ValueError:
            raise ConversationError(f"a weight must be as audio=0.5, but is {one!r}") from None
    return weights


def _filter(
    modality: Sequence[str] | None,
    under: str | None,
    times: tuple[datetime | None, datetime | None],
    sizes: tuple[str | None, str | None],
) -> "Filter":
    from unisono.retrieval import Filter

    return Filter(
        modalities=tuple(modality or ()),
        path_glob=under,
        after=times[0],
        before=times[1],
        larger_than=_bytes(sizes[0]),
        smaller_than=_bytes(sizes[1]),
    )


def _bytes(given: str | None) -> int | None:
    """ "10k" -> 10,000."""
    if given is None:
        return None
    number, unit = given.lower().removesuffix("b"), 1
    if number and number[-1] in _UNITS:
        unit, number = _UNITS[number[-1]], number[:-1]
    try:
        return round(float(number) * unit)
    except (ValueError, OverflowError):
        raise DataError(f"a size must be as 500, 10k or 2M, but is {given!r}") from None


def _show(hits: "Sequence[Hit]", *, as_json: bool, sheet: Path | None) -> None:
    if as_json:
        print(json.dumps([hit.as_json() for hit in hits], indent=1))
    for hit in () if as_json else hits:
        said = f"  {_printable(hit.text)[:60]}" if hit.text else ""
        print(f"{hit.score:6.3f}  {_printable(hit.path)}  {hit.place}{said}".rstrip())
    if sheet is not None:
        _draw(hits, sheet)


def _draw(hits: "Sequence[Hit]", sheet: Path) -> None:
    from unisono.retrieval.contact_sheet import write_contact_sheet

    write_contact_sheet(hits, sheet)


def _printable(text: str) -> str:
    """On one line: names of files can have anything in them."""
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in text)
