"""Tasks over tiny models, scripted ones and real small media."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
import recordings
import tiny
from one_thread import one_thread  # noqa: F401 -- a fixture

import unisono
from unisono.conversation import Message
from unisono.errors import DataError, ModelConfigError, RecipeError, UnknownModelError
from unisono.evaluation import TASKS, Prediction, make_task
from unisono.evaluation.tasks.perplexity import OlaModel
from unisono.manifests.row import ConversationRow, PairRow, Row
from unisono.runtime import Embedder
from unisono.runtime.embedder import Embedded

QUESTIONS = Path(__file__).parents[2] / "examples" / "questions"


def asked(name: str, question: Any, answer: str, **fields: Any) -> ConversationRow:
    messages = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return ConversationRow(name, messages, fields)


# --- answers -------------------------------------------------------------------------------


def test_answers_are_matched_and_failures_counted() -> None:
    broken = ({"type": "audio", "audio": b"no sound"}, {"type": "text", "text": "What is it?"})
    rows: list[Row] = [
        asked("a", "Which colour?", "Blue"),
        asked("b", "Which colour?", "It is red"),
        asked("c", "How many?", "none", answers=["the sky is blue", "x"]),
        asked("d", broken, "Blue"),
        PairRow("e", text="Blue"),
        ConversationRow("f", (Message(role="user", content="Blue?"),)),
        asked("g", "Which?", "Blue", answers="Blue"),
        asked("h", "Which?", ""),
    ]
    task = make_task("answers", max_tokens="30")
    found = task.predict(fakes.scripted(fakes.ScriptedEngine("The sky is blue.")), rows)
    assert [one.name for one in found] == list("abcdefgh")
    assert found[0].output == {"target": ["Blue"], "answer": "The sky is blue."}
    assert [one.counted for one in found] == [True, True, True, True, False, False, False, True]
    assert found[3].error
    assert "conversation" in str(found[4].error)
    assert "must end with the assistant" in str(found[5].error)
    assert 'the field "answers"' in str(found[6].error)
    scores = task.score(found)
    assert scores["exact_match"].names == ("a", "b", "c", "d", "h")
    assert scores["exact_match"].amounts.tolist() == [0, 0, 1, 0, 0]
    assert scores["contains"].amounts.tolist() == [1, 0, 1, 0, 0]


def test_answers_see_the_turns_before_and_not_the_answer() -> None:
    turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "And you?"), ("assistant", "SECRET")]
    row = ConversationRow("a", tuple(Message(role=r, content=t) for r, t in turns))
    seen: list[Any] = []

    class Spy:
        def stream(self, messages: Sequence[Message], **settings: Any) -> Iterator[Any]:
            seen.append((messages, settings))
            return fakes.scripted(fakes.ScriptedEngine("Fine")).stream(messages, **settings)

    (found,) = make_task("answers", max_tokens=2).predict(Spy(), [row])
    assert found.output == {"target": ["SECRET"], "answer": "Fi"}
    assert seen == [(row.messages[:-1], {"max_new_tokens": 2, "temperature": 0.0})]


def test_answers_of_a_real_tiny_model_to_pictures() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    content = ({"type": "image", "image": picture}, {"type": "text", "text": "What?"})
    (found,) = make_task("answers", max_tokens=5).predict(
        fakes.assistant(vision=True), [asked("a", content, "A cat")]
    )
    assert found.error is None
    assert isinstance(found.output["answer"], str)


# --- transcription -------------------------------------------------------------------------


def speech(name: str, text: str | None, audio: Any) -> PairRow:
    return PairRow(name, text=text, audio=audio)


def test_transcription_by_the_listener() -> None:
    sound = str(QUESTIONS / "01-sky.ogg")
    rows = [
        speech("a", "What color is the sky?", sound),
        speech("b", "What colour is this guy", sound),
        speech("c", "nothing at all", "missing.ogg"),
        speech("d", None, sound),
        PairRow("e", text="no sound"),
    ]
    listener = fakes.FakeListener("what colour is the sky")
    model = fakes.assistant(listener=listener, hearing="listener")
    task = make_task("transcription")
    found = task.predict(model, rows)
    assert listener.calls == 2
    assert [one.counted for one in found] == [True, True, True, False, False]
    assert "missing.ogg" in str(found[2].error)
    scores = task.score(found)
    assert scores["wer"].amounts.tolist() == [0, 2, 3]
    assert scores["wer"].weights.tolist() == [5, 5, 3]
    assert scores["cer"].amounts[2] == len("nothing at all")


def test_transcription_by_the_assistant() -> None:
    rows = [speech("a", "hello", recordings.make_audio(seconds=0.5))]
    listener = fakes.FakeListener("hello")
    model = fakes.assistant(speech=True, sound=True, listener=listener, hearing="connector")
    (heard,) = make_task("transcription", max_tokens=4).predict(model, rows)
    assert heard.error is None
    assert listener.calls == 0
    reply = model.chat(
        make_task("transcription").prompt, audio=rows[0].audio, max_new_tokens=4, temperature=0.0
    )
    assert heard.output["heard"] == reply.text
    (forced,) = make_task("transcription", by="listener").predict(model, rows)
    assert forced.output["heard"] == "hello"


@pytest.mark.slow
def test_the_real_listener_hears_the_recordings(nano: Any) -> None:
    lines = (QUESTIONS / "questions.jsonl").read_text().splitlines()
    rows = [
        speech(one["id"], one["text"], str(QUESTIONS / f"{one['id']}.ogg"))
        for one in map(json.loads, lines)
    ]
    task = make_task("transcription")
    assert task.score(task.predict(nano, rows))["wer"].value < 0.1


# --- retrieval -----------------------------------------------------------------------------


@dataclass
class Oracle:
    """Embeds "17" and the sound of 17 samples alike, and every number differently."""

    width: int = 64

    def embed_each(self, items: Iterable[dict[str, Any]]) -> Iterator[Embedded]:
        for index, item in enumerate(items):
            number = int(item["text"]) if "text" in item else len(item["audio"])
            vector = np.random.default_rng(number).normal(size=self.width).astype(np.float32)
            yield Embedded(index, vector / np.linalg.norm(vector))


def numbered(pairs: Iterable[tuple[int, int]]) -> list[Row]:
    return [
        PairRow(f"r:{i}", text=str(text), audio=np.zeros(sound, np.float32))
        for i, (text, sound) in enumerate(pairs)
    ]


def recalls(rows: list[Row]) -> dict[str, float]:
    task = make_task("retrieval")
    scores = task.score(task.predict(Oracle(), rows))
    return {name: score.value for name, score in scores.items()}


def test_retrieval_finds_what_belongs_together_and_shuffled_pairs_only_by_chance() -> None:
    count = 200
    whole = recalls(numbered((i, i) for i in range(1, count + 1)))
    for direction in ("audio_to_text", "text_to_audio"):
        assert whole[f"{direction}/recall@1"] == 1.0
        assert whole[f"{direction}/median_rank"] == 1.0
    shuffled = np.random.default_rng(0).permutation(count) + 1
    chance = recalls(numbered(zip(range(1, count + 1), shuffled.tolist(), strict=True)))
    for direction in ("audio_to_text", "text_to_audio"):
        for k in (1, 5, 10):
            # Four standard errors of 200 draws at most.
            assert abs(chance[f"{direction}/recall@{k}"] - k / count) < 0.062
        assert chance[f"{direction}/mean_rank"] == pytest.approx((count + 1) / 2, abs=17)


def test_several_captions_of_a_sound_are_all_right() -> None:
    # Sound 1 has captions 1, 3 and 5, of which only 1 is like it; caption 3 belongs to 2 sounds.
    task = make_task("retrieval", at=[1])
    rows = numbered([(1, 1), (3, 1), (5, 1), (3, 3), (4, 4)])
    scores = task.score(task.predict(Oracle(), rows))
    assert scores["audio_to_text/recall@1"].names == ("r:0", "r:3", "r:4")
    assert scores["audio_to_text/recall@1"].amounts.tolist() == [1, 1, 1]
    assert scores["text_to_audio/recall@1"].names == ("r:0", "r:1", "r:2", "r:4")
    found = scores["text_to_audio/recall@1"].amounts.tolist()
    assert found[:2] == [1, 1]
    assert found[3] == 1


def naive_recall(queries: np.ndarray, gallery: np.ndarray, right: list[set[int]], k: int) -> float:
    """One query after another, with nothing but sorting."""
    hits = 0
    for query, own in zip(queries, right, strict=True):
        order = sorted(range(len(gallery)), key=lambda place: -float(query @ gallery[place]))
        hits += bool(own & set(order[:k]))
    return hits / len(queries)


@dataclass
class Noisy(Oracle):
    """As the oracle, with noise of its own on each kind; a picture is as many columns."""

    def embed_each(self, items: Iterable[dict[str, Any]]) -> Iterator[Embedded]:
        for index, item in enumerate(items):
            ((kind, source),) = item.items()
            number = int(source) if kind == "text" else np.asarray(source).shape[-1]
            own = np.random.default_rng([number, ord(kind[0])]).normal(size=self.width)
            vector = np.random.default_rng(number).normal(size=self.width) + 2 * own
            yield Embedded(index, (vector / np.linalg.norm(vector)).astype(np.float32))


def test_media_find_each_other_alone_and_with_the_text() -> None:
    count = 60
    rows: list[Row] = [
        PairRow(
            f"r:{i}",
            text=str(i),
            audio=np.zeros(i, np.float32),
            image=np.zeros((3, i), np.uint8),
        )
        for i in range(1, count + 1)
    ]
    task = make_task("retrieval")
    scores = task.score(task.predict(Noisy(), rows))

    def embedded(kind: str, source: Any) -> np.ndarray:
        (one,) = Noisy().embed_each([{kind: source}])
        assert one.vector is not None
        return one.vector

    texts = np.stack([embedded("text", row.text) for row in rows])
    sounds = np.stack([embedded("audio", row.audio) for row in rows])
    pictures = np.stack([embedded("image", row.image) for row in rows])
    own = [{place} for place in range(count)]
    for k in (1, 5, 10):
        alone = naive_recall(sounds, pictures, own, k)
        assert scores[f"audio_to_image/recall@{k}"].value == pytest.approx(alone)
        together = naive_recall(sounds + texts, pictures, own, k)
        assert scores[f"audio+text_to_image/recall@{k}"].value == pytest.approx(together)
        assert scores[f"image_to_text/recall@{k}"].value == pytest.approx(
            naive_recall(pictures, texts, own, k)
        )
    assert scores["audio+text_to_image/recall@1"].value > scores["audio_to_image/recall@1"].value
    assert scores["audio_to_image/chance@1"].value == pytest.approx(1 / count)
    assert scores["audio_to_image/p_by_chance"].value < 1e-3


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder(*tiny.onepeace(), name="tiny")


def test_retrieval_with_a_real_tiny_model(embedder: Embedder) -> None:
    random = np.random.default_rng(0)
    rows: list[Row] = [
        PairRow(
            f"r:{i}",
            text=f"caption {i}",
            image=random.integers(0, 256, (30, 30, 3), dtype=np.uint8),
            audio=recordings.make_audio(seconds=0.2 + i / 20) if i < 4 else None,
        )
        for i in range(6)
    ]
    rows += [
        PairRow("bad", text="x", audio=b"no sound"),
        PairRow("no text", audio=b""),
        PairRow("no media", text="x"),
    ]
    task = make_task("retrieval")
    found = task.predict(embedder, rows)
    assert [one.counted for one in found] == [True] * 6 + [False] * 3
    alone = task.predict(embedder, rows[2:3])[0].output
    assert alone["media"].keys() == {"image", "audio"}
    scores = task.score(found)
    # To and from texts; between the media, with chance and its probability; with the text.
    assert len(scores) == 4 * 5 + 2 * (5 + 2) + 2 * 5
    assert len(scores["text_to_image/recall@1"]) == 6
    assert len(scores["text_to_audio/recall@1"]) == 4
    texts = embedder.embed(text=[row.text for row in rows[:6]])
    images = embedder.embed(image=[row.image for row in rows[:6]])
    first = np.argmax(texts @ images.T, axis=1) == np.arange(6)
    assert scores["text_to_image/recall@1"].amounts.tolist() == first.tolist()


def test_retrieval_of_nothing_is_an_error() -> None:
    with pytest.raises(DataError, match="no row has a text and a medium"):
        make_task("retrieval").score([Prediction("a", error="x")])


# --- perplexity ----------------------------------------------------------------------------


def test_perplexity_does_not_depend_on_the_batch() -> None:
    model = OlaModel(*tiny.ola(vision=True))
    picture = np.zeros((40, 40, 3), dtype=np.uint8)
    seen = ({"type": "image", "image": picture}, {"type": "text", "text": "?"})
    rows: list[Row] = [
        asked("a", "Hi", "Hello you"),
        asked("b", seen, "black"),
        asked("c", "long " * 20, "short"),
        PairRow("d", text="x"),
        asked("e", ({"type": "image", "image": b"none"},), "x"),
    ]
    task = make_task("perplexity")
    together = task.predict(model, rows)
    one_by_one = [task.predict(model, [row])[0] for row in rows]
    assert [one.name for one in together] == list("abcde")
    assert [one.counted for one in together] == [True, True, True, False, False]
    for one, other in zip(together[:3], one_by_one[:3], strict=True):
        assert one.output["tokens"] == other.output["tokens"]
        assert one.output["nll"] == pytest.approx(other.output["nll"], rel=1e-5)
    score = task.score(together)["perplexity"]
    nll, tokens = score.amounts.sum(), score.weights.sum()
    assert tokens == len("Hello you") + len("black") + len("short") + 3
    assert score.value == pytest.approx(np.exp(nll / tokens))
    assert not score.higher_is_better


def test_perplexity_loads_a_folder(tmp_path: Path) -> None:
    model, processor = tiny.ola()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    task = make_task("perplexity")
    rows = [asked("a", "Hi", "Hello you")]
    loaded = task.predict(task.load(str(tmp_path)), rows)
    assert loaded[0].output["nll"] == pytest.approx(
        task.predict(OlaModel(model, processor), rows)[0].output["nll"], rel=1e-5
    )
    with pytest.raises(UnknownModelError, match="there is no folder 'nothing'"):
        task.load("nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelConfigError, match="no Ola model can be read"):
        task.load(str(tmp_path / "empty"))


# --- the registry --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("chess", {}, "no task 'chess'; there are answers, transcription, retrieval, perplexity"),
        ("retrieval", {"at": "1,0"}, "setting 'at.1'"),
        ("retrieval", {"kinds": "smell"}, "setting 'kinds.0'"),
        ("answers", {"max_tokens": "many"}, "setting 'max_tokens'"),
        ("answers", {"tokens": 3}, "setting 'tokens': .*its settings are batch_size, max_tokens"),
    ],
)
def test_a_wrong_task_is_one_clear_line(name: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        make_task(name, **settings)


def test_every_task_tells_its_settings_apart() -> None:
    for name, kind in TASKS.items():
        assert make_task(name).settings() == make_task(name, batch_size=3).settings()
        assert kind.__doc__
    assert make_task("answers").settings() != make_task("answers", max_tokens=3).settings()


def test_the_task_of_the_documentation_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    loud = fakes.scripted(fakes.ScriptedEngine("LOUD"))
    monkeypatch.setattr(unisono, "load", lambda name: loud)
    names: dict[str, Any] = {"rows": [PairRow("a", text="Hi")], "out": tmp_path, "__name__": "doc"}
    for block in blocks:
        if "mteb" not in block:  # fetches what it measures; tests/evaluation/test_mteb.py
            exec(block, names)
    assert json.loads((tmp_path / "results.json").read_text())["scores"]["capitals"]["value"] == 1
