"""`GET /v1/realtime`: a WebSocket; see `unisono.server.realtime`."""

from fastapi import APIRouter, WebSocket

from unisono.server.intake import Intake
from unisono.server.keys import given_key
from unisono.server.realtime.connection import Connection
from unisono.server.state import State

router = APIRouter()
_SUBPROTOCOL = "realtime"


@router.websocket("/v1/realtime")
async def realtime(socket: WebSocket, model: str = "") -> None:
    """Talk; as OpenAI's, with the names of the beta for those who ask for it."""
    state: State = socket.app.state.unisono
    intake: Intake = socket.app.state.intake
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(_SUBPROTOCOL if _SUBPROTOCOL in offered else None)
    if model and model not in state.assistants:
        await socket.close(1008, f"there is no model {model!r:.60}")
        return
    if not state.connections.enter():
        await socket.close(1013, "too many connections; try again later")
        return
    try:
        key = given_key({k.lower(): v for k, v in socket.scope["headers"]}).decode("latin-1")
        client = key or (socket.client.host if socket.client else "")
        await Connection(socket, state, intake, model=model, client=client).run()
    finally:
        state.connections.leave()
