"""`unisono serve`: models over HTTP."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from unisono.cli.options import DeviceOption, VoiceOption
from unisono.errors import MissingExtraError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from unisono.runtime.placement import EngineName
    from unisono.server.process import Tls
    from unisono.server.replicas import Cluster

_KEYS = "UNISONO_API_KEYS"
_OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def serve(
    model: Annotated[str, typer.Option("--model", "-m", help="That answers.")] = "ola-nano",
    embedder: Annotated[str, typer.Option(help="That makes vectors.")] = "onepeace-nano",
    host: Annotated[str, typer.Option(help="0.0.0.0 for other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    library: Annotated[str | None, typer.Option("--library", "-l", help="For /v1/search.")] = None,
    engine: Annotated[
        str, typer.Option(help="auto, torch or llama.cpp; ray: --replicas of auto through Ray.")
    ] = "auto",
    replicas: Annotated[int, typer.Option(min=1, help="With --engine ray.")] = 2,
    ray_address: Annotated[
        str | None, typer.Option(help="A Ray cluster; by default one is started here.")
    ] = None,
    device: DeviceOption = None,
    voice: VoiceOption = None,
    cors: Annotated[
        list[str] | None, typer.Option(help="Origin of a web page that may ask.")
    ] = None,
    host_name: Annotated[
        list[str] | None,
        typer.Option(help="Name that clients call this server by, behind a proxy on this machine."),
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Fetch media at public web addresses.")
    ] = False,
    fetch_network: Annotated[
        list[str] | None, typer.Option(help="Private network to fetch from too: 10.1.0.0/16.")
    ] = None,
    files: Annotated[
        list[Path] | None, typer.Option(help="Folder whose files requests may name.")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM file, for https; with --certificate-key.")
    ] = None,
    certificate_key: Annotated[Path | None, typer.Option(help="PEM file of its key.")] = None,
    conversations: Annotated[
        int, typer.Option(min=1, help="Requests at a time, decoded together.")
    ] = 4,
    max_waiting: Annotated[int, typer.Option(min=1, help="Requests that may wait.")] = 64,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1, help="Seconds a request.")] = 300,
    drain_s: Annotated[
        float, typer.Option("--drain", min=0, help="Seconds for answers under way, after SIGTERM.")
    ] = 30,
) -> None:
    """Serve models to OpenAI's clients: chat with sound, embeddings, speech, search.

    Keys that may ask stand in the variable UNISONO_API_KEYS, with commas between; without it
    everybody who reaches the port may.
    """
    try:
        from unisono.server import ServerSettings, make_app
    except ImportError as error:
        raise MissingExtraError(str(error.name), "server") from error
    from unisono.runtime import load_assistant, load_embedder

    keys = _keys()
    settings = ServerSettings(
        api_keys=keys,
        cors_origins=tuple(cors or ()),
        hosts=_names(host, keys, host_name or []),
        conversations=conversations,
        max_waiting=max_waiting,
        timeout_s=timeout_s,
        drain_s=drain_s,
        fetch=fetch,
        fetch_networks=tuple(fetch_network or ()),
        media_folders=tuple(map(str, files or ())),
        library=library,
    )
    answers = partial(
        load_assistant,
        model,
        engine=cast("EngineName", "auto" if engine == "ray" else engine),
        device=device,
        voice=voice,
        conversations=conversations,
    )
    vectors = partial(load_embedder, embedder, device=device)
    make = partial(make_app, {model: answers}, {embedder: vectors}, settings)
    if engine == "ray":
        if certificate or certificate_key:
            raise typer.BadParameter("with --engine ray, a proxy in front has the certificate")
        _through_ray(make, host, port, _cluster(replicas, ray_address, drain_s))
    else:
        from unisono.server.process import run

        tls = _tls(certificate, certificate_key)
        raise typer.Exit(run(make(), host=host, port=port, tls=tls))


def _tls(certificate: Path | None, key: Path | None) -> "Tls | None":
    from unisono.server.process import Tls

    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise typer.BadParameter("--certificate and --certificate-key must be given together")
    tls = Tls(certificate, key)
    tls.check()
    return tls


def _through_ray(make: "Callable[..., FastAPI]", host: str, port: int, cluster: "Cluster") -> None:
    from unisono.server.replicas import serve_replicas

    raise typer.Exit(serve_replicas(partial(_replica, make), cluster, host=host, port=port))


def _cluster(replicas: int, address: str | None, drain_s: float) -> "Cluster":
    import torch

    from unisono.server.replicas import Cluster

    cores = os.cpu_count() or 1
    return Cluster(
        replicas,
        address,
        # On machines of its own, Ray knows how many cores there are; here they are shared out.
        cpus=1.0 if address else cores / replicas if replicas > cores else cores // replicas,
        gpus=1.0 if torch.cuda.is_available() else 0.0,
        drain_s=drain_s,
    )


def _replica(make: "Callable[..., FastAPI]", spoken: object) -> "FastAPI":
    """The application in one of many: it takes no request before its models are loaded."""
    return make(spoken=spoken, load_first=True)


def _keys() -> frozenset[str]:
    listed = os.environ.get(_KEYS, "").split(",")
    return frozenset(filter(None, map(str.strip, listed)))


def _names(host: str, keys: frozenset[str], more: list[str]) -> tuple[str, ...]:
    """Names that the server goes by; any, where a key is needed or others may reach it."""
    if keys or (host not in _LOOPBACK and not more):
        return ()
    return (*_OWN_NAMES, *(one.lower() for one in more))
