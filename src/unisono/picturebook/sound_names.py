"""What can be heard in the picturebook: the committed list splits/sounds.toml, as objects."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from unisono.picturebook.sound_recordings import Package
from unisono.picturebook.step import draws

Kind = Literal["animal", "instrument", "signal"]

LIST = Path(__file__).parent / "splits" / "sounds.toml"
TESTED: Mapping[Kind, int] = {"animal": 14, "instrument": 15, "signal": 11}
"""How many names of each kind are tested: 40 together."""

_TABLES: tuple[tuple[str, Kind], ...] = (
    ("instruments", "instrument"),
    ("percussion", "instrument"),
    ("animals", "animal"),
    ("signals", "signal"),
)


@dataclass(frozen=True)
class SoundName:
    """Something that can be heard.

    Attributes:
        name: "trumpet".
        kind: people count as signals.
        phrase: the name with its article: "a trumpet"; "drums".
        doing: what it does when it is heard, "barking"; "" when that is not to be said.
        programs: General MIDI programs that sound like it, counted from 0.
        keys: of the drum kit, instead of programs.
        register: lowest and highest pitch that train.
        high: lowest and highest pitch only tests have; None for drums and noises.
        train: recordings that train.
        test: recordings that only tests have.
    """

    name: str
    kind: Kind
    phrase: str
    doing: str = ""
    programs: tuple[int, ...] = ()
    keys: tuple[int, ...] = ()
    register: tuple[int, int] = (55, 72)
    high: tuple[int, int] | None = None
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()

    @property
    def testable(self) -> bool:
        """Whether there are recordings of it, or a soundfont's noise, that never train."""
        return bool(self.test) or (self.kind != "instrument" and bool(self.programs))


def sound_names() -> list[SoundName]:
    """All names, in the order of the list."""
    listed = _listed()
    return [
        _sound_name(name, kind, entry)
        for table, kind in _TABLES
        for name, entry in listed[table].items()
    ]


def sound_packages() -> dict[str, Package]:
    """Where recordings are, by the short names the list calls packages."""
    return {name: Package(**entry) for name, entry in _listed()["packages"].items()}


def names_tested() -> frozenset[str]:
    """The 40 names of the test, as committed."""
    return frozenset(name for names in _listed()["test"].values() for name in names)


def choose_test_names(names: Iterable[SoundName]) -> dict[Kind, list[str]]:
    """Draw the names of the test among those that have something unseen; made the list once."""
    names = list(names)
    chosen: dict[Kind, list[str]] = {}
    for kind, count in TESTED.items():
        fit = sorted(one.name for one in names if one.kind == kind and one.testable)
        chosen[kind] = sorted(draws("sounds", "test names", kind).sample(fit, count))
    return chosen


@cache
def _listed() -> dict[str, Any]:
    return tomllib.loads(LIST.read_text(encoding="utf-8"))


def _sound_name(name: str, kind: Kind, entry: Mapping[str, Any]) -> SoundName:
    known = dict(entry)
    plain, program = known.pop("plain", False), known.pop("program", None)
    if program is not None:
        known["programs"] = [program]
    lists = {key: tuple(value) for key, value in known.items() if isinstance(value, list)}
    return SoundName(name=name, kind=kind, phrase=_phrase(name, plain), **(known | lists))


def _phrase(name: str, plain: bool) -> str:
    if plain:
        return name
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
