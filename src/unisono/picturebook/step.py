"""How the picturebook is made: steps, each of which fills one folder.

A step is built in a folder beside its own, which takes its name when everything is in it: what
has a name is whole, and a build that was killed goes on with the next step. The same packages and
seed give the same bytes.
"""

import hashlib
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SEED = 2026
_STAMP = "step.json"


@dataclass(frozen=True)
class Step:
    """One folder of the data.

    Attributes:
        name: of the folder.
        version: raised whenever what the step makes changes; older folders are made anew.
        needs: steps whose folders it reads.
        build: fills an empty folder (first argument); the second is the folder of all steps.
    """

    name: str
    version: int
    needs: tuple[str, ...]
    build: Callable[[Path, Path], None]


def made(step: Step, data: Path) -> bool:
    """Whether a step's folder is there, whole, of this version and made from what is there."""
    return _stamp(step.name, data) == _due(step, data)


def make(step: Step, data: Path) -> None:
    """Build a step's folder, in place of one that is there."""
    folder, unfinished = data / step.name, data / f"{step.name}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    step.build(unfinished, data)
    (unfinished / _STAMP).write_text(json.dumps(_due(step, data)), encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


def _due(step: Step, data: Path) -> dict[str, object]:
    return {"version": step.version, "from": {name: _stamp(name, data) for name in step.needs}}


def _stamp(name: str, data: Path) -> object:
    try:
        return json.loads((data / name / _STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def draws(*what: object) -> random.Random:
    """Random numbers that depend on what they are for alone: a step, an item of it."""
    text = "\0".join(map(str, (SEED, *what)))
    return random.Random(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]))
