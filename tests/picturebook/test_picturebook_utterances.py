"""What the speech step says: every word often, and nothing of a test in training."""

import io
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unisono.errors import DownloadError
from unisono.hub import fetch_part
from unisono.manifests import PairRow, open_manifest
from unisono.media import SAMPLE_RATE_HZ, load_audio
from unisono.picturebook import utterances
from unisono.picturebook.human_recordings import Prompt
from unisono.picturebook.lexicon import (
    SOUND_LIKE_ANOTHER,
    is_of_lexicon,
    lexicon,
    spoken_words,
    themes,
)
from unisono.picturebook.packages import sources
from unisono.picturebook.splits import names_unseen
from unisono.picturebook.utterance_templates import GROUPS, TEST_TEMPLATES, TRAIN_TEMPLATES
from unisono.picturebook.utterances import (
    RANDOM,
    SENTENCE,
    STEP,
    TEMPLATE,
    TRAIN_COUNTS,
    WORD,
    Plan,
    Words,
    plan,
)
from unisono.picturebook.voices import TEST_VOICE

PROMPTS = (("press", "one"), ("the", "conference", "is", "locked"), ("what", "do", "you", "hear"))


def _written() -> list[Words]:
    """As good as sentences that people wrote."""
    chance = random.Random(1)
    return [tuple(chance.sample(lexicon(), chance.randint(3, 12))) for _ in range(3_000)]


@pytest.fixture(scope="module")
def planned() -> Plan:
    """The whole plan, with made-up sentences."""
    return plan(_written(), PROMPTS)


def _runs(words: Words) -> set[Words]:
    """Every run of words in it, itself too."""
    ends = range(1, len(words) + 1)
    return {words[start:end] for end in ends for start in range(end)}


def test_the_lexicon_has_a_thousand_words_each_once() -> None:
    assert 600 <= len(lexicon()) <= 1_000
    assert len(set(lexicon())) == len(lexicon())
    assert all(spoken_words(word) == (word,) for word in lexicon())


def test_no_word_of_the_lexicon_names_a_held_out_concept() -> None:
    assert [word for word in lexicon() if names_unseen(word)] == ["does"]  # no female deer is meant


def test_templates_have_words_of_the_lexicon_and_gaps_that_can_be_filled() -> None:
    words = {word for filled in GROUPS.values() for text in filled for word in text.split()}
    for template in (*TRAIN_TEMPLATES, *TEST_TEMPLATES):
        for word in template.split():
            if word.startswith("{"):
                assert word.strip("{}") in GROUPS.keys() | themes().keys()
            else:
                words.add(word)
    assert sorted(words - set(lexicon())) == []
    assert not set(TRAIN_TEMPLATES) & set(TEST_TEMPLATES)


def test_every_word_is_heard_often(planned: Plan) -> None:
    heard = Counter(word for one in planned.train for word in one.words)
    assert set(heard) == set(lexicon())
    assert min(times for word, times in heard.items() if word not in SOUND_LIKE_ANOTHER) >= 30
    assert min(heard.values()) >= 20  # what people wrote has more of such words than `_written`


def test_there_is_enough_of_every_kind(planned: Plan) -> None:
    kinds = Counter(one.kind for one in planned.train)
    assert kinds[SENTENCE] == TRAIN_COUNTS[SENTENCE]
    assert kinds[TEMPLATE] == TRAIN_COUNTS[TEMPLATE]
    assert sum(kinds.values()) > 0.98 * sum(TRAIN_COUNTS.values())
    assert kinds[WORD] > 0.2 * len(planned.train)
    assert all(len(one.words) <= 2 for one in planned.train if one.kind == WORD)
    assert all(3 <= len(one.words) <= 7 for one in planned.train if one.kind == RANDOM)
    assert len(planned.test) == 200


def test_words_at_random_do_not_foretell_their_neighbours(planned: Plan) -> None:
    said = [one.words for one in planned.train if one.kind == RANDOM]
    pairs = Counter(pair for words in said for pair in pairwise(words))
    assert max(pairs.values()) <= 3


def test_training_holds_nothing_of_a_test(planned: Plan) -> None:
    tested = {one.words for one in planned.test} | set(PROMPTS)
    assert not [one.words for one in planned.train if tested & _runs(one.words)]
    assert all(len(one.words) >= 4 for one in planned.test if one.kind == SENTENCE)


def test_without_a_test_its_texts_would_be_said(planned: Plan) -> None:
    """Guards the test above: it is the check that keeps them out, not chance."""
    free = plan(_written(), ())
    assert any(PROMPTS[-1] in _runs(one.words) for one in free.train)
    assert not any(PROMPTS[-1] in _runs(one.words) for one in planned.train)


def test_the_plan_is_the_same_each_time(planned: Plan) -> None:
    assert plan(_written(), PROMPTS) == planned


def test_a_question_sounds_like_one(planned: Plan) -> None:
    asked = [one for one in planned.train if one.kind == TEMPLATE and one.words[0] == "what"]
    assert all(one.read_as == f"{one.text}?" for one in asked)
    assert all(one.read_as == f"{one.text}." for one in planned.train if one.kind == WORD)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Press 1 to listen to it.", "press one to listen to it"),
        ("To re-record it.", "to rerecord it"),
        ("I’m sorry, that’s not valid!", "i'm sorry that's not valid"),
        ("call-forward on busy", "call forward on busy"),
        ("dial 500 now", ""),
        ("version 3.0", ""),
        ("press * now", ""),
        ("'quoted' dogs'", "quoted dogs"),
    ],
)
def test_words_as_they_are_read_aloud(text: str, words: str) -> None:
    assert " ".join(spoken_words(text)) == words


@given(st.text(max_size=40))
def test_spoken_words_are_plain(text: str) -> None:
    words = spoken_words(text)
    assert spoken_words(" ".join(words)) == words


def test_only_known_words_are_of_the_lexicon() -> None:
    assert is_of_lexicon(("what", "do", "you", "hear"))
    assert not is_of_lexicon(("what", "do", "xylophones", "hear"))
    assert not is_of_lexicon(())


def _g722(seconds: float) -> bytes:
    """A tone as a telephone exchange keeps it."""
    time_s = np.arange(round(SAMPLE_RATE_HZ * seconds)) / SAMPLE_RATE_HZ
    tone = (8_000 * np.sin(2 * np.pi * 440 * time_s)).astype(np.int16)
    file = io.BytesIO()
    with av.open(file, "w", format="g722") as container:
        stream = container.add_stream("g722", rate=SAMPLE_RATE_HZ, layout="mono", format="s16")
        for start in range(0, len(tone), 320):
            frame = av.AudioFrame.from_ndarray(
                tone[None, start : start + 320], format="s16", layout="mono"
            )
            frame.sample_rate = SAMPLE_RATE_HZ
            container.mux(stream.encode(frame))
    return file.getvalue()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small build by quick voices, skipped without a network."""
    try:
        for part in ("flite", "espeak-ng"):
            fetch_part(part, catalog=sources())
    except DownloadError as error:
        pytest.skip(f"the voices cannot be had: {error}")
    prompts = [
        Prompt("vm-press", "Press 1 now.", _g722(1.0)),
        Prompt("vm-long", "Please listen to it.", _g722(9.0)),
        Prompt("vm-odd", "Weasels have eaten it.", _g722(1.0)),
        Prompt("vm-short", "Thank you.", _g722(1.0)),
    ]
    monkeypatch.setattr(utterances, "written_sentences", _written)
    monkeypatch.setattr(utterances, "asterisk_prompts", lambda: prompts)
    monkeypatch.setattr(utterances, "TRAIN_COUNTS", dict.fromkeys(TRAIN_COUNTS, 6))
    monkeypatch.setattr(utterances, "TEST_COUNTS", {TEMPLATE: 2, SENTENCE: 2})
    monkeypatch.setattr(utterances, "_PIPER_SHARE", 0.0)


@pytest.mark.usefixtures("few")
def test_the_step_writes_rows_that_can_be_read_and_heard(tmp_path: Path) -> None:
    STEP.build(tmp_path, tmp_path)
    rows = {
        name: [*open_manifest(tmp_path / f"{name}.jsonl")]
        for name in ("train", "test_new_voice", "test_human")
    }
    assert len(rows["train"]) >= 22  # a very long one may have been left out
    assert len(rows["test_new_voice"]) == 4
    assert [row.text for row in rows["test_human"]] == ["press one now"]
    for name, said in rows.items():
        for row in said:
            assert isinstance(row, PairRow)
            assert 0.3 < len(load_audio(row.audio)) / SAMPLE_RATE_HZ <= 6
            assert (row.fields["voice"] == TEST_VOICE) == (name == "test_new_voice")
