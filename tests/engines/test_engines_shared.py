"""Several conversations in one pass: each is read as though it were alone."""

import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from unisono import Assistant, load
from unisono.engines import GenerationSettings, shared_llama
from unisono.engines.llama_engine import LlamaEngine
from unisono.engines.shared_llama import SharedCache, SharedLlamaEngine, _Wanted
from unisono.errors import ContextLengthError

QUESTIONS = [
    "Name three birds.",
    "What is rain?",
    "Why is the sky blue?",
    "Hello!",
    "Count to ten.",
]
STEPS = 6


@pytest.fixture(scope="module")
def shared() -> Assistant:
    return load("ola-nano", conversations=len(QUESTIONS), context_length=512)


@pytest.fixture
def engine(shared: Assistant) -> SharedLlamaEngine:
    found = shared.reader.engine
    assert isinstance(found, SharedLlamaEngine)
    return found


def side_by_side(*works: Callable[[], None]) -> None:
    """Run works in threads; the first error is raised here."""
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    if errors:
        raise errors[0]


def ids_of(assistant: Assistant, question: str) -> list[int]:
    return list(assistant.reader.processor.prompt(question).ids)


def alone(engine: SharedLlamaEngine, ids: list[int]) -> tuple[list[int], list[Tensor]]:
    """Greedy tokens, and the logits each was picked from, while nobody else asks."""
    cache, tokens = engine.new_cache(), []
    logits = [engine.read(engine.embed(ids), cache)]
    for _ in range(STEPS):
        tokens.append(int(logits[-1].argmax()))
        logits.append(engine.step(tokens[-1], cache))
    return tokens, logits


def test_nobody_reads_what_another_wrote(nano: Assistant, engine: SharedLlamaEngine) -> None:
    asked = {question: ids_of(nano, question) for question in QUESTIONS}
    expected = {question: alone(engine, ids) for question, ids in asked.items()}
    same: list[bool] = []

    def follow(question: str) -> None:
        tokens, logits = expected[question]
        cache = engine.new_cache()
        found = [engine.read(engine.embed(asked[question]), cache)]
        found += [engine.step(token, cache) for token in tokens]
        same.append(all(map(torch.equal, found, logits)))

    side_by_side(*(lambda q=q: follow(q) for q in QUESTIONS))  # type: ignore[misc]
    assert same == [True] * len(QUESTIONS)


class Spy:
    """A library, and of each call that decodes, the conversations and positions of its rows."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self.passes: list[list[tuple[int, int]]] = []
        self.threads: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._library, name)

    def llama_decode(self, context: int, batch: Any) -> int:
        rows = range(batch.n_tokens)
        self.passes.append([(batch.seq_id[i][0], batch.pos[i]) for i in rows])
        return int(self._library.llama_decode(context, batch))

    def llama_set_n_threads(self, context: int, threads: int, for_many: int) -> None:
        assert threads == for_many
        self.threads.append(threads)


def together(engine: SharedLlamaEngine, *asked: tuple[SharedCache, Tensor]) -> list[Tensor]:
    """Logits of embeddings [T, D] of several conversations, read in exactly one pass."""
    wanted = [_Wanted(cache, rows.numpy()) for cache, rows in asked]
    engine._read_together(wanted)  # on this thread: the engine's own has nothing to do
    return [one.logits.result(0) for one in wanted]


def test_a_pass_has_its_conversations_in_order_without_gaps(
    engine: SharedLlamaEngine, nano: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """llama.cpp reads runs of numbers together: 16 in another order took three times as long."""
    spy = Spy(engine._library)
    monkeypatch.setattr(engine, "_library", spy)
    rows = engine.embed(ids_of(nano, "Hello!")[:3])
    held = [engine.new_cache() for _ in QUESTIONS]
    assert sorted(one.number for one in held) == list(range(len(QUESTIONS)))
    together(engine, *((cache, rows) for cache in reversed(held)))
    expected = [(number, place) for number in range(len(held)) for place in range(len(rows))]
    assert spy.passes == [expected]
    gone = {held.pop(3).number, held.pop(1).number}
    gc.collect()
    assert engine.new_cache().number == min(gone)


def test_a_long_prompt_beside_others_is_read_as_alone(
    engine: SharedLlamaEngine, nano: Assistant
) -> None:
    """To the last bit: attention is computed in the same way for all sizes of a piece."""
    ids = ids_of(nano, " ".join(QUESTIONS * 6))
    assert len(ids) > 2 * shared_llama._PIECE
    expected = engine.read(engine.embed(ids), engine.new_cache())
    other, cache = engine.new_cache(), engine.new_cache()
    engine.read(engine.embed(ids_of(nano, "Hello!")), other)
    for piece in engine.embed(ids).split(shared_llama._PIECE):
        _, found = together(engine, (other, engine.embed([1234])), (cache, piece))
    assert torch.equal(found, expected)


def test_crowded_cores_are_left_to_others(
    engine: SharedLlamaEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that spin for one that has no core take many times longer than one alone."""
    rows, cache = engine.embed([1234]), engine.new_cache()
    together(engine, (cache, rows))
    assert 0 < engine._alone_s < float("inf")
    spy = Spy(engine._library)
    monkeypatch.setattr(engine, "_library", spy)
    monkeypatch.setattr(engine, "_threads", 2)
    monkeypatch.setattr(engine, "_all_threads", 2)
    monkeypatch.setattr(engine, "_crowded_steps", 0)
    monkeypatch.setattr(engine, "_next_crowded_steps", 3)
    for alone_s in (0.0, *[float("inf")] * 4):  # only the first one seems slow
        monkeypatch.setattr(engine, "_alone_s", alone_s)
        together(engine, (cache, rows))
    assert spy.threads == [2, 1, 1, 1, 2]


def test_eight_bits_say_what_four_said(nano: Assistant, engine: SharedLlamaEngine) -> None:
    """The weights are the file's, rounded to 0.4 %; products are computed with other roundings."""
    four = nano.reader.engine
    for question in QUESTIONS:
        ids = ids_of(nano, question)
        expected = four.read(four.embed(ids), four.new_cache())
        found = engine.read(engine.embed(ids), engine.new_cache())
        assert int(found.argmax()) == int(expected.argmax())
        assert torch.cosine_similarity(found, expected, dim=0) > 0.99


def test_a_cache_is_cut_and_read_again(engine: SharedLlamaEngine, nano: Assistant) -> None:
    ids = ids_of(nano, QUESTIONS[0])
    cache = engine.new_cache()
    first = engine.read(engine.embed(ids), cache)
    engine.step(1234, cache)
    cache.truncate(len(ids) - 1)
    again = engine.read(engine.embed(ids[-1:]), cache)
    assert cache.length == len(ids)
    assert torch.cosine_similarity(first, again, dim=0) > 0.999


def test_one_that_is_dropped_makes_room(engine: SharedLlamaEngine, nano: Assistant) -> None:
    held = [engine.new_cache() for _ in QUESTIONS]
    waited: list[object] = []
    thread = threading.Thread(target=lambda: waited.append(engine.new_cache()))
    thread.start()
    thread.join(0.3)
    assert not waited
    del held[0]
    gc.collect()
    thread.join(10)
    assert len(waited) == 1
    # It knows nothing of the conversation whose place it took.
    cache = waited.pop()
    ids = ids_of(nano, QUESTIONS[1])
    found = engine.read(engine.embed(ids), cache)  # type: ignore[arg-type]
    held.clear()
    assert torch.cosine_similarity(found, alone(engine, ids)[1][0], dim=0) > 0.999


def test_one_that_stops_early_holds_up_nobody(engine: SharedLlamaEngine, nano: Assistant) -> None:
    def ask(question: str, most: int) -> None:
        settings = GenerationSettings(max_new_tokens=most, temperature=0.0)
        tokens = engine.generate(engine.embed(ids_of(nano, question)), engine.new_cache(), settings)
        assert 0 < len(list(tokens)) <= most

    works = [(question, 2 + 6 * place) for place, question in enumerate(QUESTIONS)]
    side_by_side(*(lambda w=w: ask(*w) for w in works))  # type: ignore[misc]


def test_too_much_for_all_is_an_error_of_each(engine: SharedLlamaEngine, nano: Assistant) -> None:
    long = engine.embed([1234] * 600)
    with pytest.raises(ContextLengthError):
        next(engine.generate(long, engine.new_cache(), GenerationSettings()))
    found = engine.read(engine.embed(ids_of(nano, "Hello!")), engine.new_cache())
    assert torch.isfinite(found).all()


def test_answers_stream_side_by_side(shared: Assistant) -> None:
    texts: dict[str, str] = {}

    def ask(question: str) -> None:
        texts[question] = shared.chat(question, max_new_tokens=12, temperature=0.0).text

    side_by_side(*(lambda q=q: ask(q) for q in QUESTIONS))  # type: ignore[misc]
    assert all(texts[question].strip() for question in QUESTIONS)
    assert len(set(texts.values())) == len(QUESTIONS)


def test_others_have_one_conversation_at_a_time(nano: Assistant) -> None:
    assert isinstance(nano.reader.engine, LlamaEngine)
    assert nano.reader.engine.conversations == 1
