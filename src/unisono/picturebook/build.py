"""All steps of the picturebook, in order; see step.py."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from unisono.errors import DataError
from unisono.picturebook import (
    clips,
    conversations,
    drawings,
    instructions,
    pictures,
    printed_words,
    scenes,
    sounding,
    sounds,
    spoken_names,
    spoken_questions,
    utterances,
    vocabulary,
)
from unisono.picturebook.step import Step, made, make

STEPS: tuple[Step, ...] = (
    drawings.STEP,
    pictures.STEP,
    vocabulary.STEP,
    sounds.STEP,
    sounding.STEP,
    utterances.STEP,
    spoken_names.STEP,
    spoken_questions.STEP,
    scenes.STEP,
    printed_words.STEP,
    clips.STEP,
    instructions.STEP,
    conversations.STEP,
)


def missing(data: Path, names: Iterable[str]) -> list[str]:
    """Of some steps and those they need, the ones that are not made, in their order.

    Raises:
        DataError: there is no step of such a name.
    """
    chosen = _with_needs(names, {step.name: step for step in STEPS})
    return [step.name for step in STEPS if step.name in chosen and not made(step, data)]


def build(data: Path, only: Iterable[str] = ()) -> list[str]:
    """Make what is not there yet.

    Args:
        data: the folder of all steps.
        only: steps to make, with those they need; by default all.

    Returns:
        The steps that were made.

    Raises:
        DataError: there is no step of such a name.
        HubError: a package cannot be had.
        MissingExtraError: a program's package is not installed.
    """
    lacking = missing(data, tuple(only) or [step.name for step in STEPS])
    for step in STEPS:
        if step.name in lacking:
            make(step, data)
    return lacking


def _with_needs(names: Iterable[str], steps: Mapping[str, Step]) -> set[str]:
    chosen: set[str] = set()
    for name in names:
        if name not in steps:
            raise DataError(f"no step is called '{name}'; there are: {', '.join(steps)}")
        chosen |= {name} | _with_needs(steps[name].needs, steps)
    return chosen
