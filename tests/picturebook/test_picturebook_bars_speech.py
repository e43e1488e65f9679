"""The bars of the connector's own ear, with tiny models and scripted ones."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakes
import numpy as np
import pytest
import tiny
import torch
from one_thread import one_thread  # noqa: F401 -- a fixture
from safetensors.torch import save_file

from unisono.conversation import AudioPart, Message
from unisono.errors import CheckpointError
from unisono.evaluation.tasks.perplexity import OlaModel
from unisono.manifests import ConversationRow, PairRow, write_manifest
from unisono.picturebook import bars_speech
from unisono.speech import wav_bytes

SAID = ("one dog", "two cats and a bird", "the red house")


class Hearing:
    """Stands for an assistant: transcripts and typed answers that are known."""

    def __init__(self, hears: Callable[[str], str], answers: str = "four") -> None:
        self.hears, self.answers = hears, answers
        self.prompts: set[str] = set()

    def chat(self, text: str, *, audio: Any = None, **_: Any) -> Any:
        self.prompts.add(text)
        said = self.answers if audio is None else self.hears(Path(audio).stem)
        return SimpleNamespace(text=said)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("picturebook")
    for split in bars_speech.SPLITS:
        path = folder / split
        path.parent.mkdir(exist_ok=True)
        rows = [
            PairRow(text, text=text, audio=_tone(path.with_suffix("") / f"{text}.wav", place))
            for place, text in enumerate(SAID)
        ]
        write_manifest(rows, path)
    (folder / "spoken_questions").mkdir()
    write_manifest(_questions(folder / "spoken_questions"), folder / bars_speech.SPOKEN)
    return folder


def _tone(path: Path, place: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wav_bytes(fakes.tone(0.5 + place / 4, hz=200 + 100 * place), 16_000))
    return path


def _questions(folder: Path) -> Iterator[ConversationRow]:
    for place, text in enumerate(SAID):
        sound = AudioPart(audio=_tone(folder / "test" / f"{text}.wav", place), transcript=text)
        messages = (
            Message(role="user", content=(sound,)),
            Message(role="assistant", content=f"{place} it is"),
        )
        yield ConversationRow(text, messages, {"typed": f"{text.capitalize()}?"})


# --- what is said --------------------------------------------------------------------------


def test_a_model_that_hears_every_word_passes(data: Path) -> None:
    model: Any = Hearing(str.upper)
    found = bars_speech.by_answers(data, model)
    assert [one.score.value for one in found if one.score] == [0.0, 0.0]
    assert [one.verdict for one in found] == ["passed", "passed"]
    assert model.prompts == {"What is said?"}


def test_wrong_words_are_counted(data: Path) -> None:
    model: Any = Hearing(lambda said: said.replace("cats", "bats"))
    found = bars_speech.by_answers(data, model)
    assert [one.score.value for one in found if one.score] == [1 / 10] * 2
    assert [one.verdict for one in found] == ["passed"] * 2
    deaf: Any = Hearing(lambda said: "")
    found = bars_speech.by_answers(data, deaf)
    assert [one.verdict for one in found] == ["missed"] * 2
    assert found[0].missed_by == pytest.approx(0.88)
    assert found[1].missed_by == pytest.approx(0.80)


# --- the connector alone -------------------------------------------------------------------


def stage(folder: Path, text: str, **changes: torch.Tensor) -> Path:
    """The end of a stage whose connector can say the bytes of a text."""
    model, processor = tiny.ola(speech=True, hearing="connector")
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    width = model.config.text_config.hidden_size
    state = {
        "tokens": torch.tensor(sorted(set(processor.tokenizer.encode(text)))),
        "blank.weight": torch.zeros(1, width),
        "blank.bias": torch.full((1,), -1e6),
        "log_scale": torch.tensor(0.0),
    }
    save_file(state | changes, folder / bars_speech.ALIGNMENT)
    return folder


def test_the_connector_says_what_its_outputs_are_nearest_to(data: Path, tmp_path: Path) -> None:
    aligned = bars_speech.load_aligned(stage(tmp_path, "abcdefgh"))
    rows = bars_speech.pair_rows(data / bars_speech.NEW_VOICE)
    samples = bars_speech.load_audio(rows[1].audio)
    processor = aligned.model.processor
    opened = processor.opener().open(AudioPart(audio=samples))
    (frames,) = aligned.alignment.frames(**processor.media_tensors(opened.spans))
    with torch.inference_mode():
        words = aligned.alignment.words
        nearest = torch.cdist(frames, words).argmin(dim=-1).tolist()
    merged = [one for place, one in enumerate(nearest) if [one] != nearest[place - 1 : place]]
    letters = "".join("abcdefgh"[place] for place in merged)
    assert letters
    heard = bars_speech.transcript(aligned, rows[1])
    assert letters.startswith(heard)
    assert heard


def test_blanks_say_nothing_and_one_word_is_said_once(data: Path, tmp_path: Path) -> None:
    silent = stage(tmp_path / "silent", "abc", **{"blank.bias": torch.full((1,), 1e6)})
    found = bars_speech.by_ctc(data, bars_speech.load_aligned(silent))
    assert [one.score.value for one in found if one.score] == [1.0, 1.0]
    assert [one.verdict for one in found] == ["missed", "missed"]
    rows = bars_speech.pair_rows(data / bars_speech.HUMAN)
    one_word = bars_speech.load_aligned(stage(tmp_path / "one", "x"))
    assert [bars_speech.transcript(one_word, row) for row in rows] == ["x"] * 3


def test_an_alignment_that_lacks_something_is_refused(tmp_path: Path) -> None:
    folder = stage(tmp_path, "abc")
    state = {"tokens": torch.tensor([97]), "log_scale": torch.tensor(0.0)}
    save_file(state, folder / bars_speech.ALIGNMENT)
    with pytest.raises(CheckpointError, match=r"has no blank\.bias"):
        bars_speech.load_aligned(folder)
    (folder / bars_speech.ALIGNMENT).unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        bars_speech.load_aligned(folder)


# --- spoken as typed -----------------------------------------------------------------------


def test_typed_twice_makes_no_difference() -> None:
    model = OlaModel(*tiny.ola())
    rows = [_typed("a", "Which one?"), _typed("b", "How many are there?")]
    score = bars_speech.difference(rows, ["this", "four of them"], model)
    assert score.amounts == pytest.approx([0, 0], abs=1e-4)
    assert score.weights.tolist() == [len("this") + 1, len("four of them") + 1]
    assert not score.percent


def _typed(name: str, text: str) -> ConversationRow:
    messages = (Message(role="user", content=text), Message(role="assistant", content="?"))
    return ConversationRow(name, messages, {"typed": text})


def test_the_difference_is_that_of_the_nlls_per_token(data: Path) -> None:
    model = OlaModel(*tiny.ola(speech=True, hearing="connector"))
    rows = bars_speech.conversation_rows(data / bars_speech.SPOKEN)
    answers = ["yes", "no", "maybe"]
    score = bars_speech.difference(rows, answers, model)
    spoken, typed = (_nll(model, rows, answers, spoken=spoken) for spoken in (True, False))
    tokens = sum(len(answer) + 1 for answer in answers)
    assert score.value == pytest.approx((spoken - typed) / tokens, rel=1e-4)
    assert abs(score.value) > 0.01


def _nll(
    model: OlaModel, rows: Sequence[ConversationRow], answers: Sequence[str], *, spoken: bool
) -> float:
    talks = []
    for row, answer in zip(rows, answers, strict=True):
        asked = row.messages[0] if spoken else Message(role="user", content=row.fields["typed"])
        talks.append(ConversationRow("x", (asked, Message(role="assistant", content=answer))))
    return float(np.sum(bars_speech.answer_nll(talks, model)[:, 0]))


def test_only_questions_heard_right_are_compared(data: Path) -> None:
    in_torch = OlaModel(*tiny.ola(speech=True, hearing="connector"))
    model: Any = Hearing(lambda said: said.replace("red", "bed"))
    own, right = bars_speech.spoken_as_typed(data, model, in_torch)
    assert own.score is not None
    assert own.score.names == ("test.jsonl:1", "test.jsonl:2")
    assert own.bar is not None
    assert own.verdict in ("passed", "missed")
    assert right.score is not None
    assert right.score.weights.tolist() == [len("0 it is") + 1, len("1 it is") + 1]
    deaf: Any = Hearing(lambda said: "")
    (nothing,) = bars_speech.spoken_as_typed(data, deaf, in_torch)
    assert nothing.verdict == "not measured"
    assert nothing.note == "No question of the split was heard right."
