"""llama.cpp for several conversations at once: one pass over the weights steps all of them.

Each conversation is stepped from a thread of its own, as though it were alone. What they want is
computed by one thread, which waits a moment for the others that are in the middle of an answer.

Several rows in one pass share the reading of the weights and, with types that llama.cpp multiplies
several rows with (`gguf_requantise`), much of the arithmetic. Each has cells of its own, and gets
the logits that it would get alone.

Shapes: T tokens, D width, V vocabulary.
"""

import ctypes
import gc
import heapq
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np
import torch
from torch import Tensor

from unisono.engines import llama_api
from unisono.engines.gguf_file import TokenEmbeddings
from unisono.engines.llama_engine import LlamaEngine
from unisono.engines.protocol import KVCache
from unisono.errors import EngineError

log = logging.getLogger(__name__)

_TRIES_BEFORE_COLLECTING = 20
"""Waits for a cache to be given back, of 0.05 s each."""

_ROWS_AT_ONCE = 256
"""Of one pass: the next token of every conversation, and pieces of prompts."""

_PIECE = 63
"""Rows of a prompt in one pass: the others' next tokens wait for no more.

From 64 rows of a conversation on, llama.cpp computes attention in tiles, with other roundings.
Beside others' next tokens it takes the first row of a piece apart: 63 are left of 64, not a tile.
"""

_NEXT_ROW = 0.4
"""What a further row of a pass takes of the time of the first one (0009)."""

_GATHER_S = 0.003
"""A pass waits so long for those that were stepped a moment ago."""


class SharedCache:
    """One conversation's part of the KV cache that all share."""

    def __init__(self, engine: "SharedLlamaEngine", number: int) -> None:
        self._engine = engine
        self._begun = engine.begun
        self._length = 0
        self.number = number
        self.keep: int | None = None
        """Positions to be kept, before the next are read; None: all."""
        # As a plain list's method: it may be called at any moment, from any thread.
        weakref.finalize(self, engine.given_back.append, number).atexit = False

    @property
    def length(self) -> int:
        """Positions held."""
        return 0 if self.lost else self._length

    @property
    def lost(self) -> bool:
        """Whether what it held went down with a context that failed."""
        return self._begun != self._engine.begun and self._length > 0

    def advance(self, count: int) -> None:
        """Note that `count` positions were read."""
        self._begun = self._engine.begun
        self._length += count

    def truncate(self, length: int) -> None:
        """Forget everything from position `length` on."""
        self._length = min(length, self.length)
        self.keep = self._length


@dataclass(eq=False)
class _Wanted:
    """Rows of one conversation that are to be read.

    Attributes:
        rows: float32 [T, D].
        logits: [V] after the last row, once they are known.
    """

    cache: SharedCache
    rows: np.ndarray
    logits: "Future[Tensor]" = field(default_factory=Future)


class SharedLlamaEngine(LlamaEngine):
    """A `LlamaEngine` that many threads may use, each with a cache of its own.

    One thread computes for all: OpenMP keeps a team of threads for each thread that calls it, and
    teams that wait beside each other, spinning, take the cores from the one that works.
    """

    def __init__(
        self,
        path: Path,
        embeddings: TokenEmbeddings,
        *,
        conversations: int,
        context_length: int | None = None,
        stop_ids: frozenset[int] | None = None,
        adapters: Sequence[Path] = (),
    ) -> None:
        """Load a model.

        Args:
            path, embeddings, context_length, stop_ids, adapters: see `LlamaEngine`.
            conversations: caches at a time; one more waits until another is dropped. Memory is
                taken for a whole context of each at once, at the first use.

        Raises:
            ModelConfigError: as `LlamaEngine`.
        """
        self.conversations = conversations
        self.given_back: deque[int] = deque()
        self._room = threading.Condition()
        self._wishes: SimpleQueue[_Wanted | None] = SimpleQueue()
        self._waiting: list[_Wanted] = []
        self._stepped: dict[int, float] = {}  # conversation -> when it was last stepped
        self._free = list(range(conversations))  # a heap
        self._over: deque[int] = deque()  # free again, but still in `_stepped`
        self._together: int | None = None
        self.begun = 0
        """Contexts that failed: a cache that was read before the last one did holds nothing now."""
        super().__init__(
            path,
            embeddings,
            context_length=context_length,
            stop_ids=stop_ids,
            adapters=adapters,
        )
        weakref.finalize(self, self._wishes.put, None).atexit = False
        threading.Thread(
            target=_conduct,
            args=(self._wishes, weakref.ref(self)),
            name="shared-llama",
            daemon=True,
        ).start()

    def new_cache(self) -> SharedCache:  # type: ignore[override]
        """An empty cache; waits for one while all are in use."""
        tries = 1
        with self._room:
            while not self._free and not self.given_back:
                if not self._room.wait(0.05):  # a cache is given back without a notice
                    tries += 1
                if tries % _TRIES_BEFORE_COLLECTING == 0:
                    gc.collect()  # an error's traceback may hold one, in a circle with itself
            self._take_back()
            # The lowest: numbers without gaps are read together, see `_pass`.
            number = heapq.heappop(self._free)
        cache = SharedCache(self, number)
        cache.keep = 0
        return cache

    def _take_back(self) -> None:
        """Conversations that are over are free again; while `_room` is held."""
        while self.given_back:
            number = self.given_back.popleft()
            heapq.heappush(self._free, number)
            self._over.append(number)

    def _time_of_a_step_alone(self) -> float:
        """Not known before there is a context: see `_context`."""
        return float("inf")

    def share_cores(self, shared: bool) -> None:
        """Nothing: the other conversations need the cores."""

    def read(self, embeddings: Tensor, cache: KVCache) -> Tensor:
        """Read embeddings [T, D]; the logits [V] after the last."""
        rows = embeddings.detach().to("cpu", torch.float32).contiguous().numpy()
        logits = torch.empty(0)
        for start in range(0, len(rows), _PIECE):
            logits = self._submit(_Wanted(_own(cache), rows[start : start + _PIECE]))
        return logits

    def step(self, token: int, cache: KVCache) -> Tensor:
        """Read one token; the logits [V] after it."""
        return self._submit(_Wanted(_own(cache), self._embeddings.rows([token])))

    def _submit(self, wanted: _Wanted) -> Tensor:
        self._wishes.put(wanted)
        try:
            return wanted.logits.result()
        finally:
            del wanted  # of an error it has, the traceback has this frame: a circle with the cache

    def serve(self, first: _Wanted) -> None:
        """Read what is wanted, in as many passes as that takes; on the thread that computes."""
        self._waiting.append(first)
        while self._waiting:
            self._read_together(self._gathered())

    def _gathered(self) -> list[_Wanted]:
        """What is read in the next pass: in the order of coming, as much as has room."""
        deadline = time.perf_counter() + _GATHER_S
        while wanted := self._next_wish(deadline):
            self._waiting.append(wanted)
        chosen: list[_Wanted] = []
        rows = 0
        for one in sorted(self._waiting, key=lambda one: len(one.rows) > 1):  # tokens first
            if rows + len(one.rows) <= _ROWS_AT_ONCE:
                chosen.append(one)
                rows += len(one.rows)
        self._waiting = [one for one in self._waiting if one not in chosen]
        return chosen

    def _next_wish(self, deadline: float) -> _Wanted | None:
        """One more that is there, or comes before the deadline while others are expected."""
        left = 0.0 if self._all_here() else max(0.0, deadline - time.perf_counter())
        try:
            return self._wishes.get(timeout=left) if left else self._wishes.get_nowait()
        except Empty:
            return None

    def _all_here(self) -> bool:
        """Whether all that were stepped a moment ago want the next step already."""
        here = {one.cache.number for one in self._waiting}
        lately = time.perf_counter() - 0.25
        return all(n in here for n, when in self._stepped.items() if when > lately)

    def _read_together(self, chosen: list[_Wanted]) -> None:
        try:
            readable = [one for one in chosen if not one.cache.lost]
            self._trim(readable)
            if readable:
                self._pass(readable)
        except BaseException as error:  # whatever it is: nobody else computes
            self._drop_context()
            # In words: who keeps the error would keep the conversations in its traceback.
            log.error(
                "llama.cpp failed and is begun anew: %s: %s", type(error).__name__, str(error)
            )
            why = f"llama.cpp failed and is begun anew; ask again: {error}"
        else:
            why = "llama.cpp failed in the middle of this answer; ask again"
        for one in chosen:
            if not one.logits.done():
                one.logits.set_exception(EngineError(why))

    def _drop_context(self) -> None:
        """The next pass makes another one: nobody knows what this one holds."""
        self.begun += 1
        self._stepped.clear()
        if self._together is not None:
            self._spare_contexts.remove(self._together)
            self._library.llama_free(self._together)
            self._together = None

    def _trim(self, chosen: list[_Wanted]) -> None:
        """Forget what is to be forgotten: before a conversation's first row, its predecessor's."""
        memory = self._library.llama_get_memory(self._context)
        with self._room:
            self._take_back()
            while self._over:
                self._stepped.pop(self._over.popleft(), None)
                self._room.notify_all()
        for one in chosen:
            if one.cache.keep is not None:
                number = one.cache.number
                self._library.llama_memory_seq_rm(memory, number, one.cache.keep, -1)
                one.cache.keep = None

    def _pass(self, chosen: list[_Wanted]) -> None:
        """One pass over the weights.

        Conversations whose numbers follow each other, in this order: llama.cpp computes those
        together, and each other one by itself.
        """
        chosen = sorted(chosen, key=lambda one: one.cache.number)
        rows = np.concatenate([one.rows for one in chosen])
        batch = self._library.llama_batch_init(len(rows), self.width, 1)
        try:
            batch.n_tokens = len(rows)
            ctypes.memmove(batch.embd, rows.ctypes.data, rows.nbytes)
            place = 0
            for one in chosen:
                for index in range(len(one.rows)):
                    batch.pos[place] = one.cache.length + index
                    batch.n_seq_id[place] = 1
                    batch.seq_id[place][0] = one.cache.number
                    batch.logits[place] = index == len(one.rows) - 1
                    place += 1
            status, pass_s = self._decode_together(batch)
        finally:
            self._library.llama_batch_free(batch)
        if status != 0:
            raise RuntimeError(f"llama.cpp could not read {len(rows)} rows: {status}")
        self._notice_crowd(pass_s / (1 + _NEXT_ROW * (len(rows) - 1)))
        self._hand_out(chosen)

    def _decode_together(self, batch: llama_api.Batch) -> tuple[int, float]:
        """Status and seconds of a pass, on one thread while the cores are crowded."""
        threads = 1 if self._crowded_steps else self._all_threads
        self._library.llama_set_n_threads(self._context, threads, threads)
        began = time.perf_counter()
        status = self._library.llama_decode(self._context, batch)
        return status, time.perf_counter() - began

    def _hand_out(self, chosen: list[_Wanted]) -> None:
        now, end = time.perf_counter(), 0
        for one in chosen:
            end += len(one.rows)
            one.cache.advance(len(one.rows))
            self._stepped[one.cache.number] = now
            pointer = self._library.llama_get_logits_ith(self._context, end - 1)
            view = np.ctypeslib.as_array(pointer, shape=(self.vocabulary_size,))
            one.logits.set_result(torch.from_numpy(view.copy()))

    @property
    def _context(self) -> int:
        """The context that all share, made at the first use."""
        if self._together is None:
            parameters = self._library.llama_context_default_params()
            parameters.n_ctx = self.context_length * self.conversations
            parameters.n_batch = parameters.n_ubatch = _ROWS_AT_ONCE
            parameters.n_seq_max = self.conversations
            # Otherwise each would look through the cells of all the others.
            parameters.kv_unified = False
            parameters.no_perf = True
            context: int | None = self._library.llama_init_from_model(self._model, parameters)
            if not context:
                raise MemoryError(f"no memory for a context of {parameters.n_ctx} tokens")
            self._add_adapters(context)
            self._spare_contexts.append(context)  # freed with the others
            self._together = context
            self._alone_s = self._time_of_a_row(context)
        return self._together

    def _time_of_a_row(self, context: int) -> float:
        """Seconds of one row on one thread, in a context that holds nothing yet."""
        self._library.llama_set_n_threads(context, 1, 1)
        ids, times = (ctypes.c_int32 * 1)(0), []
        for _ in range(3):  # the first one also reads the weights from disk
            began = time.perf_counter()
            self._library.llama_decode(context, self._library.llama_batch_get_one(ids, 1))
            times.append(time.perf_counter() - began)
        memory = self._library.llama_get_memory(context)
        self._library.llama_memory_seq_rm(memory, 0, 0, -1)
        return min(times)


def _conduct(
    wishes: "SimpleQueue[_Wanted | None]", engine: "weakref.ref[SharedLlamaEngine]"
) -> None:
    """Serve an engine until it is gone; then its last wish is None."""
    while (wanted := wishes.get()) is not None:
        alive = engine()
        if alive is None:
            return
        alive.serve(wanted)
        del alive, wanted


def _own(cache: KVCache) -> SharedCache:
    if not isinstance(cache, SharedCache):
        raise TypeError(f"the cache must be a SharedCache, but is {type(cache).__name__}")
    return cache
