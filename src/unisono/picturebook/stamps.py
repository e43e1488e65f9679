"""Tux Paint's stamps: drawings and photographs with captions in many languages."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from unisono.picturebook.found import LANGUAGES, Found, plain, slug
from unisono.picturebook.packages import members

PACKAGE = "tuxpaint-stamps-default"
FOLDER = "usr/share/tuxpaint/stamps/"
_PICTURES = (".png", ".svg")


def stamps() -> Iterator[Found]:
    """Every stamp that has a caption; where there is an SVG and a PNG, the PNG.

    Raises:
        HubError: the package cannot be had.
    """
    found: dict[str, bytes] = {}
    for path, data in members(PACKAGE, _is_wanted):
        found[path.removeprefix(FOLDER)] = data
    for path in sorted(found):
        stem, dot, ending = path.rpartition(".")
        is_second = dot + ending == ".svg" and stem + ".png" in found
        if dot + ending in _PICTURES and not is_second and stem + ".txt" in found:
            captions = _captions(found[stem + ".txt"])
            if captions.get("en"):
                yield _found(stem, found[path], captions, is_photograph=ending == "png")


def _is_wanted(path: str) -> bool:
    stem = PurePosixPath(path).stem
    return (
        path.startswith(FOLDER)
        and path.endswith((*_PICTURES, ".txt"))
        and not stem.endswith(("_mirror", "_flip", "_mirror_flip", "_desc"))
    )


def _captions(text: bytes) -> dict[str, str]:
    """The first line is English; the others are "fr.utf8=Un chien."."""
    first, *others = text.decode("utf-8", "replace").splitlines() or [""]
    said = {"en": first.strip()}
    for line in others:
        language, _, caption = line.partition(".utf8=")
        if language in LANGUAGES and caption.strip():
            said[language] = caption.strip()
    return said


def _found(stem: str, picture: bytes, captions: dict[str, str], *, is_photograph: bool) -> Found:
    return Found(
        name=f"tuxpaint-{slug(stem)}",
        concept=plain(captions.pop("en")),
        hand="tuxpaint",
        group=stem.partition("/")[0],
        picture=picture,
        captions={language: plain_caption(said) for language, said in captions.items()},
        photograph=is_photograph,
    )


def plain_caption(text: str) -> str:
    """A caption of any language: without full stop, on one line."""
    return " ".join(text.split()).rstrip(".").strip()
