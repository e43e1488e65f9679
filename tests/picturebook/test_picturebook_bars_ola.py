"""The bars of the model that answers, with models whose answers are known."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
import tiny
from one_thread import one_thread  # noqa: F401 -- a fixture
from PIL import Image

from unisono.conversation import AudioPart, ImagePart, Message, TextPart, VideoPart
from unisono.errors import DataError, MediaError
from unisono.evaluation.tasks import Perplexity
from unisono.evaluation.tasks.perplexity import OlaModel
from unisono.manifests import ConversationRow, write_manifest
from unisono.picturebook import bars, bars_ola
from unisono.runtime import Finished, TextDelta, Timings, Usage

KINDS = ("what", "colour", "how many", "where")
RIGHT = {"what": "a cat", "colour": "red", "how many": "two", "where": "left of the dog"}


class Answering:
    """Stands for an assistant; what it says depends on the messages."""

    def __init__(self, says: Callable[[Sequence[Message]], str]) -> None:
        self.says = says

    def stream(self, messages: Sequence[Message], **settings: Any) -> Iterator[Any]:
        assert settings["temperature"] == 0
        text = self.says(messages)
        yield TextDelta(text)
        yield Finished(text, "stop", Usage(1, 0, 1), Timings(0.0, None, None, 0.0, None))


def question(messages: Sequence[Message]) -> str:
    return next(part.text for part in messages[-1].parts if isinstance(part, TextPart))


def asked(name: str, content: Any, answer: str, **fields: Any) -> ConversationRow:
    messages = (Message(role="user", content=content), Message(role="assistant", content=answer))
    return ConversationRow(name, messages, fields)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    (tmp_path / "scenes").mkdir()
    path = tmp_path / "scenes" / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    rows = []
    for number in range(40):
        kind = KINDS[number % 4]
        content = (ImagePart(image=path), TextPart(text=f"{kind}? {number}"))
        rows.append(asked(str(number), content, RIGHT[kind], kind=kind))
    for name in ("test", "test_unseen_drawing"):
        write_manifest(rows, tmp_path / "scenes" / f"{name}.jsonl")
    return tmp_path


def test_right_answers_in_other_words_pass(scenes: Path) -> None:
    other = {"what": "Cat.", "colour": "Red", "how many": "2", "where": "Left of a dog"}
    model: Any = Answering(lambda messages: other[question(messages).split("?")[0]])
    found = bars_ola.picture_questions(scenes, model)
    assert [one.score.value for one in found if one.score] == [1.0] * 10
    assert [one.verdict for one in found] == ["passed"] + [""] * 9
    assert [one.what for one in found[1:5]] == ["– colour", "– how many", "– what", "– where"]
    assert found[0].interval is None  # forty right answers do not prove that all are


def test_one_answer_to_everything_is_right_for_its_kind_only(scenes: Path) -> None:
    model: Any = Answering(lambda _: "red")
    found = bars_ola.picture_questions(scenes, model)
    assert [one.score.value for one in found[:5] if one.score] == [0.25, 1, 0, 0, 0]
    assert found[0].verdict == "missed"
    assert found[0].missed_by == pytest.approx(0.45)
    ends = found[0].interval
    assert ends is not None
    assert 0.1 < ends.low < 0.25 < ends.high < 0.42


def test_a_question_that_fails_is_wrong(scenes: Path) -> None:
    def says(messages: Sequence[Message]) -> str:
        if question(messages).endswith(" 0"):
            raise MediaError("no picture")
        return RIGHT[question(messages).split("?")[0]]

    model: Any = Answering(says)
    found = bars_ola.picture_questions(scenes, model)
    assert found[0].score is not None
    assert found[0].score.value == 39 / 40


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    path = tmp_path / "clips" / "a.mp4"
    path.write_bytes(b"")
    removed = {
        "test": VideoPart(video=path),
        "test_sound_removed": VideoPart(video=path, use_audio=False),
        "test_picture_removed": AudioPart(audio=path, transcript=""),
    }
    for name, part in removed.items():
        rows = [
            asked(
                str(number),
                (part, TextPart(text=f"Right? {number}")),
                "yes" if number % 4 else "no",
                needs="both" if number < 20 else "sound",
            )
            for number in range(24)
        ]
        write_manifest(rows, tmp_path / "clips" / f"{name}.jsonl")
    return tmp_path


def test_a_model_that_needs_both_passes_and_a_guesser_does_not(clips: Path) -> None:
    def uses_both(messages: Sequence[Message]) -> str:
        part = messages[-1].parts[0]
        number = int(question(messages).split()[-1])
        if isinstance(part, VideoPart) and part.use_audio:
            return "yes" if number % 4 else "no"
        return "no"

    model: Any = Answering(uses_both)
    found = bars_ola.video_questions(clips, model)
    assert [len(one.score or ()) for one in found] == [20, 20, 20]
    assert [one.score.value for one in found if one.score] == [1.0, 0.25, 0.25]
    assert [one.verdict for one in found] == ["passed"] * 3
    guesser: Any = Answering(lambda _: "yes")
    found = bars_ola.video_questions(clips, guesser)
    assert [one.verdict for one in found] == ["passed", "missed", "missed"]
    assert found[1].missed_by == pytest.approx(0.35)


# --- text ability --------------------------------------------------------------------------


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    (tmp_path / "instructions").mkdir()
    rows = [asked(str(i), f"What is {i}?", f"It is {i} " * (1 + i % 3)) for i in range(6)]
    for name in ("test", "test_human"):
        write_manifest(rows, tmp_path / "instructions" / f"{name}.jsonl")
    return tmp_path


def test_a_model_forgets_nothing_of_itself(texts: Path) -> None:
    model = OlaModel(*tiny.ola())
    found = bars_ola.text_ability(texts, model, model)
    assert [one.score.value for one in found if one.score] == [0.0, 0.0]
    assert found[0].verdict == "passed"


def test_forgetting_is_the_relative_change_of_the_nll(texts: Path) -> None:
    trained, original = OlaModel(*tiny.ola(seed=1)), OlaModel(*tiny.ola(seed=0))
    rows = bars_ola.conversation_rows(texts / bars_ola.INSTRUCTIONS)
    before, after = (
        [one.output["nll"] for one in Perplexity().predict(model, rows)]
        for model in (original, trained)
    )
    change = sum(after) / sum(before) - 1
    forward = bars_ola.forgetting(rows, trained, original)
    back = bars_ola.forgetting(rows, original, trained)
    assert forward.value == pytest.approx(change)
    assert back.value == pytest.approx(1 / (1 + change) - 1)
    worse, better = (trained, original) if change > 0 else (original, trained)
    assert bars_ola.text_ability(texts, worse, better)[0].verdict == "missed"
    assert bars_ola.text_ability(texts, better, worse)[0].verdict == "passed"


def test_a_row_that_cannot_be_scored_is_named() -> None:
    row = ConversationRow("lost", (Message(role="user", content="Who answers?"),))
    with pytest.raises(DataError, match="lost: "):
        bars_ola.answer_nll([row], OlaModel(*tiny.ola()))


def test_an_assistants_model_in_torch_is_the_model() -> None:
    model, processor = tiny.ola(speech=True)
    rows = [asked("a", "Hello?", "Hello!"), asked("b", (AudioPart(audio=fakes.tone()),), "A tone")]
    wanted = bars_ola.answer_nll(rows, OlaModel(model, processor))
    again = bars_ola.in_torch(fakes.assistant(speech=True))
    np.testing.assert_allclose(bars_ola.answer_nll(rows, again), wanted, rtol=1e-5)


def test_the_original_stands_in_the_same_form(texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = tiny.ola(seed=0)[0], OlaModel(*tiny.ola(seed=1))
    language_model = model.language_model
    found: list[Any] = []

    class Loader:
        @staticmethod
        def from_pretrained(folder: Path, **settings: Any) -> Any:
            found.append((folder / settings["gguf_file"]).name)
            return language_model

    monkeypatch.setattr(bars_ola, "AutoModelForCausalLM", Loader)
    monkeypatch.setattr(bars_ola, "fetch_part", lambda name: Path("nowhere"))
    rows = bars_ola.conversation_rows(texts / bars_ola.INSTRUCTIONS)
    original = bars_ola.with_original(other)
    wanted = bars_ola.answer_nll(rows, OlaModel(model, other.processor))
    np.testing.assert_allclose(bars_ola.answer_nll(rows, original), wanted, rtol=1e-5)
    assert found == ["SmolLM2-135M-Instruct.Q4_1.gguf"]
    assert original.processor is other.processor


def test_the_command_measures_what_is_asked_for(
    scenes: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Answering(lambda messages: RIGHT[question(messages).split("?")[0]])
    named = []
    monkeypatch.setattr(bars_ola, "load_assistant", lambda name: named.append(name) or model)
    bars.main([str(scenes), "--ola", "mine", "--only", "questions", "video"])
    table = capsys.readouterr().out
    assert named == ["mine"]
    assert "Passed 1 of 1 bars." in table
    assert "| not measured |" in table  # the clips
    assert "clips" in table
