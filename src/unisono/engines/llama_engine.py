"""A GGUF language model on the CPU through llama.cpp: the fastest engine measured there.

Shapes: T tokens, D width, V vocabulary.
"""

import ctypes
import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unisono.engines import llama_api
from unisono.engines.gguf_file import TokenEmbeddings
from unisono.engines.protocol import Engine, KVCache
from unisono.errors import EngineError, ModelConfigError

_READ_AT_ONCE = 256
"""Positions of a prompt computed in one call: between two calls Ctrl-C is heard."""

_SPARE_CONTEXTS = 2
"""Contexts kept for new conversations."""

_STEPS_ALONE = (8, 64)
"""Tokens to decode on one thread after the cores were found crowded: the first time, and at
most, for it doubles while they stay so."""


class LlamaCache:
    """A context of llama.cpp: the KV cache (float16) of one conversation.

    A context goes back to its engine when the cache is dropped: making one zeroes its memory,
    which takes longer than reading a short prompt.
    """

    def __init__(self, engine: "LlamaEngine") -> None:
        self._engine = engine
        self._length = 0
        self._begin()

    def _begin(self) -> None:
        self.context = self._engine.take_context()
        # Not __del__: when the interpreter ends, what that would need may be gone before it.
        self._return = weakref.finalize(self, self._engine.return_context, self.context)
        self._return.atexit = False

    def begin_anew(self) -> None:
        """Be empty, in another context: this one failed, and nobody knows what it holds."""
        self._return.detach()
        self._engine.drop_context(self.context)
        self._length = 0
        self._begin()

    @property
    def length(self) -> int:
        """Positions held."""
        return self._length

    def advance(self, count: int) -> None:
        """Note that `count` positions were read."""
        self._length += count

    def truncate(self, length: int) -> None:
        """Forget everything from position `length` on."""
        # Also when `length` is all there is: an interrupted call may have left more behind it.
        self._length = min(length, self._length)
        self._engine.forget(self.context, self._length)


class LlamaEngine(Engine):
    """Steps a GGUF file with llama.cpp, weights as quantised in the file."""

    def __init__(
        self,
        path: Path,
        embeddings: TokenEmbeddings,
        *,
        context_length: int | None = None,
        stop_ids: frozenset[int] | None = None,
        adapters: Sequence[Path] = (),
    ) -> None:
        """Load a model.

        Args:
            path: the GGUF file.
            embeddings: its token embeddings.
            context_length: positions a cache holds; by default, what the model was trained
                for. A cache takes memory for all of them as they fill.
            stop_ids: tokens that end an answer; by default, those the file's vocabulary names.
                A file without a vocabulary names none.
            adapters: see `use_adapters`.

        Raises:
            ModelConfigError: llama.cpp cannot be used here, or cannot read the file.
        """
        if reason := llama_api.unavailable():
            raise ModelConfigError(reason)
        self._library = library = llama_api.load()
        self._lock = threading.RLock()  # re-entered when a cache is collected inside it
        self._spare_contexts: list[int] = []
        self._contexts = 0
        parameters = library.llama_model_default_params()
        parameters.n_gpu_layers = 0
        if "Q4_0" in embeddings.model_type:
            parameters.load_mode = llama_api.LOAD_READ
        self._model = library.llama_model_load_from_file(os.fsencode(path), parameters)
        if not self._model:
            raise ModelConfigError(f"llama.cpp cannot read {path.name!r}")
        # Every cache's own finaliser holds on to the engine, so this one comes last.
        weakref.finalize(self, _free, library, self._spare_contexts, self._model).atexit = False
        self._embeddings = embeddings
        vocabulary = library.llama_model_get_vocab(self._model)
        self.vocabulary_size = library.llama_vocab_n_tokens(vocabulary)
        self.name = f"llama.cpp {embeddings.model_type} on cpu"
        self.width = library.llama_model_n_embd(self._model)
        trained = library.llama_model_n_ctx_train(self._model)
        self.context_length = min(context_length or trained, trained)
        self.stop_ids = self._named_stop_ids(vocabulary) if stop_ids is None else stop_ids
        self._loaded_adapters: dict[Path, int] = {}
        self.use_adapters(adapters)
        self._threads = self._all_threads = torch.get_num_threads()
        self._crowded_steps, self._next_crowded_steps = 0, _STEPS_ALONE[0]
        self._alone_s = self._time_of_a_step_alone()

    def _named_stop_ids(self, vocabulary: int) -> frozenset[int]:
        ends = self._library.llama_vocab_is_eog
        return frozenset(t for t in range(self.vocabulary_size) if ends(vocabulary, t))

    def use_adapters(self, paths: Sequence[Path]) -> None:
        """Add LoRA adapters to the weights, in all caches made from now on; () removes them.

        Caches made before go on as they were: what they hold was read with other weights.

        Args:
            paths: GGUF files, see `llama_adapter`; what they add is summed.

        Raises:
            ModelConfigError: llama.cpp cannot read a file, or it is for another model.
        """
        self._adapters = tuple(self._load_adapter(path) for path in paths)

    def _load_adapter(self, path: Path) -> int:
        if path not in self._loaded_adapters:
            adapter = self._library.llama_adapter_lora_init(self._model, os.fsencode(path))
            if not adapter:
                raise ModelConfigError(f"the adapter {path.name!r} does not fit the model")
            # Freed with the model: contexts in use may still have it.
            self._loaded_adapters[path] = adapter
        return self._loaded_adapters[path]

    def embed(self, ids: Sequence[int]) -> Tensor:
        """[T, D]: the token embeddings of `ids`."""
        return torch.from_numpy(self._embeddings.rows(ids))

    def new_cache(self) -> LlamaCache:
        """An empty cache."""
        return LlamaCache(self)

    def take_context(self) -> int:
        """An empty context with the adapters, a spare one if there is one."""
        with self._lock:
            context = self._spare_contexts.pop() if self._spare_contexts else self._new_context()
        self._add_adapters(context)
        return context

    def _add_adapters(self, context: int) -> None:
        times = Counter(self._adapters)  # llama.cpp takes each one once
        pointers = (ctypes.c_void_p * len(times))(*times)
        scales = (ctypes.c_float * len(times))(*times.values())
        self._library.llama_set_adapters_lora(context, pointers, len(times), scales)

    def _new_context(self) -> int:
        parameters = self._library.llama_context_default_params()
        parameters.n_ctx = self.context_length
        parameters.n_batch = parameters.n_ubatch = _READ_AT_ONCE
        parameters.no_perf = True
        context: int | None = self._library.llama_init_from_model(self._model, parameters)
        if not context:
            raise MemoryError(f"no memory for a context of {self.context_length} tokens")
        self._contexts += 1
        return context

    def return_context(self, context: int) -> None:
        """Keep a context for the next conversation, or free it when enough are kept."""
        with self._lock:
            keep = len(self._spare_contexts) < _SPARE_CONTEXTS
            if keep:
                self.forget(context, 0)
                self._spare_contexts.append(context)
                return
        self.drop_context(context)

    def drop_context(self, context: int) -> None:
        """Free a context that is of no more use."""
        with self._lock:
            self._contexts -= 1
        self._library.llama_free(context)

    def forget(self, context: int, length: int) -> None:
        """Remove the positions from `length` on."""
        memory = self._library.llama_get_memory(context)
        self._library.llama_memory_seq_rm(memory, 0, length, -1)

    def share_cores(self, shared: bool) -> None:
        """While shared, leave a core to other work.

        The threads of llama.cpp spin while they wait for each other: beside other work on the
        same cores, as many threads as cores are many times slower than one fewer.
        """
        self._threads = max(1, self._all_threads - 1) if shared else self._all_threads

    def read(self, embeddings: Tensor, cache: KVCache) -> Tensor:
        """Read embeddings [T, D]; the logits [V] after the last."""
        rows = embeddings.detach().to("cpu", torch.float32).contiguous().numpy()
        logits = torch.empty(0)
        for start in range(0, len(rows), _READ_AT_ONCE):
            logits = self._read_block(rows[start : start + _READ_AT_ONCE], _own(cache))
        return logits

    def step(self, token: int, cache: KVCache) -> Tensor:
        """Read one token; the logits [V] after it."""
        started = time.perf_counter()
        ids = (ctypes.c_int32 * 1)(token)
        threads = self._threads if self._crowded_steps == 0 else 1
        logits = self._decode(self._library.llama_batch_get_one(ids, 1), _own(cache), threads)
        self._notice_crowd(time.perf_counter() - started)
        return logits

    def _notice_crowd(self, step_s: float) -> None:
        """Step alone for a while when many threads were slower than one.

        That happens when another program holds a core: the threads that run spin until the
        one that does not has had its turn.
        """
        shortest, longest = _STEPS_ALONE
        if self._crowded_steps:
            self._crowded_steps -= 1
        elif self._threads > 1 and step_s > 2 * self._alone_s:
            self._crowded_steps = self._next_crowded_steps
            self._next_crowded_steps = min(2 * self._next_crowded_steps, longest)
        else:
            self._next_crowded_steps = shortest

    def _time_of_a_step_alone(self) -> float:
        cache, times = LlamaCache(self), []
        for _ in range(3):  # the first one also reads the weights from disk
            started = time.perf_counter()
            ids = (ctypes.c_int32 * 1)(0)
            self._decode(self._library.llama_batch_get_one(ids, 1), cache, threads=1)
            times.append(time.perf_counter() - started)
        return min(times)

    def _read_block(self, rows: np.ndarray, cache: LlamaCache) -> Tensor:
        count = len(rows)
        batch = self._library.llama_batch_init(count, self.width, 1)
        try:
            batch.n_tokens = count
            ctypes.memmove(batch.embd, rows.ctypes.data, rows.nbytes)
            for index in range(count):
                batch.pos[index] = cache.length + index
                batch.n_seq_id[index] = 1
                batch.seq_id[index][0] = 0
                batch.logits[index] = index == count - 1
            return self._decode(batch, cache, self._threads)
        finally:
            self._library.llama_batch_free(batch)

    def _decode(self, batch: llama_api.Batch, cache: LlamaCache, threads: int) -> Tensor:
        self._library.llama_set_n_threads(cache.context, threads, threads)
        status = self._library.llama_decode(cache.context, batch)
        if status != 0:
            cache.begin_anew()
            raise EngineError(f"llama.cpp could not read {batch.n_tokens} tokens: {status}")
        cache.advance(batch.n_tokens)
        pointer = self._library.llama_get_logits_ith(cache.context, -1)
        view = np.ctypeslib.as_array(pointer, shape=(self.vocabulary_size,))
        return torch.from_numpy(view.copy())


def _free(library: Any, contexts: list[int], model: int) -> None:
    """What is left when nobody uses an engine any more."""
    for context in contexts:
        library.llama_free(context)
    library.llama_model_free(model)


def _own(cache: KVCache) -> LlamaCache:
    if not isinstance(cache, LlamaCache):
        raise TypeError(f"the cache must be a LlamaCache, but is {type(cache).__name__}")
    return cache
