"""Step "speech": short utterances of lexicon words, to teach a connector to hear words.

Single words, words at random (so that no word can be guessed from its neighbours), sentences from
templates, and sentences that people wrote. Every word of the lexicon is heard often enough. Tests:
new sentences in a voice that never trains; telephone prompts read by a person.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unisono.manifests import PairRow, write_manifest
from unisono.media import SAMPLE_RATE_HZ
from unisono.picturebook.human_recordings import Prompt, asterisk_prompts
from unisono.picturebook.lexicon import (
    SOUND_LIKE_ANOTHER,
    is_of_lexicon,
    lexicon,
    spoken_words,
    themes,
)
from unisono.picturebook.packages import members
from unisono.picturebook.step import Step, draws
from unisono.picturebook.utterance_templates import GROUPS, TEST_TEMPLATES, TRAIN_TEMPLATES
from unisono.picturebook.voices import TEST_VOICE, Reading, draw_voice, record, varied, write_flac

Words = tuple[str, ...]

WORD, RANDOM, TEMPLATE, SENTENCE = "word", "random", "template", "sentence"
TRAIN_COUNTS = {WORD: 2_600, RANDOM: 3_000, TEMPLATE: 3_200, SENTENCE: 3_200}
TEST_COUNTS = {TEMPLATE: 100, SENTENCE: 100}
LONGEST_S = 6.0
LONGEST_PROMPT_S = 8.0
FEWEST_PROMPT_WORDS = 3

_PIPER_SHARE = 0.16
_LONGEST_WORDS = 10
_SHORTEST_TEST = 4
_GAP = re.compile(r"\{(\w+)\}")
_EXAMPLE = re.compile(r'"([^"]+)"')
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n%\n|\n\s*--")
_ASKING = frozenset(
    ("what", "who", "where", "when", "why", "how", "which", "is", "are", "do", "can", "would")
)


@dataclass(frozen=True)
class Utterance:
    """What is said, and of which kind it is: a word or two, at random, template or sentence."""

    words: Words
    kind: str

    @property
    def text(self) -> str:
        """The words as they are learned: lower case, no punctuation."""
        return " ".join(self.words)

    @property
    def read_as(self) -> str:
        """The words as a voice gets them: the last mark makes the melody."""
        asks = self.kind in (TEMPLATE, SENTENCE) and self.words[0] in _ASKING
        return f"{self.text}{'?' if asks else '.'}"


@dataclass(frozen=True)
class Plan:
    """Everything that is said by machines."""

    train: tuple[Utterance, ...]
    test: tuple[Utterance, ...]


def plan(
    written: Iterable[Words],
    prompts: Iterable[Words],
    *,
    train: Mapping[str, int] = TRAIN_COUNTS,
    test: Mapping[str, int] = TEST_COUNTS,
) -> Plan:
    """What is said, the same on every run.

    Args:
        written: sentences that people wrote, of lexicon words.
        prompts: what the human test says; training has no sentence with one of them in it.
        train, test: utterances of each kind; fewer sentences if fewer were written.
    """
    sentences = list(dict.fromkeys(words for words in written if len(words) <= _LONGEST_WORDS))
    draws("speech", "sentences").shuffle(sentences)
    tested = _test_utterances(sentences, test)
    taken = _Taken([*(one.words for one in tested), *prompts])
    said = [Utterance(words, SENTENCE) for words in sentences if taken.is_free(words)]
    drawn = [
        *_again_and_again(said, train[SENTENCE], draws("speech", "again")),
        *_from_templates(TRAIN_TEMPLATES, train[TEMPLATE], taken, draws("speech", "templates")),
    ]
    heard = Counter(word for one in drawn for word in one.words)
    drawn += _single_words(train[WORD], heard, taken)
    drawn += _random_words(train[RANDOM], heard, taken)
    draws("speech", "order").shuffle(drawn)
    return Plan(tuple(drawn), tuple(tested))


def _test_utterances(sentences: Sequence[Words], counts: Mapping[str, int]) -> list[Utterance]:
    """From templates that never train, and the first sentences that are long enough."""
    chance = draws("speech", "test")
    made = _from_templates(TEST_TEMPLATES, counts[TEMPLATE], _Taken(()), chance)
    fit = [words for words in sentences if len(words) >= _SHORTEST_TEST]
    return [*made, *(Utterance(words, SENTENCE) for words in fit[: counts[SENTENCE]])]


class _Taken:
    """Texts of tests: whatever has one of them in it may not train."""

    def __init__(self, texts: Iterable[Words]) -> None:
        self._texts = frozenset(texts)
        self._lengths = sorted({len(words) for words in self._texts})

    def is_free(self, words: Words) -> bool:
        return not any(
            words[start : start + length] in self._texts
            for length in self._lengths
            for start in range(len(words) - length + 1)
        )


def _again_and_again(
    said: Sequence[Utterance], count: int, chance: random.Random
) -> Iterator[Utterance]:
    """All of them, and some again (in another voice) until there are enough."""
    if said:
        rounds, rest = divmod(count, len(said))
        yield from (one for _ in range(rounds) for one in said)
        yield from chance.sample(said, rest)


def _from_templates(
    templates: Sequence[str], count: int, taken: _Taken, chance: random.Random
) -> list[Utterance]:
    """Filled templates, each as often as the others, none of them twice."""
    made: dict[Words, Utterance] = {}
    tries = 0
    while len(made) < count and tries < 20 * count:
        filled = _GAP.sub(lambda gap: _word_for(gap[1], chance), templates[tries % len(templates)])
        words = tuple(filled.split())
        if taken.is_free(words):
            made.setdefault(words, Utterance(words, TEMPLATE))
        tries += 1
    return list(made.values())


def _word_for(gap: str, chance: random.Random) -> str:
    return chance.choice(GROUPS.get(gap) or themes()[gap])


def _single_words(count: int, heard: Counter[str], taken: _Taken) -> Iterator[Utterance]:
    """One word or two; every word of the lexicon that can be told by its sound, rare ones first."""
    chance = draws("speech", "words")
    rarest = _Rarest(heard, chance)
    for number in range(count):
        words = rarest.take(1 + number % 2)
        if taken.is_free(words):
            yield Utterance(words, WORD)


def _random_words(count: int, heard: Counter[str], taken: _Taken) -> Iterator[Utterance]:
    """Three to seven words that have nothing to do with one another, rare ones first."""
    chance = draws("speech", "random")
    rarest = _Rarest(heard, chance)
    for _ in range(count):
        words = rarest.take(chance.randint(3, 7))
        if taken.is_free(words):
            yield Utterance(words, RANDOM)


class _Rarest:
    """Gives words so that all are heard about equally often in the end."""

    def __init__(self, heard: Counter[str], chance: random.Random) -> None:
        self._heard, self._chance = heard, chance
        self._words = [word for word in lexicon() if word not in SOUND_LIKE_ANOTHER]

    def take(self, count: int) -> Words:
        """Of twelve words drawn for each place, the one heard least; none twice."""
        taken: list[str] = []
        while len(taken) < count:
            drawn = self._chance.sample(self._words, 12)
            word = min(drawn, key=lambda word: self._heard[word])
            if word not in taken:
                taken.append(word)
                self._heard[word] += 1
        return tuple(taken)


def written_sentences() -> Iterator[Words]:
    """Sentences of WordNet (examples, definitions) and of fortune cookies, of lexicon words.

    Raises:
        HubError: the packages cannot be had.
    """
    for text in (*_wordnet(), *_fortunes()):
        words = spoken_words(text)
        if len(words) >= FEWEST_PROMPT_WORDS and is_of_lexicon(words):
            yield words


def _wordnet() -> Iterator[str]:
    for _, data in members("wordnet-base", lambda path: "/wordnet/data." in path):
        for line in data.decode("utf-8").splitlines():
            gloss = line.partition("|")[2]
            yield from _EXAMPLE.findall(gloss)
            yield from _EXAMPLE.sub("", gloss).split(";")


def _fortunes() -> Iterator[str]:
    for _, data in members("fortunes", _is_fortunes):
        for text in _SENTENCE_END.split(data.decode("utf-8", "replace")):
            yield " ".join(text.split())


def _is_fortunes(path: str) -> bool:
    return "/games/fortunes/" in path and not path.endswith(".dat")


def build(folder: Path, data: Path) -> None:
    """Fill the step's folder: `train`, `test_new_voice`, `test_human`."""
    del data
    prompts = [
        (prompt, words)
        for prompt in asterisk_prompts()
        if len(words := spoken_words(prompt.text)) >= FEWEST_PROMPT_WORDS and is_of_lexicon(words)
    ]
    said = [words for _, words in prompts]
    planned = plan(written_sentences(), said, train=TRAIN_COUNTS, test=TEST_COUNTS)
    _write_spoken(planned.train, folder, "train")
    _write_spoken(planned.test, folder, "test_new_voice", voice=TEST_VOICE)
    _write_prompts(prompts, folder)


def _write_prompts(prompts: Iterable[tuple[Prompt, Words]], folder: Path) -> None:
    (folder / "test_human").mkdir()
    rows = []
    for prompt, words in prompts:
        samples = prompt.samples()
        if len(samples) <= LONGEST_PROMPT_S * SAMPLE_RATE_HZ:
            path = folder / "test_human" / f"{prompt.name.replace('/', '-')}.flac"
            write_flac(samples, path)
            fields = {"voice": "human-allison", "language": "en", "kind": "prompt"}
            rows.append(PairRow(path.stem, text=" ".join(words), audio=path, fields=fields))
    write_manifest(rows, folder / "test_human.jsonl")


def _write_spoken(
    utterances: Sequence[Utterance], folder: Path, name: str, *, voice: str | None = None
) -> None:
    (folder / name).mkdir()
    readings = []
    for number, one in enumerate(utterances):
        path = folder / name / f"{number:05}.flac"
        if voice:
            readings.append(Reading(one.read_as, path, voice))
        else:
            chance = draws("speech", name, number)
            spoken_by = draw_voice(chance, piper=_PIPER_SHARE)
            readings.append(varied(one.read_as, path, spoken_by, chance))
    seconds = record(readings)
    rows = [
        PairRow(
            reading.path.stem,
            text=one.text,
            audio=reading.path,
            fields={"voice": reading.voice, "language": "en", "kind": one.kind},
        )
        for one, reading, length in zip(utterances, readings, seconds, strict=True)
        if length <= LONGEST_S
    ]
    write_manifest(rows, folder / f"{name}.jsonl")


STEP = Step("speech", 2, (), build)
