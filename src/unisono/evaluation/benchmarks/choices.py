"""What a model chose, by the published rules of the benchmarks: letters, contents, yes and no.

A rule takes what was said and gives a letter, or None where it finds none; None is wrong. Letters
are capitals; `choices` maps them to the options' texts.
"""

import re
from collections.abc import Mapping

Choices = Mapping[str, str]

_ENDS = (",", ".", "!", "?", ";", ":", "'")
_MARKED = re.compile(r"(?i:answer)\s*[:：]\s*[\*\(\[]*([A-Z])\b")
_FEW_WORDS = 5


def last_candidate(said: str, choices: Choices) -> str | None:
    """MMMU's rule, in the form of lmms-eval; also LongVideoBench's.

    The last "Answer: X"; else letters in brackets, else letters before a space, else before a full
    stop; else, in answers of more than five words, the options' texts. Of several, the last one
    said. MMMU itself guesses where nothing is found; here that is wrong, as in lmms-eval.

    Source:
        MMMU eval/eval_utils.py (arXiv 2311.16502); lmms-eval's mmmu_mcq_utils.
    """
    marked: list[str] = [letter for letter in _MARKED.findall(said) if letter in choices]
    if marked:
        return marked[-1]
    for end in _ENDS:
        said = said.strip(end)
    said = f" {said} "
    for sought, placed in (("({})", "({})"), ("{} ", " {} "), ("{}.", " {} ")):
        if found := [letter for letter in choices if sought.format(letter) in said]:
            return max(found, key=lambda letter: (said.rfind(placed.format(letter)), -ord(letter)))
    if len(said.split()) <= _FEW_WORDS:
        return None
    lower = said.lower()
    named = [letter for letter, text in choices.items() if text.lower() in lower]
    return max(named, key=lambda letter: lower.rfind(choices[letter].lower()), default=None)


_PREFIXES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The answer",
    "The best option is",
    "The correct option is",
    "Best answer:",
    "Best option:",
)


def first_letter(said: str, choices: Choices) -> str | None:
    """Video-MME's rule: the first capital among the options' letters, behind known openings.

    Answers of more than ten words without any such letter are none. "A" at the start of a sentence
    is a letter to this rule.

    Source:
        Video-MME's eval_your_results.py (arXiv 2405.21075).
    """
    said = said.strip()
    for prefix in _PREFIXES:
        said = said.replace(prefix, "")
    found = re.search(f"[{''.join(choices)}]", said)
    return found[0] if found else None


_SPLITTING = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_ARTICLE_FROM = 3


def inferred(said: str, choices: Choices) -> str | None:
    """VLMEvalKit's rule, before it asks a judge: MMBench, MMStar, AI2D.

    One letter standing alone, unless it is an "A" among more than three words, which may be an
    article; else the one option whose text is in the answer, if that is not much longer than all
    options together.

    Source:
        VLMEvalKit's can_infer (arXiv 2407.11691); MMBench (arXiv 2307.06281), section 4.
    """
    if any(refusal in said for refusal in _REFUSALS):
        return None
    words = said.translate(_SPLITTING).split()
    alone = [letter for letter in choices if letter in words]
    if len(alone) == 1 and not ("A" in words and len(words) > _ARTICLE_FROM):
        return alone[0]
    lower = said.lower()
    if len(lower) > 2 * sum(len(text) for text in choices.values()):
        return None
    named = [letter for letter, text in choices.items() if text.lower() in lower]
    return named[0] if len(named) == 1 else None


_OPTION = re.compile(r"^([A-E])\.\s*(.+)$", re.IGNORECASE)
_LETTER = re.compile(r"\b([A-E])\b", re.IGNORECASE)
_BETWEEN = re.compile(r"[;/\[\]\"{}()=+\\_\-><@`,?!]")
_JOINED = re.compile(r"(\d)(,)(\d)")


def plain_letter(said: str, choices: Choices) -> str | None:
    """MVBench's rule in lmms-eval: "A. …", else the first letter from A to E standing alone.

    Small letters count: "a dog" is A.

    Source:
        lmms-eval's mvbench (arXiv 2311.17005).
    """
    said = said.strip()
    if found := _OPTION.match(said):
        letter = found[1].upper()
        return letter if letter in choices else None
    # Signs beside a space vanish, others part words; a comma in a number makes all vanish.
    vanish = bool(_JOINED.search(said))

    def cleared(sign: re.Match[str]) -> str:
        beside = f"{sign[0]} " in said or f" {sign[0]}" in said
        return "" if vanish or beside else " "

    text = re.sub(r"\.(?!\d)", "", _BETWEEN.sub(cleared, re.sub(r"[\n\t]", " ", said)))
    letters = _LETTER.search(text)
    return letters[1].upper() if letters and letters[1].upper() in choices else None


def yes_or_no(said: str) -> str | None:
    """VLMEvalKit's rule for HallusionBench: the one of "yes" and "no" that is among the words.

    Source:
        VLMEvalKit's YOrN_Extraction; HallusionBench (arXiv 2310.14566).
    """
    words = re.sub(r"[^\w\s']", " ", said.lower()).split()
    found = {"yes", "no"} & set(words)
    return found.pop() if len(found) == 1 else None
