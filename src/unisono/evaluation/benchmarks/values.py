"""Whether a free answer is right, by the published rules of the benchmarks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from unisono.errors import MissingExtraError

Value = str | float

_INDICATORS = (
    "could be ",
    "so ",
    "is ",
    "thus ",
    "therefore ",
    "final ",
    "answer ",
    "result ",
)
_STRIPPED = " .,;:!?'\"`*"
_WITH_COMMAS = re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b")
_SCIENTIFIC = re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+")
_SIMPLE = re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])")


def open_answer_is_right(said: str, answers: Sequence[str]) -> bool:
    """MMMU's rule for open questions.

    Of each sentence, what stands behind the last of "so", "is", "thus", … is taken, and the numbers
    in all of that; right is a text that has the answer in it, or a number equal to it at two
    decimals.

    Source:
        MMMU eval/eval_utils.py, parse_open_response and eval_open (arXiv 2311.16502).
    """
    wanted = [value for answer in answers for value in normalised(answer)]
    texts = [value for value in wanted if isinstance(value, str)]
    for value in _candidates(said):
        if isinstance(value, str) and any(text in value for text in texts):
            return True
        if not isinstance(value, str) and value in wanted:
            return True
    return False


def normalised(text: str) -> list[Value]:
    """A number at two decimals, or lower case; a single character is also one with spaces."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        lower = text.lower()
        return [f" {lower}", f"{lower} "] if len(lower) == 1 else [lower]


def numbers(text: str) -> list[str]:
    """All numbers in a text: with thousands' commas, scientific, plain.

    As in the original, parts of one may be found once more: "1,234" has 1,234 and 234.
    """
    patterns = (_WITH_COMMAS, _SCIENTIFIC, _SIMPLE)
    return [found for pattern in patterns for found in pattern.findall(text)]


def _candidates(said: str) -> list[Value]:
    keys = _key_parts(said)
    found = [*keys, *(number for key in keys for number in numbers(key))]
    return list(dict.fromkeys(value for text in found for value in normalised(text)))


def _key_parts(said: str) -> list[str]:
    said = said.strip().strip(".").lower()
    sentences = re.split(r"\.\s(?=[A-Z])|\n", said)
    parts = []
    for place, sentence in enumerate(sentences):
        # The last one may also be an equation.
        marks = (*_INDICATORS, "=") if place == len(sentences) - 1 else _INDICATORS
        ends = [sentence.split(mark)[-1].strip() for mark in marks if mark in sentence]
        shortest = min(ends, key=len, default="")
        if shortest and shortest not in (":", ",", ".", "!", "?", ";", "'"):
            parts.append(shortest)
    return parts or [said]


def written_text_is_there(said: str, answers: Sequence[str], *, formula: bool = False) -> bool:
    """OCRBench's rule: an answer is part of what was said, whatever the case.

    Args:
        said: by the model.
        answers: right ones.
        formula: compare without any spaces, and answers as they are (the set HME100k).

    Source:
        OCRBench (arXiv 2305.07895).
    """
    if formula:
        bare = re.sub(r"[\n ]", "", said.lower().strip())
        return any(re.sub(r"[\n ]", "", answer.strip()) in bare for answer in answers)
    heard = said.lower().strip().replace("\n", " ")
    return any(answer.lower().strip().replace("\n", " ") in heard for answer in answers)


_QUOTED = re.compile(r'The answer is "(.*)"\.')
_IN_BRACKETS = re.compile(r"\(([a-zA-Z])\)")
_LIST = re.compile(r"\[[^\[\]]*\]")
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?")


def mathvista_value(said: str, asked: Mapping[str, Any]) -> str | None:
    """MathVista's answer, without the judge that the authors ask to find it.

    What the authors' own code finds by itself comes first: an option or a number alone, and
    'The answer is "…".'. Where they would ask GPT, we take the last number or list that is said,
    and for options the whole text; then all is normalised as they do: "(B)" and "B" are options,
    other texts the option at the smallest edit distance; integers and floats are rounded.

    Args:
        said: by the model.
        asked: question_type, answer_type, choices, precision of the record.

    Source:
        MathVista evaluation/extract_answer.py and calculate_score.py (arXiv 2310.02255).
    """
    said = said.strip()
    if found := _QUOTED.search(said):
        said = found[1]
    if asked.get("question_type") == "multi_choice":
        return _option(said, [str(one) for one in asked.get("choices") or ()])
    kind = asked.get("answer_type")
    if kind == "list":
        lists = _LIST.findall(said)
        return lists[-1] if lists else said
    return _rounded(said, kind, asked.get("precision"))


def _option(said: str, choices: Sequence[str]) -> str | None:
    if not choices or said in choices:
        return said or None
    letters = _IN_BRACKETS.findall(said)
    letter = letters[0].upper() if letters else said.rstrip(".")
    place = ord(letter) - ord("A") if len(letter) == 1 else -1
    if 0 <= place < len(choices):
        return choices[place]
    return _nearest(said, choices) if said else None


def _rounded(said: str, kind: Any, precision: Any) -> str | None:
    found = _NUMBER.findall(said)
    try:
        value = float((found[-1] if found else said).replace(",", ""))
        if kind == "integer":
            return str(int(value))
        return str(round(value, int(float(precision or 0)) or None))
    except (ValueError, OverflowError):
        return None


def _nearest(said: str, choices: Sequence[str]) -> str:
    """The option at the smallest edit distance; of several the first."""
    try:
        from rapidfuzz.distance import Levenshtein
    except ImportError as error:
        raise MissingExtraError("MathVista", "eval") from error
    return min(choices, key=lambda choice: Levenshtein.distance(said, choice))
