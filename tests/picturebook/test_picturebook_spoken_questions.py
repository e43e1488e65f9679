"""Spoken questions: their answers follow from them, and tests ask in other words and voices."""

import re
from collections import Counter
from pathlib import Path

import pytest

from unisono.conversation import AudioPart
from unisono.errors import DownloadError
from unisono.hub import fetch_part
from unisono.manifests import ConversationRow, open_manifest
from unisono.media import load_audio
from unisono.picturebook import spoken_questions
from unisono.picturebook.lexicon import is_of_lexicon, themes
from unisono.picturebook.packages import sources
from unisono.picturebook.spoken_question_kinds import KINDS
from unisono.picturebook.spoken_questions import STEP, questions
from unisono.picturebook.voices import TEST_VOICE

TRAIN, TEST = questions(3_000, test=False), questions(200, test=True)
NUMBERS = themes()["numbers"]


def test_there_are_enough_and_all_kinds_are_among_them() -> None:
    assert len(TRAIN) == 3_000
    assert len(TEST) == 200
    for asked in (TRAIN, TEST):
        kinds = Counter(question.kind for question in asked)
        assert kinds.keys() == KINDS.keys()
        assert min(kinds.values()) >= 10


def test_tests_are_asked_in_words_that_never_train() -> None:
    for kind in KINDS.values():
        assert not set(kind.train) & set(kind.test)
    assert not {question.words for question in TRAIN} & {question.words for question in TEST}


def test_every_word_is_of_the_lexicon() -> None:
    for question in (*TRAIN, *TEST):
        assert is_of_lexicon(tuple(question.words.split())), question
        assert is_of_lexicon(tuple(question.answer.split())), question


def test_numbers_come_out_right() -> None:
    for question in (*TRAIN, *TEST):
        said = [NUMBERS.index(word) for word in question.words.split() if word in NUMBERS]
        if question.kind == "sum":
            assert NUMBERS.index(question.answer) == sum(said), question
        if question.kind == "next number":
            assert NUMBERS.index(question.answer) == said[0] + 1, question
        if question.kind == "count":
            counted = [NUMBERS.index(word) for word in question.answer.split()]
            assert counted == list(range(said[0], said[1] + 1)), question
        if question.kind == "compared":
            assert (question.answer == "yes") == (said[0] > said[1]), question


def test_what_was_told_is_the_answer() -> None:
    for question in (*TRAIN, *TEST):
        if question.kind.startswith("told"):
            told, asked = question.typed.lower().split(". ")
            found = re.search(r"\b(in the )?(\w+)$", question.answer)
            assert found, question
            about = max(
                (part for part in told.split(" and ") if found[2] in part.split()), default=""
            )
            names = set(about.split()) - {"the", "is", "there", "are", "in", found[2]}
            assert len(names & set(re.findall(r"\w+", asked))) == 1, question


def test_answers_cannot_be_guessed_from_the_template() -> None:
    """The commonest answer of a template stands behind few of its questions, but yes or no."""
    answers: dict[str, Counter[str]] = {}
    for question in TRAIN:
        answers.setdefault(question.template, Counter())[question.answer] += 1
    for template, counts in answers.items():
        share = counts.most_common(1)[0][1] / counts.total()
        assert share < 0.65, template


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small build by quick voices, skipped without a network."""
    try:
        for part in ("flite", "espeak-ng"):
            fetch_part(part, catalog=sources())
    except DownloadError as error:
        pytest.skip(f"the voices cannot be had: {error}")
    monkeypatch.setattr(spoken_questions, "TRAIN_QUESTIONS", 20)
    monkeypatch.setattr(spoken_questions, "TEST_QUESTIONS", 6)
    monkeypatch.setattr(spoken_questions, "_PIPER_SHARE", 0.0)


@pytest.mark.usefixtures("few")
def test_the_step_writes_rows_that_can_be_read_and_heard(tmp_path: Path) -> None:
    STEP.build(tmp_path, tmp_path)
    for name, count in (("train", 20), ("test", 6)):
        rows = [*open_manifest(tmp_path / f"{name}.jsonl")]
        assert len(rows) == count
        for row in rows:
            assert isinstance(row, ConversationRow)
            (asked,) = row.messages[0].parts
            assert isinstance(asked, AudioPart)
            words = re.sub(r"[^a-z' ]", "", row.fields["typed"].lower())
            assert asked.transcript == words
            assert 0.5 < len(load_audio(asked.audio)) / 16_000 < 12
            assert (row.fields["voice"] == TEST_VOICE) == (name == "test")
