"""The application: routes, guards, and what happens at the beginning and at the end."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from unisono.errors import UnisonoError
from unisono.runtime import Assistant, Embedder
from unisono.server.guards import Guards, Metrics
from unisono.server.intake import Intake
from unisono.server.jobs import JobQueue
from unisono.server.logs import log
from unisono.server.routes import audio, chat, embeddings, models, page, realtime, search
from unisono.server.settings import ServerSettings
from unisono.server.spoken import Spoken, SpokenAnswers
from unisono.server.state import State
from unisono.server.wire.errors import DOCUMENTED, body, status_of


def make_app(
    assistants: Mapping[str, Callable[[], Assistant]],
    embedders: Mapping[str, Callable[[], Embedder]],
    settings: ServerSettings | None = None,
    *,
    spoken: Spoken | None = None,
    load_first: bool = False,
) -> FastAPI:
    """A server over models.

    Args:
        assistants, embedders: name -> how to load it; the first of each is the default, and is
            loaded when the server starts.
        settings: limits and permissions.
        spoken: what remembers spoken answers, where several servers share them.
        load_first: begin to answer when the models are loaded, rather than at once with 503 on
            `/health`.

    Raises:
        MediaAccessError: a folder or a network of the settings is none.
    """
    settings = settings or ServerSettings()
    jobs = JobQueue(
        max_waiting=settings.max_waiting,
        timeout_s=settings.timeout_s,
        workers=settings.conversations,
    )
    state = State(
        settings, dict(assistants), dict(embedders), jobs, spoken=spoken or SpokenAnswers()
    )

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        if load_first:
            await asyncio.to_thread(state.load_all)
        loading = asyncio.create_task(asyncio.to_thread(_load, state))
        yield
        await asyncio.to_thread(jobs.close)
        await loading

    # No pages about the interface: they would load programs from other hosts.
    app = FastAPI(title="Unisono", lifespan=life, docs_url=None, redoc_url=None)
    app.state.unisono, app.state.metrics = state, Metrics(jobs, state.drain)
    app.state.intake = Intake(settings)
    for one in (models, chat, embeddings, audio, search, realtime, page):
        app.include_router(one.router, responses=DOCUMENTED)
    _answer_errors(app)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )
    app.add_middleware(Guards, settings=settings, metrics=app.state.metrics, drain=state.drain)
    return app


def _load(state: State) -> None:
    try:
        state.load_all()
    except UnisonoError as error:
        log.error("the models cannot be loaded: %s", error)


def _answer_errors(app: FastAPI) -> None:
    @app.exception_handler(UnisonoError)
    async def ours(_: Request, error: UnisonoError) -> JSONResponse:
        status = status_of(error)
        return JSONResponse(body(str(error), status), status_code=status)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        message = f"{place}: {first['msg']}" if place else str(first["msg"])
        return JSONResponse(body(message, 400, param=place or None), status_code=400)

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse(body(str(error.detail), error.status_code), error.status_code)
