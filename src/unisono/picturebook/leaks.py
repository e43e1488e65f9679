"""What of a test is in training: `python -m unisono.picturebook.leaks DATA`.

Looked for are: the same bytes; pictures that look the same, cut-outs whatever they stand on, as
they are and in a mirror; recordings that sound the same; sentences of tests; held-out concepts in
anything written for training; and hands, drawings, voices, typefaces and words of questions that
are for tests alone.
"""

import argparse
import hashlib
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unisono.errors import UnisonoError
from unisono.picturebook.drawing import Drawing, read_drawings
from unisono.picturebook.leak_pictures import looks, same_pictures
from unisono.picturebook.leak_rows import MEDIA, Medium, Said, paths_of, read_rows
from unisono.picturebook.leak_sounds import same_sounds
from unisono.picturebook.splits import Words, unseen_concepts, words_of

Kind = Literal["same bytes", "drawing", "picture", "sound", "sentence", "concept", "value"]

_LEAST_WORDS = 4
_ENGLISH = frozenset({"en"})
_VERB = re.compile(r"\bdoes\b", re.IGNORECASE)
"""Not two of the held-out "doe"."""
_PHRASE_END = re.compile(r"[,;:.!?\n]")
_SHOWN = 20
_MEDIA_KINDS: tuple[tuple[Medium, Kind], ...] = (("image", "picture"), ("video", "picture"))
_OF_STEP = ("template",)
"""Fields whose values tests have for themselves within their step."""
_OF_ALL = ("voice",)
"""Fields whose values tests have for themselves in all steps."""
_OF_SPLIT = (("hand", "unseen_drawing"), ("font", "unseen_fonts"))
"""Fields whose values the tests so called have for themselves."""
_DRAWING_FIELDS = ("drawing", "drawings")


@dataclass(frozen=True)
class Leak:
    """Something of a test that training has.

    Attributes:
        kind: what was found.
        test: where the test has it: a row, a file, a drawing's name or a concept.
        train: where training has it.
        what: the words, the value, or how far apart the two are.
    """

    kind: Kind
    test: str
    train: str
    what: str


def find_leaks(data: Path) -> list[Leak]:
    """Everything of test splits that is in training, or nearly.

    Args:
        data: the folder of all steps.

    Raises:
        DataError: there are no manifests, or one cannot be read.
        MediaError: a picture or video cannot be opened.
    """
    rows = read_rows(data)
    train, test = _split(rows)
    leaks = [*_same_bytes(train, test), *_sentences(train, test)]
    leaks += [*_concepts(train), *_values(train, test), *_pictures(train, test)]
    leaks += _sounds(train, test)
    if (data / "drawings").is_dir():
        drawings = read_drawings(data)
        leaks += [*_drawings(drawings), *_trained_drawings(train, drawings)]
    return leaks


def _split(rows: Iterable[Said]) -> tuple[list[Said], list[Said]]:
    train: list[Said] = []
    test: list[Said] = []
    for row in rows:
        (test if row.test else train).append(row)
    return train, test


def _same_bytes(train: Sequence[Said], test: Sequence[Said]) -> Iterator[Leak]:
    """By size first: few files need to be read."""
    known, asked = _files(train), _files(test)
    sizes = {path.stat().st_size for path in asked}
    by_hash: dict[str, Path] = {}
    for path in known:
        if path.stat().st_size in sizes:
            by_hash.setdefault(_sha256(path), path)
    for path, where in asked.items():
        other = by_hash.get(_sha256(path)) if by_hash else None
        if other is not None:
            yield Leak(
                "same bytes", f"{where} {path.name}", f"{known[other]} {other.name}", "sha256"
            )


def _files(rows: Sequence[Said]) -> dict[Path, str]:
    return {path: where for kind in MEDIA for path, where in paths_of(rows, kind).items()}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _pictures(train: Sequence[Said], test: Sequence[Said]) -> Iterator[Leak]:
    """Pictures as they are shown, and frames of videos.

    Those of one drawing each are left to `_drawings`, which sees through what they stand on.
    """
    for medium, kind in _MEDIA_KINDS:
        asked, known = (paths_of(filter(_is_composed, rows), medium) for rows in (test, train))
        ours, theirs = list(asked), list(known)
        for one, other, apart in same_pictures(looks(ours), looks(theirs)):
            test_at = f"{asked[ours[one]]} {ours[one].name}"
            train_at = f"{known[theirs[other]]} {theirs[other].name}"
            yield Leak(kind, test_at, train_at, f"differs by {apart:.0%}")


def _is_composed(row: Said) -> bool:
    return _DRAWING_FIELDS[0] not in row.values


def _drawings(drawings: Sequence[Drawing]) -> Iterator[Leak]:
    """Cut-outs, whatever they stand on, as they are and in a mirror."""
    asked = [one for one in drawings if one.split != "train"]
    known = [one for one in drawings if one.split == "train"]
    theirs = looks([one.path for one in known])
    ours = looks([one.path for one in asked])
    for view, said in ((ours, ""), (ours.mirrored(), ", in a mirror")):
        for one, other, apart in same_pictures(view, theirs):
            test_at = f"{asked[one].name} ({asked[one].split})"
            yield Leak("drawing", test_at, known[other].name, f"differs by {apart:.0%}{said}")


def _sounds(train: Sequence[Said], test: Sequence[Said]) -> Iterator[Leak]:
    """Recordings, and videos' sound."""
    asked = paths_of(test, "audio") | paths_of(test, "video")
    known = paths_of(train, "audio") | paths_of(train, "video")
    ours, theirs = list(asked), list(known)
    for one, other, apart in same_sounds(ours, theirs):
        test_at = f"{asked[ours[one]]} {ours[one].name}"
        train_at = f"{known[theirs[other]]} {theirs[other].name}"
        yield Leak("sound", test_at, train_at, f"differs by {apart:.0%}")


def _sentences(train: Sequence[Said], test: Sequence[Said]) -> Iterator[Leak]:
    """Speech and questions of a test that the training of the same step has, word for word."""
    known: dict[tuple[str, Words], str] = {}
    for row in train:
        for text in row.sentences:
            known.setdefault((row.step, words_of(text)), row.where)
    for row in test:
        for text in row.sentences:
            words = words_of(text)
            if len(words) >= _LEAST_WORDS and (row.step, words) in known:
                yield Leak("sentence", row.where, known[row.step, words], text)


def _concepts(train: Sequence[Said]) -> Iterator[Leak]:
    """Held-out concepts that any English phrase written for training names.

    A comma ends a phrase; in other languages the same letters may be another word.
    """
    listed = {words_of(name): name for names in unseen_concepts().values() for name in names}
    starts: dict[str, list[Words]] = defaultdict(list)
    for words in listed:
        starts[words[0]].append(words)
    seen: set[str] = set()
    for row in train:
        if row.values.get("language", _ENGLISH) == _ENGLISH:
            for text in _unseen_texts(row.texts, seen):
                for phrase in _PHRASE_END.split(text):
                    words = words_of(_VERB.sub("", phrase))
                    for found in _named(words, starts):
                        yield Leak("concept", listed[found], row.where, text)


def _unseen_texts(texts: Iterable[str], seen: set[str]) -> Iterator[str]:
    """Texts that are not among `seen`, which they join."""
    for text in texts:
        if text not in seen:
            seen.add(text)
            yield text


def _named(words: Words, starts: dict[str, list[Words]]) -> Iterator[Words]:
    for at, word in enumerate(words):
        for wanted in starts.get(word, ()):
            if words[at : at + len(wanted)] == wanted:
                yield wanted


def _values(train: Sequence[Said], test: Sequence[Said]) -> Iterator[Leak]:
    """Values of fields that are for tests alone."""
    known = _places(train)
    told: set[tuple[str, str, str, str]] = set()
    for row in test:
        own = [name for name, split in _OF_SPLIT if split in row.manifest]
        for name in (*_OF_ALL, *_OF_STEP, *own):
            step = row.step if name in _OF_STEP else ""
            for value in row.values.get(name, ()):
                where = known.get((step, name, value))
                case = (row.step, row.manifest, name, value)
                if where is not None and case not in told:
                    told.add(case)
                    yield Leak("value", row.where, where, f"{name} '{value}'")


def _places(train: Sequence[Said]) -> dict[tuple[str, str, str], str]:
    """(step, or "" for any; field; value) -> where training has it."""
    known: dict[tuple[str, str, str], str] = {}
    for row in train:
        for name, values in row.values.items():
            for value in values:
                known.setdefault((row.step, name, value), row.where)
                known.setdefault(("", name, value), row.where)
    return known


def _trained_drawings(train: Sequence[Said], drawings: Sequence[Drawing]) -> Iterator[Leak]:
    """Drawings of test splits that training shows."""
    split_of = {one.name: one.split for one in drawings if one.split != "train"}
    for row in train:
        for field in _DRAWING_FIELDS:
            for name in row.values.get(field, ()):
                if name in split_of:
                    yield Leak("value", f"{name} ({split_of[name]})", row.where, "drawing")


def table(leaks: Sequence[Leak]) -> str:
    """Leaks as text: how many of each kind, and the first of them."""
    lines = []
    for kind in dict.fromkeys(leak.kind for leak in leaks):
        some = [leak for leak in leaks if leak.kind == kind]
        lines.append(f"{kind}: {len(some)}")
        lines += [f"  {one.test} <- {one.train}: {one.what}" for one in some[:_SHOWN]]
        if len(some) > _SHOWN:
            lines.append(f"  and {len(some) - _SHOWN} more")
    return "\n".join(lines) or "no leaks"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 1 if there is a leak, 2 if the data cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m unisono.picturebook.leaks")
    parser.description = "Show what of the picturebook's tests is in its training."
    parser.add_argument("data", type=Path, help="the folder of all steps")
    try:
        leaks = find_leaks(parser.parse_args(arguments).data)
    except UnisonoError as error:
        print(error, file=sys.stderr)
        return 2
    print(table(leaks))
    return 1 if leaks else 0


if __name__ == "__main__":
    sys.exit(main())
