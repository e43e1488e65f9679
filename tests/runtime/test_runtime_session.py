"""A session reads nothing twice, and answers as a fresh conversation would."""

from unittest.mock import Mock

import pytest
from fakes import FakeListener, FakeVoice, SpyEngine, assistant, tone

from unisono import Assistant, Finished, Session, TextDelta
from unisono.conversation import AudioPart, Message
from unisono.errors import ContextLengthError, ConversationError
from unisono.runtime import Reply

SETTINGS = {"max_new_tokens": 12}


def _spy(ours: Assistant) -> SpyEngine:
    engine = ours.reader.engine
    assert isinstance(engine, SpyEngine)
    return engine


def _fresh(ours: Assistant, messages: list[Message], **settings: object) -> Finished:
    """The same history without its tokens' cache."""
    *_, finished = ours.stream(messages, **{**SETTINGS, **settings})
    assert isinstance(finished, Finished)
    return finished


def _same(reply: Reply, fresh: Finished) -> None:
    assert reply.text == fresh.text
    assert reply.usage.prompt_tokens == fresh.usage.prompt_tokens
    assert fresh.usage.cached_tokens == 0


@pytest.mark.parametrize("seed", range(3))
def test_each_turn_reads_only_what_is_new(seed: int) -> None:
    ours = assistant(seed=seed)
    session = ours.session(system="Be kind.")
    for turn, question in enumerate(["hi", "and then?", "why?", "really?"]):
        history = [*session.messages, Message(role="user", content=question)]
        before = len(_spy(ours).rows_read)
        reply = session.chat(question, **SETTINGS)
        (rows,) = _spy(ours).rows_read[before:]
        assert rows == reply.usage.prompt_tokens - reply.usage.cached_tokens
        _same(reply, _fresh(ours, history))
        if turn:
            turn_text = (
                f"<|im_end|>\n<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
            )
            new = len(ours.reader.processor.tokenizer.encode(turn_text))
            # A cut answer's last token was never read: nothing came after it.
            assert rows in (new, new + 1), "the answer was read again"
            assert reply.usage.cached_tokens > 20


@pytest.mark.parametrize("hearing", ["connector", "both"])
def test_a_sound_is_encoded_and_heard_once(hearing: str) -> None:
    listener = FakeListener("a beep")
    ours = assistant(speech=True, sound=True, hearing=hearing, listener=listener)
    encoders = ours.reader.encoders
    assert encoders is not None
    encoders.each = Mock(wraps=encoders.each)  # type: ignore[method-assign]
    session = ours.session()
    session.chat("What is it?", audio=tone(1.2), **SETTINGS)
    session.chat("Are you sure?", **SETTINGS)
    history = [*session.messages, Message(role="user", content="And this?")]
    assert encoders.each.call_count == 1
    reply = session.chat("And this?", **SETTINGS)
    assert encoders.each.call_count == 1
    assert listener.calls == (hearing == "both")
    _same(reply, _fresh(ours, history))
    second = session.chat("And that?", audio=tone(0.6, hz=900), **SETTINGS)
    assert encoders.each.call_args.kwargs["audio_chunk_counts"].tolist() == [1], "the new one"
    assert second.usage.cached_tokens > reply.usage.prompt_tokens


def test_another_sound_in_its_place_is_read() -> None:
    """The cache is compared by what a sound is, not by how long it is."""
    ours = assistant(speech=True)
    session = ours.session()
    session.chat("What is it?", audio=tone(1.0, hz=300), **SETTINGS)
    session.messages = []
    reply = session.chat("What is it?", audio=tone(1.0, hz=600), **SETTINGS)
    assert reply.usage.cached_tokens == len("<|im_start|>user\n") - len("<|im_start|>") + 1
    parts = [{"type": "audio", "audio": tone(1.0, hz=600)}, {"type": "text", "text": "What is it?"}]
    _same(reply, _fresh(ours, [Message.model_validate({"role": "user", "content": parts})]))


def _stopped_after(session: Session, question: str, deltas: int, **options: object) -> str:
    stream = session.stream(question, **{"max_new_tokens": 40, **options})
    text = ""
    for _ in range(deltas):
        event = next(stream)
        if isinstance(event, TextDelta):
            text += event.text
    stream.close()
    return text


@pytest.mark.parametrize("seed", range(4))
def test_an_answer_stopped_half_way_stays_as_far_as_it_came(seed: int) -> None:
    ours = assistant(seed=seed)
    session = ours.session()
    text = _stopped_after(session, "Tell me a story", 4)
    assert [message.role for message in session.messages] == ["user", "assistant"]
    assert session.messages[1].parts[0].text == text != ""  # type: ignore[union-attr]
    history = [*session.messages, Message(role="user", content="go on")]
    reply = session.chat("go on", **SETTINGS)
    _same(reply, _fresh(ours, history))
    assert reply.usage.cached_tokens > 20


def test_stopping_a_spoken_answer_half_way() -> None:
    ours = assistant(voice=FakeVoice())
    session = ours.session()
    text = _stopped_after(session, "Tell me", 3, speech=True)
    assert session.messages[1].parts[0].text == text  # type: ignore[union-attr]


def test_a_stop_text_is_not_in_the_history_and_the_next_turn_is_right() -> None:
    ours = assistant()
    free = ours.chat("Tell me", **SETTINGS).text
    session = ours.session()
    cut = session.chat("Tell me", stop=(free[4:6],), **SETTINGS).text
    assert cut == free[: free.index(free[4:6])]
    assert session.messages[1].token_ids is None, "its tokens are more than its text"
    history = [*session.messages, Message(role="user", content="more")]
    _same(session.chat("more", **SETTINGS), _fresh(ours, history))


def test_a_stream_that_was_never_read_changes_nothing() -> None:
    session = assistant().session()
    session.stream("hi").close()
    assert session.messages == []


def test_a_refused_question_leaves_the_session_as_it_was() -> None:
    ours = assistant()
    session = ours.session()
    session.chat("hi", **SETTINGS)
    messages = session.messages
    for bad in ("", "x" * 3000):
        with pytest.raises((ConversationError, ContextLengthError)):
            list(session.stream(bad))
    assert session.messages is messages
    history = [*messages, Message(role="user", content="well?")]
    _same(session.chat("well?", **SETTINGS), _fresh(ours, history))


def test_an_error_while_reading_leaves_the_session_right(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = assistant()
    session = ours.session()
    session.chat("hi", **SETTINGS)
    history = [*session.messages, Message(role="user", content="well?")]
    with monkeypatch.context() as patched:
        patched.setattr(_spy(ours), "read", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            session.chat("something else", **SETTINGS)
    _same(session.chat("well?", **SETTINGS), _fresh(ours, history))


def test_sessions_do_not_disturb_each_other() -> None:
    ours = assistant()
    first, second = ours.session(), ours.session(system="Rhyme.")
    for question in ("hi", "why?"):
        for session in (first, second):
            history = [*session.messages, Message(role="user", content=question)]
            _same(session.chat(question, **SETTINGS), _fresh(ours, history))


def test_many_new_messages_at_once() -> None:
    ours = assistant()
    session = ours.session()
    messages = [
        Message(role="user", content="a"),
        Message(role="assistant", content="b"),
        Message(role="user", content="c"),
    ]
    *_, finished = session.stream(messages, **SETTINGS)
    assert [message.role for message in session.messages] == ["user", "assistant"] * 2
    assert isinstance(finished, Finished)
    assert finished.text == session.messages[-1].parts[0].text  # type: ignore[union-attr]


# --- a conversation that outgrows the context ---


def _questions(session: Session) -> list[str]:
    return [m.parts[0].text for m in session.messages if m.role == "user"]  # type: ignore[union-attr]


def test_the_oldest_turns_go_when_the_context_is_full() -> None:
    ours = assistant()
    _spy(ours).context_length = 300
    session = ours.session(system="Be kind.")
    for turn in range(12):
        question = f"question number {turn}"
        reply = session.chat(question, max_new_tokens=20)
        assert reply.usage.prompt_tokens + 20 <= 300
        assert reply.usage.completion_tokens > 0
        assert session.messages[0] == Message(role="system", content=session.messages[0].content)
        assert _questions(session)[-1] == question
    kept = _questions(session)
    assert 2 <= len(kept) < 12
    assert kept == [f"question number {turn}" for turn in range(12 - len(kept), 12)]
    assert session.messages[0].parts[0].text == "Be kind."  # type: ignore[union-attr]
    assert [m.role for m in session.messages[1:]] == ["user", "assistant"] * len(kept)


def test_after_the_oldest_turn_went_answers_are_those_of_the_rest() -> None:
    ours = assistant()
    _spy(ours).context_length = 300
    session = ours.session(system="Be kind.")
    for turn in range(8):
        session.chat(f"question number {turn}", max_new_tokens=20)
        said = session.messages[-1]
        finished = _fresh(ours, session.messages[:-1], max_new_tokens=20)
        assert finished.text == said.parts[0].text  # type: ignore[union-attr]


def test_no_more_turns_go_than_must() -> None:
    ours = assistant()
    session = ours.session()
    for turn in range(4):
        session.chat(f"question number {turn}", max_new_tokens=20)
    asked = [*session.messages, Message(role="user", content="next")]
    _spy(ours).context_length = len(ours.reader.processor.prompt(asked).ids) + 20
    session.chat("next", max_new_tokens=20)
    assert len(_questions(session)) == 5
    asked = [*session.messages, Message(role="user", content="next")]
    _spy(ours).context_length = len(ours.reader.processor.prompt(asked).ids) + 19
    session.chat("next", max_new_tokens=20)
    assert len(_questions(session)) == 5, "one came, one went"


def test_a_question_too_long_for_the_context_is_refused_and_nothing_is_dropped() -> None:
    ours = assistant()
    _spy(ours).context_length = 200
    session = ours.session()
    session.chat("hi", max_new_tokens=5)
    messages = session.messages
    with pytest.raises(ContextLengthError, match="at most 200"):
        session.chat("x" * 200)
    assert session.messages is messages
    assert session.chat("well?", max_new_tokens=5).usage.cached_tokens > 0


def test_a_long_answer_wanted_does_not_cost_the_history() -> None:
    """Half of the context is kept for what was said, however long the answer may be."""
    ours = assistant()
    _spy(ours).context_length = 400
    session = ours.session()
    session.chat("remember this", max_new_tokens=10)
    reply = session.chat("what?", max_new_tokens=4000)
    assert reply.usage.cached_tokens > 20
    assert len(_questions(session)) == 2
    assert reply.usage.prompt_tokens + reply.usage.completion_tokens <= 401


def test_sounds_go_with_their_turn() -> None:
    ours = assistant(speech=True)
    _spy(ours).context_length = 250
    session = ours.session()
    for turn in range(6):
        session.chat(f"number {turn}", audio=tone(1.0, hz=300 + turn), max_new_tokens=20)
    sounds = [p for m in session.messages for p in m.parts if isinstance(p, AudioPart)]
    assert len(sounds) == len([m for m in session.messages if m.role == "user"]) < 6


def test_a_real_second_turn(nano: Assistant) -> None:
    """On llama.cpp: a cached turn answers as a fresh reading, and reads a fraction."""
    session = nano.session()
    first = session.chat("Name three animals of the sea.", max_new_tokens=24)
    history = [*session.messages, Message(role="user", content="Which is the largest?")]
    reply = session.chat("Which is the largest?", max_new_tokens=6)
    *_, fresh = nano.stream(history, max_new_tokens=6)
    assert isinstance(fresh, Finished)
    _same(reply, fresh)
    assert reply.usage.cached_tokens >= first.usage.prompt_tokens + 23
    assert reply.usage.prompt_tokens - reply.usage.cached_tokens < 25


def test_one_answer_at_a_time() -> None:
    session = assistant().session()
    first = session.stream("One?", **SETTINGS)
    next(first)
    with pytest.raises(ConversationError, match="still answering"):
        session.chat("Two?", **SETTINGS)
    first.close()
    assert session.chat("Two?", **SETTINGS).text
