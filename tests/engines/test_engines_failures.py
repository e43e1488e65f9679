"""llama.cpp fails in the middle of an answer: a clear error, and then everything as before."""

import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from unisono import Assistant, load
from unisono.engines.llama_engine import LlamaEngine
from unisono.engines.shared_llama import SharedLlamaEngine
from unisono.errors import EngineError

QUESTIONS = ["What do bees make?", "Name three birds."]


class Failing:
    """llama.cpp's library, whose `llama_decode` fails when it is told to."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.fail: Callable[[], int] | None = None
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def llama_decode(self, context: int, batch: Any) -> Any:
        self.calls += 1
        if self.fail is not None:
            fail, self.fail = self.fail, None
            return fail()
        return self._library.llama_decode(context, batch)


def status() -> int:
    return -3


def raises() -> int:
    raise OSError("access violation")


@pytest.fixture(scope="module")
def shared() -> Assistant:
    return load("ola-nano", conversations=len(QUESTIONS), context_length=512)


@pytest.fixture
def failing(shared: Assistant) -> Iterator[Failing]:
    engine: Any = shared.reader.engine
    assert isinstance(engine, SharedLlamaEngine)
    library = engine._library
    engine._library = Failing(library)
    yield engine._library
    engine._library = library


def answer(assistant: Assistant, question: str) -> str:
    return assistant.chat(question, max_new_tokens=10, temperature=0.0).text


@pytest.mark.parametrize("fault", [status, raises])
def test_all_that_were_answered_learn_it_and_the_next_are_answered(
    shared: Assistant, failing: Failing, fault: Callable[[], int]
) -> None:
    before = [answer(shared, question) for question in QUESTIONS]
    both = threading.Barrier(len(QUESTIONS))
    errors: list[str] = []

    def ask(question: str) -> None:
        events = shared.stream(question, max_new_tokens=10, temperature=0.0)
        next(events)  # it has begun
        both.wait(60)
        failing.fail = fault
        try:
            list(events)
        except EngineError as error:
            errors.append(str(error))

    threads = [threading.Thread(target=ask, args=(question,)) for question in QUESTIONS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(errors) == len(QUESTIONS)
    failing.fail = None
    gc.collect()
    assert [answer(shared, question) for question in QUESTIONS] == before


def test_a_conversation_of_many_turns_goes_on(shared: Assistant, failing: Failing) -> None:
    session = shared.session()
    first = session.chat("My name is Ada.", max_new_tokens=6, temperature=0.0)
    failing.fail = status
    with pytest.raises(EngineError):
        session.chat("What is my name?", max_new_tokens=12, temperature=0.0)
    again = session.chat("What is my name?", max_new_tokens=12, temperature=0.0)
    assert again.usage.cached_tokens == 0  # all is read once more
    assert again.usage.prompt_tokens > first.usage.prompt_tokens
    assert again.text.strip()


def test_the_thread_that_computes_survives_whatever_ends_threads(
    shared: Assistant, failing: Failing
) -> None:
    def exits() -> int:
        raise SystemExit(1)

    failing.fail = exits
    with pytest.raises(EngineError):
        answer(shared, QUESTIONS[0])
    assert answer(shared, QUESTIONS[0]).strip()


def test_an_engine_of_one_conversation(nano: Assistant) -> None:
    engine: Any = nano.reader.engine
    assert isinstance(engine, LlamaEngine)
    before, library = answer(nano, QUESTIONS[0]), engine._library
    engine._library = failing = Failing(library)
    try:
        session = nano.session()
        failing.fail = status
        with pytest.raises(EngineError, match="could not read"):
            session.chat(QUESTIONS[0], max_new_tokens=10, temperature=0.0)
        again = session.chat(QUESTIONS[0], max_new_tokens=10, temperature=0.0)
        assert again.text == before
        contexts = engine._contexts
        assert answer(nano, QUESTIONS[0]) == before
        assert engine._contexts <= contexts + 1
    finally:
        engine._library = library
