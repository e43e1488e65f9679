"""The voice at work: sentences go in, sound comes out, in a thread of its own."""

import queue
import threading
import time
from collections.abc import Iterator

from unisono.runtime.events import SpeechChunk
from unisono.speech import Voice

_END = None

_FIRST_SOUND_WAIT_S = 0.5
"""The longest pause of the text for the first sound.

The first piece is short, and a voice with the cores to itself speaks it soonest; the text, which
is many times faster than speech, catches up at once. A voice slower than this is not waited for.
"""

_POLL_S = 0.002


class Speaker:
    """Speaks the sentences of one answer in order while the answer goes on.

    The thread ends by itself: after the last sentence once `finish` was called, or before the
    next chunk once `close` was.
    """

    def __init__(self, voice: Voice) -> None:
        self._voice = voice
        self._sentences: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._chunks: queue.SimpleQueue[SpeechChunk | BaseException | None] = queue.SimpleQueue()
        self._closed = threading.Event()
        self._patience_s = _FIRST_SOUND_WAIT_S
        self._given = self._spoken = 0
        self._thread = threading.Thread(target=self._run, name="unisono-voice", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a sentence is waiting or being spoken."""
        return self._spoken < self._given

    def say(self, sentence: str) -> None:
        """Speak this after what was said before."""
        self._given += 1
        self._sentences.put(sentence)

    def finish(self) -> None:
        """No sentence follows."""
        self._sentences.put(_END)

    def close(self) -> None:
        """Stop: no further chunk is computed. Returns at once."""
        self._closed.set()
        self._sentences.put(_END)

    def wait_for_sound(self) -> None:
        """Let a voice that has said nothing yet work alone until its first chunk is ready."""
        began = time.perf_counter()
        while self.busy and self._chunks.empty() and time.perf_counter() - began < self._patience_s:
            time.sleep(_POLL_S)
        self._patience_s -= time.perf_counter() - began

    def ready(self) -> Iterator[SpeechChunk]:
        """The chunks there are now; never waits."""
        while not self._chunks.empty():
            chunk = self._chunks.get()
            if chunk is _END:
                self._chunks.put(_END)  # for `rest`, which waits for it
                return
            yield _checked(chunk)

    def rest(self) -> Iterator[SpeechChunk]:
        """The chunks up to the end, waiting for each; call after `finish`."""
        while (chunk := self._chunks.get()) is not _END:
            yield _checked(chunk)

    def _run(self) -> None:
        try:
            for index, sentence in enumerate(iter(self._sentences.get, _END)):
                self._speak(index, sentence)
                self._spoken += 1
        except BaseException as error:  # the consumer raises it, in its own thread
            self._chunks.put(error)
        self._chunks.put(_END)

    def _speak(self, index: int, sentence: str) -> None:
        if self._closed.is_set():
            return
        text = sentence
        for pcm in self._voice.speak(sentence):
            if self._closed.is_set():
                return
            self._chunks.put(SpeechChunk(pcm, self._voice.sample_rate_hz, index, text))
            text = ""


def _checked(chunk: SpeechChunk | BaseException | None) -> SpeechChunk:
    if isinstance(chunk, BaseException):
        raise chunk
    if chunk is None:
        raise RuntimeError("the end of the speech was read twice")
    return chunk
