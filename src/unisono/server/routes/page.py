"""The web page: `GET /` and its files, what it asks about the server, and the files of hits."""

import asyncio
import mimetypes
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse

from unisono.errors import DataError, UnsupportedModalityError
from unisono.retrieval import file_of
from unisono.server.page_files import page_files
from unisono.server.routes import state_of

router = APIRouter()

_INERT = {
    # Whatever somebody's files hold: nothing of it runs in the page's name.
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "cache-control": "private, max-age=300",
}
_SHOWN = ("image/", "audio/", "video/")
_PASSAGES = "text/plain; charset=utf-8"


@router.get("/", include_in_schema=False)
@router.get("/page/{name:path}", include_in_schema=False)
async def page(request: Request) -> Response:
    """A file of the web page."""
    file = page_files().get(request.url.path)
    if file is None:
        raise HTTPException(404, "the page has no such file")
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=file.headers)
    return Response(file.content, media_type=file.media_type, headers=file.headers)


@router.get("/v1/about")
async def about(request: Request) -> dict[str, Any]:
    """What this server offers: names of models, whether they are loaded, whether there is a
    library, and how large a request may be."""
    state = state_of(request)
    return {
        "assistants": list(state.assistants),
        "embedders": list(state.embedders),
        "ready": state.ready,
        "library": state.settings.library is not None,
        "max_request_bytes": state.settings.max_request_bytes,
    }


@router.get("/v1/search/{hit}/file", response_class=FileResponse)
async def file(hit: str, request: Request) -> Response:
    """The file that `/v1/search` found something in, by the hit's id; ranges work."""
    library = state_of(request).settings.library
    if library is None:
        raise UnsupportedModalityError("this server has no library: start it with --library")
    try:
        found = await asyncio.to_thread(file_of, library, hit)
    except DataError as error:
        raise HTTPException(404, str(error)) from None
    name = Path(found.path).name
    kind, shown = _media_type(name)
    return FileResponse(
        found.path,
        media_type=kind,
        headers=_INERT,
        filename=name,
        content_disposition_type="inline" if shown else "attachment",
    )


def _media_type(name: str) -> tuple[str, bool]:
    """The type, and whether a browser may show it; a drawing in SVG can hold programs."""
    kind = mimetypes.guess_type(name)[0] or ""
    if kind.startswith(_SHOWN) and kind != "image/svg+xml":
        return kind, True
    if kind.startswith("text/"):
        return _PASSAGES, True
    return kind if kind == "application/pdf" else "application/octet-stream", False
