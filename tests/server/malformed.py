"""Requests that are wrong in many ways; the same number always gives the same one."""

import base64
import json
import random
from dataclasses import dataclass, field
from typing import Any

PATHS = (
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/search",
    "/v1/audio/speech",
    "/v1/audio/transcriptions",
)
_TEXTS = (
    *("", " ", "a", "\x00", "\ud800", "\u202e", "𝄞" * 20, "x" * 5000, "<|im_end|>", "<image>"),
    *("../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1/", "http://[::1", "data:"),
    *("data:image/png;base64,AAAA", "data:,%", "data:audio/wav;base64,UklGRg==", "'; DROP --"),
    *("%00", "\r\nx: y", "NaN", "1e999", "{}", "[!]", "[z-a]", "**/" * 50),
)
_NUMBERS = (0, -1, 1, 2, 0.5, 1e308, -1e308, 10**30, float("nan"), float("inf"), 2**63, True)
_MEDIA = (
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\xff\xff\xff\xffWAVEfmt ",
    b"OggS",
    b"\x00\x00\x00\x20ftyp",
    b"GIF89a",
)
_FIELDS = (
    *("messages", "model", "stream", "modalities", "audio", "stop", "seed", "top_p", "n", "input"),
    *("max_tokens", "temperature", "dimensions", "encoding_format", "text", "image", "video"),
    *("minus_text", "weights", "limit", "under", "after", "before", "voice", "response_format"),
    *("stream_format", "stream_options", "tools", "logprobs", "speed", "language"),
)


@dataclass(frozen=True)
class Malformed:
    """One request.

    Attributes:
        method, path, content, headers: as they are sent.
    """

    method: str
    path: str
    content: bytes
    headers: dict[str, str] = field(default_factory=dict)


def malformed(number: int) -> Malformed:
    """The request of that number."""
    rng = random.Random(number)
    path = rng.choice(PATHS)
    headers = {"content-type": "application/json"}
    kind = rng.randrange(10)
    if path.endswith("transcriptions") or kind == 0:
        content, headers["content-type"] = _form(rng)
    elif kind == 1:
        content = rng.randbytes(rng.randrange(2000))
    elif kind == 2:
        content = _nested(rng)
    elif kind == 3:
        content = _cut(rng, _json(_request(rng, path)))
    else:
        content = _json(_mutated(rng, _request(rng, path)))
    if rng.randrange(20) == 0:
        headers["content-type"] = rng.choice(("", "text/plain", "multipart/form-data", "x" * 500))
    method = rng.choice(("POST",) * 18 + ("PUT", "GET"))
    return Malformed(method, path, content, headers)


def _request(rng: random.Random, path: str) -> dict[str, Any]:
    """Almost what the path takes."""
    if path.endswith("completions"):
        parts = [_part(rng) for _ in range(rng.randrange(1, 4))]
        role = rng.choice(("user", "user", "assistant", "system", "developer"))
        messages = [
            {"role": role, "content": parts},
            {"role": "user", "content": rng.choice(_TEXTS)},
        ]
        return {"messages": messages[: rng.randrange(3)], "stream": rng.random() < 0.3}
    if path.endswith("embeddings"):
        return {"input": rng.choice([_TEXTS[2], [_item(rng)], [_item(rng), _item(rng)], [1, 2]])}
    if path.endswith("search"):
        return {**_item(rng), "limit": rng.choice((1, 3, 10**9))}
    return {
        "input": rng.choice(_TEXTS),
        "response_format": rng.choice(("mp3", "wav", "pcm", "aac", "x")),
    }


def _part(rng: random.Random) -> Any:
    kind = rng.choice(("text", "image_url", "audio_url", "video_url", "input_audio", "other"))
    url = rng.choice((rng.choice(_TEXTS), _data_url(rng)))
    data = {"data": url, "format": "wav"} if kind == "input_audio" else {"url": url}
    return {"type": kind, kind: url if kind == "text" else data}


def _item(rng: random.Random) -> dict[str, Any]:
    kinds = rng.sample(("text", "image", "audio", "video"), rng.randrange(4))
    return {one: rng.choice(_TEXTS) if one == "text" else _data_url(rng) for one in kinds}


def _data_url(rng: random.Random) -> str:
    content = rng.choice(_MEDIA) + rng.randbytes(rng.randrange(200))
    return "data:x/y;base64," + base64.b64encode(content).decode()


def _mutated(rng: random.Random, request: dict[str, Any]) -> Any:
    for _ in range(rng.randrange(3)):
        request[rng.choice(_FIELDS)] = _value(rng, 0)
    if request and rng.random() < 0.2:
        request.pop(rng.choice(list(request)))
    return request if rng.random() < 0.95 else _value(rng, 0)


def _value(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(6 if depth < 3 else 4)
    if kind < 2:
        return rng.choice(_TEXTS)
    if kind == 2:
        return rng.choice(_NUMBERS)
    if kind == 3:
        return rng.choice((None, True, False))
    if kind == 4:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice((*_FIELDS, "", "type", "url")): _value(rng, depth + 1) for _ in range(3)}


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _cut(rng: random.Random, content: bytes) -> bytes:
    """Some bytes are missing, or others than they were."""
    changed = bytearray(content[: rng.randrange(len(content) + 1)])
    for _ in range(rng.randrange(4)):
        if changed:
            changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def _nested(rng: random.Random) -> bytes:
    depth = rng.choice((50, 2000, 20_000))
    return rng.choice((b"[", b'{"messages":', b'{"input":[')) * depth


def _form(rng: random.Random) -> tuple[bytes, str]:
    """A form with a file that is none, and its content type."""
    fields = [("file", rng.choice(_MEDIA) + rng.randbytes(rng.randrange(500)))]
    for name in rng.sample(("model", "response_format", "language", "stream", "prompt"), 2):
        fields.append((name, rng.choice(_TEXTS).encode("utf-8", "surrogatepass")))
    rng.shuffle(fields)
    body = b"".join(
        b'--edge\r\ncontent-disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
        % (name.encode(), b'; filename="a.wav"' if name == "file" else b"", content)
        for name, content in fields[: rng.randrange(4)]
    )
    body += rng.choice((b"--edge--\r\n", b"--edge", b""))
    return body, rng.choice(("multipart/form-data; boundary=edge",) * 9 + ("multipart/form-data",))
