"""One answer: listen, read, decode, speak; as events.

Everything runs when the next event is asked for, in the caller's thread; only the voice has a
thread of its own. So a slow reader slows the model down, and closing the iterator stops it:
no further token is computed.
"""

import time
from collections.abc import Generator, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from unisono.engines import Engine, GenerationSettings, KVCache
from unisono.models.ola import OlaEncoders, OlaProcessor, merge, without_placeholders
from unisono.models.ola.prompt import MediaSpan, Prompt
from unisono.runtime.events import (
    Event,
    Finished,
    FinishReason,
    SpeechChunk,
    TextDelta,
    Timings,
    Usage,
)
from unisono.runtime.features import FeatureCache
from unisono.runtime.late_encoders import LateEncoders
from unisono.runtime.speaker import Speaker
from unisono.runtime.text_stream import TextStream
from unisono.speech import SentenceSplitter, Voice


@dataclass
class Memory:
    """A KV cache, and what stands at each of its positions."""

    cache: KVCache
    keys: list[Hashable] = field(default_factory=list)

    def recall(self, prompt: Prompt) -> int:
        """Keep what the prompt shares with the cache and forget the rest.

        Returns:
            How many positions of the prompt need not be read; at least one is left to read,
            because reading it gives the first logits.
        """
        comparable = min(self.cache.length, len(prompt.ids) - 1)
        shared = prompt.common_prefix(self.keys[:comparable])
        self.cache.truncate(shared)
        self.keys = self.keys[:shared]
        return shared


@dataclass(frozen=True)
class Reader:
    """A model as the runtime sees it: what turns messages into embeddings, and an engine."""

    processor: OlaProcessor
    engine: Engine
    encoders: OlaEncoders | LateEncoders | None = None
    features: FeatureCache = field(default_factory=FeatureCache)

    @torch.inference_mode()
    def embed(self, prompt: Prompt) -> Tensor:
        """[T, D]: what the engine reads for this prompt; media pass their encoders here."""
        ids, placeholders = torch.tensor([prompt.ids]), self.processor.config.placeholder_ids
        embeddings = self.engine.embed(without_placeholders(ids, placeholders)[0].tolist())[None]
        features: dict[int, Tensor] = {}
        if prompt.spans and self.encoders is not None:
            features = self.features.of(prompt.spans, self._encode)
        return merge(embeddings, ids, features, placeholders)[0]

    def _encode(self, spans: Sequence[MediaSpan]) -> dict[int, list[Tensor]]:
        if self.encoders is None:
            raise RuntimeError("a model without encoders cannot be given media")
        encoders = self.encoders
        if isinstance(encoders, LateEncoders):
            encoders = encoders.loaded
        tensors = self.processor.media_tensors(spans)
        device = next(encoders.parameters()).device
        moved: dict[str, Any] = {name: one.to(device) for name, one in tensors.items()}
        return encoders.each(**moved)


@dataclass(frozen=True)
class Asked:
    """What the summary of an answer tells about its question.

    Attributes:
        started: `time.perf_counter()` when the caller asked.
        listening_s: spent hearing the words of its sounds.
        heard: these words, a text a sound.
    """

    started: float
    listening_s: float = 0.0
    heard: tuple[str, ...] = ()


class Answer:
    """The answer to one conversation; `events` may be read once."""

    def __init__(self, reader: Reader, memory: Memory, settings: GenerationSettings) -> None:
        self._reader = reader
        self._memory = memory
        self._settings = settings
        self._stream = TextStream(reader.processor.tokenizer, settings.stop)
        self._first_text_s: float | None = None
        self._first_speech_s: float | None = None
        self._first_token_s = 0.0
        self.ids: list[int] = []
        self.text = ""
        self.reason: FinishReason = "length"

    def events(
        self, prompt: Prompt, voice: Voice | None, asked: Asked
    ) -> Generator[Event, None, None]:
        """Answer the prompt; speak if there is a voice.

        Args:
            prompt: the conversation.
            voice: None for a silent answer.
            asked: for the summary.
        """
        cached = self._memory.recall(prompt)
        embeddings = self._reader.embed(prompt.tail(cached))
        self._started = asked.started
        speaker = Speaker(voice) if voice else None
        try:
            if speaker:
                yield from self._spoken(embeddings, speaker)
            else:
                yield from (TextDelta(delta) for delta in self._deltas(embeddings) if delta)
        finally:
            if speaker:
                speaker.close()
            self._reader.engine.share_cores(False)
            keys = [*prompt.keys(), *self.ids]
            self._memory.keys = keys[: self._memory.cache.length]
        yield Finished(
            text=self.text,
            reason=self.reason,
            usage=Usage(len(prompt.ids), cached, len(self.ids)),
            timings=self._timings(asked.listening_s),
            heard=asked.heard,
            notices=prompt.notices,
        )

    def _deltas(self, embeddings: Tensor) -> Iterator[str]:
        """The answer's text, a token at a time; "" for tokens that complete no text."""
        engine = self._reader.engine
        for token in engine.generate(embeddings, self._memory.cache, self._settings):
            self._first_token_s = self._first_token_s or self._elapsed()
            self.ids.append(token)
            ended = token in engine.stop_ids
            # A tokenizer need not know all ending tokens as special: none of them is text.
            yield self._noted("" if ended else self._stream.push(token))
            if ended or self._stream.stopped:
                self.reason = "stop"
                break
        self._decoded_s = self._elapsed()
        yield self._noted(self._stream.flush())

    def _spoken(self, embeddings: Tensor, speaker: Speaker) -> Iterator[Event]:
        splitter = SentenceSplitter()
        for delta in self._deltas(embeddings):
            if delta:
                for sentence in splitter.push(delta):
                    speaker.say(sentence)
                yield TextDelta(delta)
            if speaker.busy and self._first_speech_s is None:
                speaker.wait_for_sound()
            self._reader.engine.share_cores(speaker.busy)
            yield from map(self._timed, speaker.ready())
        for sentence in splitter.flush():
            speaker.say(sentence)
        speaker.finish()
        yield from map(self._timed, speaker.rest())

    def _noted(self, delta: str) -> str:
        if delta and self._first_text_s is None:
            self._first_text_s = self._elapsed()
        self.text += delta
        return delta

    def _timed(self, chunk: SpeechChunk) -> SpeechChunk:
        if self._first_speech_s is None:
            self._first_speech_s = self._elapsed()
        return chunk

    def _elapsed(self) -> float:
        return time.perf_counter() - self._started

    def _timings(self, listening_s: float) -> Timings:
        after_first = len(self.ids) - 1
        decoding_s = self._decoded_s - self._first_token_s
        return Timings(
            listening_s=listening_s,
            first_text_s=self._first_text_s,
            first_speech_s=self._first_speech_s,
            total_s=self._elapsed(),
            tokens_per_s=after_first / decoding_s if after_first > 0 else None,
        )
