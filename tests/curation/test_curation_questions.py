"""Templates, models that write and judge, and splits that do not leak."""

import json
from collections.abc import Sequence

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unisono.curation import chat
from unisono.curation.chat import Endpoint
from unisono.curation.judge import is_right
from unisono.curation.label import PICTURES
from unisono.curation.model_writer import ModelWriter, read_questions
from unisono.curation.records import Label, Labels, Question, Sentence, Subtitles
from unisono.curation.splits import SHARES, assign
from unisono.curation.stage import Model
from unisono.curation.templates import Templates
from unisono.curation.writers import Evidence, in_turn
from unisono.errors import DataError, EngineError


def evidence(id_: str = "1", said: str = "Hello from the garden.", sound: str = "dog") -> Evidence:
    labels = Labels((Label("tree", 0.9), Label("car", 0.05)), (Label(sound, 0.9),))
    sentences = (Sentence(said, 0, 1),) if said else ()
    return Evidence(id_, [b"frame"], b"sound", Subtitles(sentences, "en"), labels)


@given(st.text(max_size=8))
def test_neither_half_tells_what_fits(id_: str) -> None:
    written = {one.form: one for one in Templates().write(evidence(id_)) if not one.group}
    fits = written["fits"]
    assert fits.answer in fits.choices
    assert len(set(fits.choices)) == 4
    halves = [choice[3:].split(", and ", 1) for choice in fits.choices]
    right = fits.answer[3:].split(", and ", 1)
    assert right[0] == "tree"
    assert sum(see == right[0] for see, _ in halves) == 2
    assert sum(hear == right[1] for _, hear in halves) == 2
    which = written["which"]
    assert which.answer == "tree"
    assert len(set(which.choices)) == 4 <= len(PICTURES)


def test_a_yes_and_a_no_of_the_same_words() -> None:
    yes, no = (one for one in Templates().write(evidence()) if one.group == "word")
    assert (yes.answer, no.answer) == ("Yes.", "No.")
    assert any(f"“{word}”" in yes.text for word in ("hello", "from", "garden"))
    assert Templates().write(evidence("7")) == Templates().write(evidence("7"))


def test_nothing_is_asked_of_what_is_not_known() -> None:
    forms = {one.form for one in Templates().write(evidence(said=""))}
    assert forms == {"fits", "heard", "seen", "which"}
    unsure = Templates(least_picture=0.95).write(evidence(said="", sound="speech"))
    assert unsure == []


def test_kinds_take_turns_and_groups_stay_together() -> None:
    def asked(needs: str, form: str, group: str = "") -> Question:
        return Question(form, needs, "?", "!", (), group)

    pair = [asked("sound", "yes", "w"), asked("sound", "no", "w")]
    others = [asked("both", "1"), asked("both", "2"), asked("picture", "3")]
    assert [one.form for one in in_turn([*others, *pair], 9)] == ["1", "yes", "no", "3", "2"]
    assert [one.form for one in in_turn([*others, *pair], 2)] == ["1", "3"]


@pytest.mark.parametrize(
    ("said", "question", "right"),
    [
        ("A big tree.", Question("seen", "picture", "", "tree"), True),
        ("A big treehouse.", Question("seen", "picture", "", "tree"), False),
        ("", Question("seen", "picture", "", "tree"), False),
        ("Yes, it is.", Question("w", "sound", "", "Yes.", ("Yes.", "No.")), True),
        ("Yes or no?", Question("w", "sound", "", "Yes.", ("Yes.", "No.")), False),
        ("hello from garden", Question("said", "sound", "", "Hello from the garden!"), True),
        ("hello", Question("said", "sound", "", "Hello from the garden!"), False),
    ],
)
def test_answers_are_judged(said: str, question: Question, right: bool) -> None:
    assert is_right(said, question) is right


@pytest.mark.parametrize(
    ("said", "right"),
    [
        ("B", True),
        ("B. dog, and rain", True),
        ("The answer is B.", True),
        ("dog, and rain", True),
        ("A. cat, and rain", False),
        ("A dog, and rain", True),
        ("B or A", False),
        ("I cannot tell", False),
    ],
)
def test_choices_are_judged_by_letter_or_words(said: str, right: bool) -> None:
    choices = ("A. cat, and rain", "B. dog, and rain", "C. dog, and wind")
    question = Question("fits", "both", "", choices[1], choices)
    assert is_right(said, question) is right


def test_questions_in_a_models_words() -> None:
    good = {"question": "Who speaks?", "answer": "A man.", "needs": "both"}
    bad = [{**good, "needs": "luck"}, {**good, "answer": ""}, {"question": 1}, [1], "x"]
    said = f"Sure! {json.dumps([good, *bad])}\nAnd: {json.dumps(good)} {{broken"
    assert list(read_questions(said)) == [Question("model", "both", "Who speaks?", "A man.")] * 2
    assert list(read_questions("I would rather not.")) == []


class Scripted:
    senses = frozenset({"picture", "sound"})
    asked: list[str]

    def ask(self, text: str, *, frames: Sequence[bytes] = (), sound: bytes | None = None) -> str:
        self.asked = [text, *map(str, frames), str(sound)]
        return json.dumps([{"question": "Q?", "answer": "A.", "needs": "sound"}] * 9)


def test_a_model_is_told_what_is_known() -> None:
    scripted = Scripted()
    written = ModelWriter(Model("s", "1", lambda: scripted), 3).write(evidence("model writes"))
    assert len(written) == 3
    assert "0.0: Hello from the garden." in scripted.asked[0]
    assert "tree, car" in scripted.asked[0]
    assert scripted.asked[1:] == ["b'frame'", "b'sound'"]


def test_a_server_is_asked_in_openais_form(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict] = []
    answers = [httpx.Response(503), httpx.ConnectError("no route"), {"content": "a tree"}]

    def post(url: str, **given: object) -> httpx.Response:
        sent.append({"url": url, **given})
        answer = answers[len(sent) - 1]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        return httpx.Response(200, json={"choices": [{"message": answer}]})

    monkeypatch.setattr(chat.httpx, "post", post)
    monkeypatch.setattr(chat, "_PAUSE_S", 0)
    server = Endpoint("http://here/v1/", "big", "secret", most_frames=2)
    assert server.ask("What?", frames=[b"1", b"2", b"3"], sound=b"w") == "a tree"
    assert "secret" not in repr(server)
    body, headers = sent[-1]["json"], sent[-1]["headers"]
    assert sent[-1]["url"] == "http://here/v1/chat/completions"
    assert headers == {"Authorization": "Bearer secret"}
    content = body["messages"][0]["content"]
    kinds = [part["type"] for part in content]
    assert kinds == ["image_url", "image_url", "input_audio", "text"]


@pytest.mark.parametrize(
    ("response", "says"),
    [
        (httpx.Response(401, text="who are you"), "HTTP 401: who are you"),
        (httpx.Response(200, json={"no": "choices"}), "HTTP 200"),
        (httpx.Response(503), "does not answer: HTTP 503"),
    ],
)
def test_a_server_that_fails(
    monkeypatch: pytest.MonkeyPatch, response: httpx.Response, says: str
) -> None:
    monkeypatch.setattr(chat.httpx, "post", lambda *_, **__: response)
    monkeypatch.setattr(chat, "_PAUSE_S", 0)
    with pytest.raises(EngineError, match=says):
        Endpoint("http://here/v1", "big").ask("What?")


names = st.integers(0, 60).map(lambda number: f"v{number}")


@given(st.sets(names, min_size=1), st.lists(st.tuples(names, names), max_size=20))
def test_linked_videos_share_a_split(sources: set[str], linked: list[tuple[str, str]]) -> None:
    split_of = assign(sources, linked, {"train": 0.5, "test": 0.5})
    assert set(split_of) == sources
    for first, second in linked:
        if {first, second} <= sources:
            assert split_of[first] == split_of[second]
    alone = assign(sources, [])
    more = assign(sources | {"another"}, [])
    assert all(more[one] == split for one, split in alone.items())


def test_shares_are_about_as_wished() -> None:
    split_of = assign(map(str, range(4000)), [])
    for name, share in SHARES.items():
        assert list(split_of.values()).count(name) / 4000 == pytest.approx(share, abs=0.02)
    with pytest.raises(DataError, match="must sum to 1"):
        assign(["a"], [], {"train": 0.5})
