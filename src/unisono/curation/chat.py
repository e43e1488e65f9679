"""Models that are asked about clips: a local one, or whatever speaks OpenAI's chat protocol."""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import httpx

from unisono.curation.stage import Model
from unisono.errors import EngineError
from unisono.media.video import spread
from unisono.runtime import Assistant

_TRIES = 5
_PAUSE_S = 1.0
_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)


class Chat(Protocol):
    """Answers a text, with or without the frames and the sound of a clip."""

    @property
    def senses(self) -> frozenset[str]:
        """ "picture" and "sound", as far as it has them."""

    def ask(self, text: str, *, frames: Sequence[bytes] = (), sound: bytes | None = None) -> str:
        """Its answer; a medium it has no sense for is left out.

        Raises:
            UnisonoError: it cannot answer now.
        """


class OlaChat:
    """A model of this library."""

    def __init__(self, assistant: Model[Assistant], max_tokens: int = 256) -> None:
        self._assistant, self._max_tokens = assistant.get(), max_tokens
        config = self._assistant.reader.processor.config
        sees = config.vision_config is not None
        hears = config.hears_sound or self._assistant.needs_listener
        named = {"picture": sees, "sound": hears}
        self.senses = frozenset(name for name, has in named.items() if has)

    def ask(self, text: str, *, frames: Sequence[bytes] = (), sound: bytes | None = None) -> str:
        """See `Chat`."""
        given: dict[str, Any] = {}
        if frames and "picture" in self.senses:
            given["video"] = [list(frames)]
        if sound is not None and "sound" in self.senses:
            given["audio"] = sound
        return self._assistant.chat(text, **given, max_new_tokens=self._max_tokens).text


@dataclass(frozen=True)
class Endpoint:
    """Any server with `/chat/completions` (`unisono serve`, say).

    Attributes:
        url: up to "/v1".
        model: its name there.
        key: sent as a bearer token; it is never written down.
        senses: what may be sent.
        most_frames: of a clip, evenly spaced.
        timeout_s: of one try.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    senses: frozenset[str] = frozenset({"picture", "sound"})
    most_frames: int = 8
    max_tokens: int = 512
    timeout_s: float = 120.0

    def ask(self, text: str, *, frames: Sequence[bytes] = (), sound: bytes | None = None) -> str:
        """See `Chat`; tried again when the server is busy or away.

        Raises:
            EngineError: it does not answer, or not with an answer.
        """
        content: list[dict[str, Any]] = []
        if "picture" in self.senses:
            chosen = [frames[place] for place in spread(len(frames), self.most_frames)]
            content += [_image(frame) for frame in chosen]
        if sound is not None and "sound" in self.senses:
            data = {"data": base64.b64encode(sound).decode(), "format": "wav"}
            content.append({"type": "input_audio", "input_audio": data})
        content.append({"type": "text", "text": text})
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "seed": 0,
        }
        return self._answer(self._posted(body))

    def _posted(self, body: dict[str, Any]) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        url, said = f"{self.url.rstrip('/')}/chat/completions", ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(_PAUSE_S * 2 ** (attempt - 1))
            try:
                response = httpx.post(url, json=body, headers=headers, timeout=self.timeout_s)
            except httpx.HTTPError as error:
                said = str(error) or type(error).__name__
                continue
            if response.status_code not in _AGAIN:
                return response
            said = f"HTTP {response.status_code}"
        raise EngineError(f"the server at {self.url} does not answer: {said}")

    def _answer(self, response: httpx.Response) -> str:
        try:
            if response.status_code == 200:
                return str(response.json()["choices"][0]["message"]["content"] or "")
        except (ValueError, KeyError, IndexError, TypeError):
            pass
        said = " ".join(response.text.split())[:200]
        raise EngineError(f"the server at {self.url} says HTTP {response.status_code}: {said}")


def ola_chat(assistant: Model[Assistant]) -> Model[Chat]:
    """A local model as one that is asked."""
    return Model(f"{assistant.name} chat", assistant.fingerprint, partial(OlaChat, assistant))


def endpoint_chat(url: str, model: str, key: str = "") -> Model[Chat]:
    """A server as one that is asked; it is known by its address and the model's name."""
    return Model(f"{model} at {url}", "", partial(Endpoint, url, model, key))


def _image(frame: bytes) -> dict[str, Any]:
    url = f"data:image/jpeg;base64,{base64.b64encode(frame).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
