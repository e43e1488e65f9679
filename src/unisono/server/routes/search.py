"""`POST /v1/search`: a library, searched."""

import asyncio
from collections.abc import Generator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field

from unisono.errors import ConversationError, UnsupportedModalityError
from unisono.retrieval import Filter, Hit, Library, Query
from unisono.server.intake import Intake
from unisono.server.routes import client_of, intake_of, last, state_of, unless_left
from unisono.server.state import State
from unisono.server.wire.media import from_either
from unisono.server.wire.request import WireRequest

router = APIRouter()


Weight = Annotated[float, Field(allow_inf_nan=False)]


class SearchRequest(WireRequest):
    """What is looked for: texts, `data:` URLs or base64, added and taken away."""

    model_config = ConfigDict(extra="forbid")

    text: str | None = None
    image: str | None = None
    audio: str | None = None
    video: str | None = None
    minus_text: str | None = None
    minus_image: str | None = None
    minus_audio: str | None = None
    minus_video: str | None = None
    weights: Annotated[dict[str, Weight], Field(default_factory=dict)]
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    modalities: Annotated[tuple[str, ...], Field(max_length=16)] = ()
    under: Annotated[str | None, Field(max_length=1000)] = None
    after: datetime | None = None
    before: datetime | None = None
    thumbnails: bool = True


_KINDS = ("text", "image", "audio", "video")
_PARTS = (*_KINDS, *(f"minus_{kind}" for kind in _KINDS))


@router.post("/v1/search")
async def search(asked: SearchRequest, request: Request) -> dict[str, Any]:
    """The pieces of the server's library nearest to a query."""
    state = state_of(request)
    uri = state.settings.library
    if uri is None:
        raise UnsupportedModalityError("this server has no library: start it with --library")
    search = _Search(uri, asked)
    hits = await unless_left(request, search.hits(state, intake_of(request), client_of(request)))
    return {"object": "list", "data": [hit.as_json(thumbnail=asked.thumbnails) for hit in hits]}


class _Search:
    """One search, checked as far as it can be without its media."""

    def __init__(self, uri: str, asked: SearchRequest) -> None:
        self.uri, self.asked = uri, asked
        self.where = Filter(
            modalities=asked.modalities,
            path_glob=asked.under,
            after=asked.after,
            before=asked.before,
        )

    async def hits(self, state: State, intake: Intake, client: str) -> list[Hit]:
        """What is found."""
        parts = await asyncio.to_thread(_parts, self.asked)
        (sources,) = await intake.items([parts])
        query = Query.of(weights=self.asked.weights, **sources)

        def work() -> Generator[list[Hit], None, None]:
            library = Library(self.uri, state.embedder())
            yield library.search(query, limit=self.asked.limit, where=self.where)

        return await last(state.jobs.run(work, client=client))


def _parts(asked: SearchRequest) -> dict[str, Any]:
    """Name -> what was sent under it."""
    given = {name: getattr(asked, name) for name in _PARTS}
    parts = {
        name: value if name.endswith("text") else from_either(value, name)
        for name, value in given.items()
        if value is not None
    }
    if not parts:
        raise ConversationError("there is nothing to look for: say text, image, audio or video")
    return parts
