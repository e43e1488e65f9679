"""`GET /v1/models`, `/health`, `/metrics`."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from unisono.server.routes import state_of

router = APIRouter()


@router.get("/v1/models")
async def models(request: Request) -> dict[str, Any]:
    """Every model this server answers with."""
    state = state_of(request)
    names = [*state.assistants, *state.embedders]
    data = [{"id": one, "object": "model", "created": 0, "owned_by": "unisono"} for one in names]
    return {"object": "list", "data": data}


@router.get("/health")
async def health(request: Request) -> Response:
    """200 once the models are loaded and as long as they are worked with; else 503."""
    state = state_of(request)
    well = state.ready and state.jobs.alive
    said = {"status": "ok" if well else "not ready", "waiting": state.jobs.waiting}
    return JSONResponse(said, status_code=200 if well else 503)


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Counters and times, for Prometheus."""
    return Response(
        generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST
    )
