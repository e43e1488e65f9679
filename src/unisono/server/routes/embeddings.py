"""`POST /v1/embeddings`."""

import asyncio
import base64
from collections.abc import Generator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from unisono.errors import ConversationError
from unisono.runtime.embedder import Vector
from unisono.server.intake import Intake
from unisono.server.routes import client_of, intake_of, last, state_of, unless_left
from unisono.server.state import State
from unisono.server.wire.chat import ChatMessage, messages_of
from unisono.server.wire.media import from_either
from unisono.server.wire.request import WireRequest

router = APIRouter()
_MOST_ITEMS = 2048


class Item(BaseModel):
    """One thing of one or more kinds (Jina's form): texts, `data:` URLs or base64."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = None
    image: str | None = None
    audio: str | None = None
    video: str | None = None


class EmbeddingRequest(WireRequest):
    """What is to be embedded: OpenAI's form, Jina's, or messages."""

    input: str | Annotated[list[str | Item], Field(min_length=1, max_length=_MOST_ITEMS)] | None = (
        None
    )
    messages: Annotated[list[ChatMessage] | None, Field(min_length=1)] = None
    model: str = ""
    dimensions: Annotated[int | None, Field(ge=1)] = None
    encoding_format: Literal["float", "base64"] = "float"


@router.post("/v1/embeddings")
async def embeddings(asked: EmbeddingRequest, request: Request) -> dict[str, Any]:
    """Vectors of texts, pictures, sounds and videos, in one space."""
    state = state_of(request)
    items, vectors = await unless_left(
        request, _embedded(asked, state, intake_of(request), client_of(request))
    )
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(one, asked)}
        for index, one in enumerate(_shortened(vectors, asked.dimensions))
    ]
    tokens = sum(len(str(item.get("text", "")).split()) for item in items)
    return {
        "object": "list",
        "data": data,
        "model": asked.model or next(iter(state.embedders), ""),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


async def _embedded(
    asked: EmbeddingRequest, state: State, intake: Intake, client: str
) -> tuple[list[dict[str, Any]], Vector]:
    items = await intake.items(await asyncio.to_thread(_items, asked))

    def work() -> Generator[Vector, None, None]:
        embedder = state.embedder(asked.model)
        if asked.dimensions and asked.dimensions > embedder.width:
            raise ConversationError(
                f"dimensions must be at most {embedder.width}, but is {asked.dimensions}"
            )
        yield embedder.embed(items)

    return items, await last(state.jobs.run(work, client=client))


def _items(asked: EmbeddingRequest) -> list[Mapping[str, Any]]:
    if (asked.input is None) == (asked.messages is None):
        raise ConversationError("say either input or messages")
    if asked.messages is not None:
        return [_of_messages(asked.messages)]
    listed = [asked.input] if isinstance(asked.input, str) else asked.input or []
    return [_of_input(one) for one in listed]


def _of_input(one: str | Item) -> Mapping[str, Any]:
    if isinstance(one, str):
        return {"text": one}
    given = {kind: value for kind, value in one.model_dump().items() if value is not None}
    if not given:
        raise ConversationError("an item must have a text, image, audio or video")
    return {
        kind: value if kind == "text" else from_either(value, kind) for kind, value in given.items()
    }


def _of_messages(messages: list[ChatMessage]) -> Mapping[str, Any]:
    """All parts of a conversation, as one item."""
    parts = [part for one in messages_of(messages, {}) for part in one.parts]
    texts = [part.text for part in parts if part.type == "text"]
    item: dict[str, Any] = {"text": "\n".join(texts)} if texts else {}
    for part in parts:
        if part.type != "text":
            if part.type in item:
                raise ConversationError(f"messages may have one {part.type} only")
            item[part.type] = getattr(part, part.type)
    return item


def _shortened(vectors: Vector, dimensions: int | None) -> Vector:
    if dimensions is None:
        return vectors
    cut = vectors[:, :dimensions]
    return np.asarray(cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-12))


def _encoded(vector: Vector, asked: EmbeddingRequest) -> Any:
    if asked.encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()
