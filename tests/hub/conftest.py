"""No test of the hub (but the one marked slow) leaves this machine or reads its settings."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_registry import Registry
from hub_toys import CLOSED

from unisono.hub import sources_debian


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Registry]:
    server = Registry()
    server.start()
    _point_at(monkeypatch, tmp_path, server.url)
    yield server
    server.stop()


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _point_at(monkeypatch, tmp_path, CLOSED)


def _point_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{url}/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("npm_config_registry", url)
    monkeypatch.setenv("UNISONO_CACHE", str(tmp_path / "cache"))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    apt = tmp_path / "apt"
    apt.mkdir(exist_ok=True)
    (apt / "sources.list").write_text(f"deb {url}/debian bookworm main\n")
    monkeypatch.setattr(sources_debian, "APT_FOLDER", apt)
    monkeypatch.setattr(sources_debian, "DEBIAN_ARCHIVE", f"{CLOSED}/debian")
    monkeypatch.setattr(sources_debian, "SNAPSHOT_ARCHIVE", f"{CLOSED}/snapshot")
