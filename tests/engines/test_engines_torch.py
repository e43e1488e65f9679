"""The torch engine: the same tokens as transformers' generate, and a cache that can go back."""

from collections.abc import Callable

import pytest
import tiny
import torch
from fakes import SpyEngine

from unisono import Assistant
from unisono.engines import GenerationSettings, TorchEngine
from unisono.errors import ContextLengthError

PROMPT = [72, 101, 108, 108, 111, 32, 256, 10]


def _engine(seed: int = 0) -> TorchEngine:
    model, _ = tiny.ola(seed=seed)
    return TorchEngine(model.language_model)


@pytest.mark.parametrize("seed", range(4))
def test_greedy_is_that_of_transformers(seed: int) -> None:
    engine = _engine(seed)
    expected = engine.model.generate(
        torch.tensor([PROMPT]), max_new_tokens=24, do_sample=False, pad_token_id=0
    )[0, len(PROMPT) :]
    settings = GenerationSettings(max_new_tokens=24)
    found = list(engine.generate(engine.embed(PROMPT), engine.new_cache(), settings))
    assert found == expected.tolist()
    assert len(set(found)) > 1


@pytest.mark.slow
def test_greedy_on_the_real_model_is_that_of_transformers(
    nano: Assistant, nano_torch: Assistant
) -> None:
    """SmolLM2, dequantised to float32."""
    reader = nano_torch.reader
    assert reader.engine.name == "torch float32 on cpu"
    ids = list(reader.processor.prompt("Why is the sky blue?").ids)
    engine = reader.engine
    assert isinstance(engine, TorchEngine)
    expected = engine.model.generate(
        torch.tensor([ids]), max_new_tokens=32, do_sample=False, repetition_penalty=1.0
    )[0, len(ids) :]
    settings = GenerationSettings(max_new_tokens=32)
    found = list(engine.generate(engine.embed(ids), engine.new_cache(), settings))
    assert found == expected.tolist()
    assert len(found) > 10
    assert not engine.model.is_quantized, "or it could be neither saved nor trained"
    # The other engine reads the same file: its sums are of quantised numbers.
    others = nano.reader.engine
    logits = others.read(others.embed(ids), others.new_cache())
    mine = engine.read(engine.embed(ids), engine.new_cache())
    assert torch.cosine_similarity(logits, mine, dim=0) > 0.999


def test_embeddings_in_are_ids_in() -> None:
    engine = _engine()
    logits = engine.read(engine.embed(PROMPT), engine.new_cache())
    expected = engine.model(torch.tensor([PROMPT])).logits[0, -1]
    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("cut", [1, 4, len(PROMPT) - 1])
def test_reading_in_pieces_is_reading_at_once(cut: int) -> None:
    engine = _engine()
    cache = engine.new_cache()
    engine.read(engine.embed(PROMPT[:cut]), cache)
    assert cache.length == cut
    logits = engine.read(engine.embed(PROMPT[cut:]), cache)
    whole = engine.read(engine.embed(PROMPT), engine.new_cache())
    torch.testing.assert_close(logits, whole, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kept", [0, 1, 5, len(PROMPT), 99])
def test_a_truncated_cache_is_a_fresh_one(kept: int) -> None:
    engine = _engine()
    cache = engine.new_cache()
    engine.read(engine.embed(PROMPT), cache)
    cache.truncate(kept)
    held = min(kept, len(PROMPT))
    assert cache.length == held
    logits = engine.step(65, cache)
    fresh = engine.read(engine.embed([*PROMPT[:held], 65]), engine.new_cache())
    torch.testing.assert_close(logits, fresh, atol=1e-4, rtol=1e-4)


def test_two_caches_do_not_disturb_each_other() -> None:
    engine = _engine()
    settings = GenerationSettings(max_new_tokens=10)

    def answers(prompt: list[int]) -> list[int]:
        return list(engine.generate(engine.embed(prompt), engine.new_cache(), settings))

    alone = [answers(PROMPT), answers([1, 2, 3])]
    running = [
        engine.generate(engine.embed(prompt), engine.new_cache(), settings)
        for prompt in (PROMPT, [1, 2, 3])
    ]
    mixed = [list(pair) for pair in zip(*running, strict=True)]
    assert [list(one) for one in zip(*mixed, strict=True)] == alone


def test_a_conversation_longer_than_the_context_is_refused() -> None:
    engine = _engine()
    engine.context_length = 10
    settings = GenerationSettings(max_new_tokens=50)
    with pytest.raises(ContextLengthError, match="11 tokens, but the model reads at most 10"):
        next(engine.generate(engine.embed([65] * 11), engine.new_cache(), settings))
    with pytest.raises(ContextLengthError):
        next(engine.generate(engine.embed([65] * 10), engine.new_cache(), settings))
    cache = engine.new_cache()
    engine.read(engine.embed([65] * 4), cache)
    with pytest.raises(ContextLengthError):
        next(engine.generate(engine.embed([65] * 6), cache, settings))


def test_an_answer_ends_where_the_context_does() -> None:
    engine = _engine()
    engine.context_length, engine.stop_ids = 12, frozenset()
    cache = engine.new_cache()
    settings = GenerationSettings(max_new_tokens=50)
    assert len(list(engine.generate(engine.embed([65] * 8), cache, settings))) == 4
    assert cache.length <= 12


def test_an_answer_ends_with_the_stop_token() -> None:
    engine = _engine()
    settings = GenerationSettings(max_new_tokens=20)
    engine.stop_ids = frozenset()
    free = list(engine.generate(engine.embed(PROMPT), engine.new_cache(), settings))
    engine.stop_ids = frozenset({free[3]})
    found = list(engine.generate(engine.embed(PROMPT), engine.new_cache(), settings))
    assert found == free[: free.index(free[3]) + 1]


def test_a_token_is_computed_when_it_is_asked_for() -> None:
    model, _ = tiny.ola()
    engine = SpyEngine(model.language_model)
    engine.stop_ids = frozenset()
    running = engine.generate(engine.embed(PROMPT), engine.new_cache(), GenerationSettings())
    assert engine.rows_read == []
    for steps in range(4):
        next(running)
        assert (engine.rows_read, engine.steps) == ([len(PROMPT)], steps)
    running.close()
    assert engine.steps == 3


def test_a_cache_of_another_engine_is_refused(nano: Assistant) -> None:
    makers: list[Callable[[], object]] = [nano.reader.engine.new_cache, object]
    for make in makers:
        with pytest.raises(TypeError, match="TorchCache"):
            _engine().step(1, make())  # type: ignore[arg-type]
