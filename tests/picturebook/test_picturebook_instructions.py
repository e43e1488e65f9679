"""Text alone: prompts of two splits that share nothing, and answers that were written once."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import fakes
import pytest
from one_thread import one_thread  # noqa: F401 -- a fixture

from unisono.manifests import open_manifest
from unisono.picturebook import instructions
from unisono.picturebook.instruction_prompts import (
    KINDS,
    Asked,
    Words,
    _commonest,
    _frequencies,
    definitions,
    held_out,
    prompts,
    slots,
    with_article,
)
from unisono.picturebook.instructions import ANSWERS, Instruction, read_answers, write_answers

COMMON = Words(
    nouns=tuple(f"noun{'abcdefghij'[i // 10]}{'abcdefghij'[i % 10]}" for i in range(100)),
    verbs=tuple(f"verb{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"),
    meanings=tuple(f"a thing of the kind {letter}" for letter in "abcdefghijklmnopqrstuvwxyz"),
)

DATA_NOUN = """\
  1 This software and database is being provided to you
02084071 05 n 02 dog 0 domestic_dog 0 001 @ 02083346 n 0000 | of the genus of all dogs; "it barked"
02084072 05 n 01 frump 0 001 @ 02083346 n 0000 | a dull unattractive unpleasant girl or woman
02084073 05 n 01 dog 0 000 | another one that is not the first of them
02084074 18 n 01 baker 0 000 | a person who bakes bread for a living
02084075 06 n 01 gun 0 000 | a thing that is not asked about here
02084076 06 n 01 cup 0 000 | too short
02084077 06 n 01 Paris 0 000 | the capital and largest city of France
"""
COUNTS = """\
dog%1:05:00:: 1 42
cup%1:06:00:: 1 50
cup%1:06:01:: 2 90
baker%1:18:00:: 1 99
bake%2:30:00:: 1 12
ice_cream%1:13:00:: 1 70
"""


def test_the_splits_share_neither_words_nor_templates() -> None:
    train, test = (slots(COMMON, test=test) for test in (False, True))
    for name, values in train.items():
        assert values
        assert test[name]
        assert not set(values) & set(test[name]), name
    for kind, forms in KINDS.items():
        if kind != "talk":
            assert not set(forms.train) & set(forms.test)
    made = {test: prompts(COMMON, 300, test=test) for test in (False, True)}
    assert not {one.text for one in made[False]} & {one.text for one in made[True]}
    for test, asked in made.items():
        assert len({one.text for one in asked}) == len(asked)
        known = [
            held_out("noun", noun) for one in asked for noun in COMMON.nouns if noun in one.text
        ]
        assert known
        assert set(known) == {test}


def test_prompts_are_the_same_every_time_and_of_all_kinds() -> None:
    first, again = (prompts(COMMON, 400, test=False) for _ in range(2))
    assert first == again
    assert len(first) == 400
    counts = Counter(one.kind for one in first)
    assert counts.keys() == KINDS.keys()
    assert counts["what"] > counts["list"]
    assert not any("{" in one.text or "}" in one.text for one in first)


def test_more_prompts_than_there_are_end() -> None:
    few = Words(COMMON.nouns[:10], COMMON.verbs[:5], COMMON.meanings[:5])
    made = prompts(few, 2_000, test=False)
    assert 500 < len(made) < 2_000


def test_articles() -> None:
    assert with_article("apple") == "an apple"
    assert with_article("boat") == "a boat"


def test_wordnet_is_read() -> None:
    found = definitions(DATA_NOUN.splitlines())
    assert found["dog"] == "of the genus of all dogs"
    assert found.keys() == {"dog", "frump"}
    times = list(_frequencies(COUNTS))
    assert _commonest(times, "1", frozenset({"05", "06", "13"})) == ["cup", "dog"]
    assert _commonest(times, "2", None) == ["bake"]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("One. Two! Thr", "One. Two!"),
        ("It is.\nAnd th", "It is."),
        ("no end", ""),
        ("3.5 is", ""),
    ],
)
def test_cut_answers_end_with_a_sentence(text: str, whole: str) -> None:
    assert instructions.whole_sentences(text) == whole


class Sure(fakes.ScriptedEngine):
    """Its words are certain, however they are sampled."""

    def _forward(self, count: int, cache: Any) -> Any:
        return 1e4 * super()._forward(count, cache)


def answers(text: str, split: Any, count: int = 2) -> list[Instruction]:
    asked = [Asked("what", "{x}", f"Question {number}?") for number in range(4)]
    model = fakes.scripted(Sure(text))
    return list(instructions.answered(asked, split, count, model))


def test_answers_that_end_are_kept() -> None:
    found = answers("It is a small boat.", "test")
    assert [one.prompt for one in found] == ["Question 0?", "Question 1?"]
    assert {(one.answer, one.ended) for one in found} == {("It is a small boat.", True)}
    assert answers("Boat.", "train") == []


def test_answers_that_are_too_long_are_cut_and_never_tested() -> None:
    text = "It is a small boat. " * 10
    found = answers(text, "train", 9)
    assert len(found) == 4
    cut = "It is a small boat. It is a small boat."  # a token a byte: 48 of them
    assert {(one.answer, one.ended) for one in found} == {(cut, False)}
    assert answers(text, "test") == []


def test_answers_are_written_the_same_every_time(tmp_path: Path) -> None:
    written = [
        Instruction("train", "what", "{x}", "What?", "Æ, that."),
        Instruction("test", "how", "", "How?", "So.", ended=False),
    ]
    for name in ("a.gz", "b.gz"):
        write_answers(written, tmp_path / name)
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert read_answers(tmp_path / "a.gz") == written


def test_trivia_are_questions_with_one_answer() -> None:
    corpus: Any = {
        "conversations": [
            ["Which  year?", "1963"],
            ["Dolphins use a sense.", "Echolocation"],
            ["In bingo?", 22],
            ["What?", "This", "No"],
        ]
    }
    assert list(instructions._pairs(corpus)) == [("Which year?", "1963"), ("In bingo?", "22")]


# --- what is committed ---------------------------------------------------------------------


def test_the_committed_answers_are_small_and_of_both_splits() -> None:
    assert ANSWERS.stat().st_size < 300_000
    found = read_answers(ANSWERS)
    counts = Counter(one.split for one in found)
    assert counts["test"] == 200
    assert counts["train"] >= 1_000
    train, test = ([one for one in found if one.split == split] for split in ("train", "test"))
    assert not {one.prompt for one in train} & {one.prompt for one in test}
    assert not {one.template for one in train} & {one.template for one in test} - {"{chat}"}
    assert all(one.ended for one in test)
    assert all(one.answer.strip() == one.answer and one.answer for one in found)


def test_the_step_unpacks_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = Instruction("test_human", "trivia", "", "Which year?", "1963")
    monkeypatch.setattr(instructions, "trivia", lambda: [people])
    monkeypatch.setattr(instructions, "definitions", lambda: [people])
    instructions.STEP.build(tmp_path, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "train.jsonl",
        "test.jsonl",
        "test_human.jsonl",
    }
    manifest: Any = open_manifest(tmp_path / "test.jsonl")
    assert len(manifest) == 200
    row = manifest[0]
    first = next(one for one in read_answers(ANSWERS) if one.split == "test")
    assert [message.role for message in row.messages] == ["user", "assistant"]
    assert row.messages[1].content == first.answer
    assert row.fields["kind"] == first.kind
    lines = (tmp_path / "test_human.jsonl").read_text().splitlines()
    assert [json.loads(line)["messages"][1]["content"] for line in lines] == ["1963", "1963"]
