"""llama.cpp on the real model file: the same logits however the prompt comes."""

import gc
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unisono import Assistant, load
from unisono.engines import GenerationSettings, TorchEngine, llama_api, llama_engine
from unisono.engines.llama_engine import LlamaCache, LlamaEngine
from unisono.errors import ContextLengthError, ModelConfigError


@pytest.fixture
def engine(nano: Assistant) -> LlamaEngine:
    found = nano.reader.engine
    assert isinstance(found, LlamaEngine)
    return found


@pytest.fixture(scope="module")
def prompt(nano: Assistant) -> list[int]:
    return list(nano.reader.processor.prompt("Name three birds of the sea.").ids)


def _close(found: Tensor, expected: Tensor) -> None:
    """Equal up to the order of float sums (a batch and single steps use other kernels)."""
    assert torch.cosine_similarity(found, expected, dim=0) > 0.999
    assert int(found.argmax()) == int(expected.argmax())


def test_embeddings_in_are_token_steps(engine: LlamaEngine, prompt: list[int]) -> None:
    cache = engine.new_cache()
    by_rows = engine.read(engine.embed(prompt), cache)
    assert by_rows.shape == (engine.vocabulary_size,)
    assert cache.length == len(prompt)
    stepped = engine.new_cache()
    for token in prompt:
        by_steps = engine.step(token, stepped)
    _close(by_rows, by_steps)


def test_one_row_is_one_step(engine: LlamaEngine, prompt: list[int]) -> None:
    """The same kernels: a token's own embedding is read exactly as the token."""
    logits = []
    for token_or_row in ("token", "row"):
        cache = engine.new_cache()
        engine.read(engine.embed(prompt), cache)
        if token_or_row == "token":
            logits.append(engine.step(1234, cache))
        else:
            logits.append(engine.read(engine.embed([1234]), cache))
    torch.testing.assert_close(logits[0], logits[1], atol=1e-3, rtol=1e-3)


def test_blocks_are_one_prompt(
    engine: LlamaEngine, prompt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = engine.read(engine.embed(prompt), engine.new_cache())
    monkeypatch.setattr(llama_engine, "_READ_AT_ONCE", 16)
    cache = engine.new_cache()
    _close(engine.read(engine.embed(prompt), cache), whole)
    assert cache.length == len(prompt)


def test_a_truncated_cache_is_a_fresh_one(engine: LlamaEngine, prompt: list[int]) -> None:
    cache = engine.new_cache()
    engine.read(engine.embed(prompt), cache)
    engine.read(engine.embed([9, 8, 7]), cache)
    for kept in (len(prompt), 10):
        cache.truncate(kept)
        assert cache.length == kept
        logits = engine.read(engine.embed([5, 6]), cache)
        fresh = engine.read(engine.embed([*prompt[:kept], 5, 6]), engine.new_cache())
        _close(logits, fresh)
        cache.truncate(kept)


def test_what_an_interrupted_call_left_is_forgotten(
    engine: LlamaEngine, prompt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may come when llama.cpp has read a block and we have not counted it yet."""
    cache = engine.new_cache()
    engine.read(engine.embed(prompt), cache)
    with monkeypatch.context() as patched:
        patched.setattr(LlamaCache, "advance", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            engine.step(99, cache)
    assert cache.length == len(prompt)
    cache.truncate(len(prompt))
    fresh = engine.new_cache()
    engine.read(engine.embed(prompt), fresh)
    assert torch.equal(engine.step(5, cache), engine.step(5, fresh))


def test_ctrl_c_is_heard_between_blocks(
    engine: LlamaEngine, prompt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt after some blocks leaves a cache that knows what it holds."""
    monkeypatch.setattr(llama_engine, "_READ_AT_ONCE", 8)
    cache = engine.new_cache()
    read_block, calls = engine._read_block, []

    def interrupted(rows: object, cache: LlamaCache) -> Tensor:
        calls.append(rows)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return read_block(rows, cache)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(engine, "_read_block", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.read(engine.embed(prompt), cache)
    assert cache.length == 16
    whole = engine.read(engine.embed(prompt), engine.new_cache())
    _close(engine.read(engine.embed(prompt[16:]), cache), whole)


def test_two_caches_do_not_disturb_each_other(engine: LlamaEngine, prompt: list[int]) -> None:
    settings = GenerationSettings(max_new_tokens=6)
    prompts = (prompt, prompt[:20])
    alone = [list(engine.generate(engine.embed(p), engine.new_cache(), settings)) for p in prompts]
    running = [engine.generate(engine.embed(p), engine.new_cache(), settings) for p in prompts]
    mixed = list(zip(*running, strict=True))
    assert [list(one) for one in zip(*mixed, strict=True)] == alone
    assert alone[0] != alone[1]


def test_contexts_are_used_again_and_come_empty(engine: LlamaEngine, prompt: list[int]) -> None:
    gc.collect()
    cache = engine.new_cache()
    engine.read(engine.embed(prompt), cache)
    used = cache.context
    before = engine._contexts
    del cache
    gc.collect()
    again = engine.new_cache()
    assert again.context == used
    assert again.length == 0
    first = engine.read(engine.embed(prompt[:5]), again)
    _close(first, engine.read(engine.embed(prompt[:5]), engine.new_cache()))
    many = [engine.new_cache() for _ in range(4)]
    assert len({cache.context for cache in many}) == 4
    del many
    gc.collect()
    assert len(engine._spare_contexts) == llama_engine._SPARE_CONTEXTS
    assert engine._contexts <= before + llama_engine._SPARE_CONTEXTS


def test_the_model_outlives_its_engine_while_a_cache_is_held(
    nano: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, freed = llama_api.load(), []

    class Watched:
        def __getattr__(self, name: str) -> Any:
            if name in ("llama_free", "llama_model_free"):
                freed.append(name)
            return getattr(library, name)

    monkeypatch.setattr(llama_api, "load", Watched)
    assistant = load("ola-nano")
    held = assistant.reader.engine.new_cache()
    gc.collect()
    freed.clear()
    del assistant
    gc.collect()
    assert freed == []
    del held
    gc.collect()
    assert freed[-1] == "llama_model_free"
    assert freed.count("llama_free") >= 1
    assert freed.count("llama_model_free") == 1


def test_a_conversation_longer_than_the_context_is_refused(engine: LlamaEngine) -> None:
    rows = engine.embed([5]).expand(engine.context_length, -1)
    with pytest.raises(ContextLengthError, match=f"at most {engine.context_length}"):
        next(engine.generate(rows, engine.new_cache(), GenerationSettings()))


def test_answers_end_at_the_end_of_the_turn(nano: Assistant, engine: LlamaEngine) -> None:
    assert nano.reader.processor.tokenizer.eos_token_id in engine.stop_ids
    reply = nano.chat("Say hello.", max_new_tokens=60)
    assert reply.text
    assert "<|" not in reply.text


def test_sharing_the_cores_leaves_one_and_takes_it_back(engine: LlamaEngine) -> None:
    everything = engine._threads
    engine.share_cores(True)
    assert engine._threads == max(1, everything - 1)
    engine.share_cores(False)
    assert engine._threads == everything


def test_a_file_that_is_no_model(nano: Assistant, engine: LlamaEngine, tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelConfigError, match=r"llama\.cpp cannot read 'broken\.gguf'"):
        LlamaEngine(path, engine._embeddings)


@pytest.mark.slow
def test_another_version_is_refused_and_auto_takes_torch(
    nano_torch: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert llama_api.unavailable() is None
    monkeypatch.setattr(llama_api, "version", lambda _name: "9.9.9")
    reason = llama_api.unavailable()
    assert reason == f"xllamacpp must be {llama_api.VERSION}, but is 9.9.9"
    with pytest.raises(ModelConfigError, match=r"cannot run here: xllamacpp must be"):
        load("ola-nano", engine="llama.cpp")
    assert isinstance(nano_torch.reader.engine, TorchEngine)
    assert nano_torch.chat("Say hello.", max_new_tokens=8).text


def test_without_xllamacpp(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(llama_api, "version", missing)
    assert llama_api.unavailable() == "xllamacpp is not installed"


def test_structures_of_another_release_are_noticed() -> None:
    library = llama_api.load()
    llama_api._check_layout(library)

    class Shifted:
        def llama_context_default_params(self) -> llama_api.ContextParams:
            parameters: llama_api.ContextParams = library.llama_context_default_params()
            parameters.n_ctx, parameters.n_batch = parameters.n_batch, parameters.n_ctx
            return parameters

        llama_model_default_params = library.llama_model_default_params

    with pytest.raises(RuntimeError, match=r"structures of llama\.h"):
        llama_api._check_layout(Shifted())  # type: ignore[arg-type]


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(ModelConfigError, match=r"one of auto, torch, llama\.cpp, but is 'gpu'"):
        load("ola-nano", engine="gpu")  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_script_with_an_assistant_among_its_globals_ends_well(nano: Assistant) -> None:
    """The engine is freed last of all, when what llama.cpp reports to is gone."""
    script = "import unisono; a = unisono.load('ola-nano'); c = a.reader.engine.new_cache()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
