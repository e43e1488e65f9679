"""All bars of the nano models, measured on the picturebook's test splits:

    python -m unisono.picturebook.bars data/picturebook --onepeace onepeace-nano --ola ola-nano

prints a table; `--json-out` writes the same as JSON.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from time import perf_counter

from unisono.errors import DataError, UnisonoError
from unisono.picturebook import bars_ola, bars_onepeace, bars_speech
from unisono.picturebook.bars_ola import OlaNano
from unisono.picturebook.bars_report import Finding, as_json, as_markdown, moved
from unisono.runtime import Embedder, load_embedder


@dataclass(frozen=True)
class Asked:
    """What is to be measured of what.

    Attributes:
        data: folder of all steps.
        onepeace: name or folder of the representation model, if any.
        ola: name or folder of the model that answers, if any.
        aligned: folder of the stage that ended CTC pre-alignment, if any.
    """

    data: Path
    onepeace: str | None = None
    ola: str | None = None
    aligned: Path | None = None

    @cached_property
    def embedder(self) -> Embedder:
        """The representation model, loaded."""
        return load_embedder(str(self.onepeace))

    @cached_property
    def nano(self) -> OlaNano:
        """The model that answers, loaded when it is used."""
        return OlaNano(str(self.ola))


@dataclass(frozen=True)
class Group:
    """Bars that are measured together.

    Attributes:
        name: to ask for.
        needs: the field of `Asked` that must be given.
        measure: gives the findings.
    """

    name: str
    needs: str
    measure: Callable[[Asked], list[Finding]]


def _text(of: Asked) -> list[Finding]:
    trained = of.nano.in_torch
    return bars_ola.text_ability(of.data, trained, bars_ola.with_original(trained))


def _ctc(of: Asked) -> list[Finding]:
    aligned = bars_speech.load_aligned(Path(str(of.aligned)))
    return bars_speech.by_ctc(of.data, aligned)


def _spoken(of: Asked) -> list[Finding]:
    return bars_speech.spoken_as_typed(of.data, of.nano.hears_itself, of.nano.in_torch)


GROUPS = (
    Group("picture", "onepeace", lambda of: bars_onepeace.pictures(of.data, of.embedder)),
    Group("sound", "onepeace", lambda of: bars_onepeace.sounds(of.data, of.embedder)),
    Group("emergent", "onepeace", lambda of: bars_onepeace.spoken_names(of.data, of.embedder)),
    Group("sounding", "onepeace", lambda of: bars_onepeace.sounding(of.data, of.embedder)),
    Group("questions", "ola", lambda of: bars_ola.picture_questions(of.data, of.nano.assistant)),
    Group("others", "ola", lambda of: bars_ola.other_questions(of.data, of.nano.assistant)),
    Group("video", "ola", lambda of: bars_ola.video_questions(of.data, of.nano.assistant)),
    Group("text", "ola", _text),
    Group("ctc", "aligned", _ctc),
    Group("speech", "ola", lambda of: bars_speech.by_answers(of.data, of.nano.hears_itself)),
    Group("spoken", "ola", _spoken),
)
NAMES = tuple(group.name for group in GROUPS)

CARDS = ("onepeace-nano",)
"""Models whose cards have numbers."""


def measured(asked: Asked, only: Sequence[str] = ()) -> Iterator[Finding]:
    """Findings as they are made.

    What cannot be measured (data that were not built, a model without an ear) is a finding too,
    without a score.

    Args:
        asked: data and models; groups whose model is not named are passed over.
        only: names of groups; by default all.
    """
    for group in GROUPS:
        if (only and group.name not in only) or getattr(asked, group.needs) is None:
            continue
        started = perf_counter()
        try:
            found = group.measure(asked)
        except UnisonoError as error:
            found = [Finding(group.name, group.name, "", None, note=str(error))]
        seconds = perf_counter() - started
        yield from (replace(one, seconds=seconds) for one in found)


def card_numbers(model: str) -> Path:
    """The numbers that a model's card says, as `--json-out` wrote them.

    Raises:
        DataError: the card has none.
    """
    path = Path(str(files("unisono.hub"))) / "cards" / f"{model}.json"
    if not path.is_file():
        raise DataError(f"there are no numbers of {model!r}; there are of {', '.join(CARDS)}")
    return path


def measure_cards(data: Path, model: str, check: Path | None = None) -> int:
    """Every number of a model's card, measured again.

    Args:
        data: folder of all steps.
        model: whose.
        check: other numbers to hold them against than the card's.

    Returns:
        The exit status: 1 if one has left its interval.
    """
    held = check or card_numbers(model)
    return _run(Asked(data, onepeace=model), (), None, held, every=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the bars of the nano models; the exit status is 1 if a number moved."""
    given = _parsed(arguments)
    asked = Asked(given.data, given.onepeace, given.ola, given.aligned)
    if status := _run(asked, given.only, given.json_out, given.check):
        sys.exit(status)


def _run(
    asked: Asked,
    only: Sequence[str],
    out: Path | None,
    check: Path | None,
    *,
    every: bool = False,
) -> int:
    findings = []
    for finding in measured(asked, only):
        findings.append(finding)
        print(f"{finding.what}: {finding.verdict or 'measured'}", file=sys.stderr, flush=True)
    print(as_markdown(findings))
    if out is not None:
        text = json.dumps(as_json(findings), indent=2, ensure_ascii=False)
        out.write_text(text + "\n", encoding="utf-8")
    if check is None:
        return 0
    lines = moved(findings, json.loads(check.read_text(encoding="utf-8")), every=every)
    print("\n".join(lines) or f"every number is within its interval in '{check}'")
    return int(bool(lines))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m unisono.picturebook.bars", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("data", type=Path, help="the folder that `unisono picturebook` made")
    parser.add_argument("--onepeace", metavar="NAME_OR_FOLDER", help="model that makes vectors")
    parser.add_argument("--ola", metavar="NAME_OR_FOLDER", help="model that answers")
    parser.add_argument(
        "--aligned",
        type=Path,
        metavar="STAGE",
        help=f"folder of the stage of CTC, with model/ and {bars_speech.ALIGNMENT}",
    )
    parser.add_argument("--only", nargs="+", choices=NAMES, default=[], help="by default all")
    parser.add_argument("--json-out", type=Path, metavar="FILE", help="also write JSON")
    parser.add_argument(
        "--check", type=Path, metavar="FILE", help="fail if a number left its interval in this JSON"
    )
    given = parser.parse_args(arguments)
    if given.onepeace is None and given.ola is None and given.aligned is None:
        parser.error("name a model with --onepeace, --ola or --aligned")
    return given


if __name__ == "__main__":
    main()
