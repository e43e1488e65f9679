"""Which model it is that a name stands for now: another fingerprint, maybe other predictions."""

import hashlib
import json
from pathlib import Path

from unisono.hub import load_catalog
from unisono.runtime.load_catalog import shipped_digest


def model_fingerprint(name: str) -> str:
    """A digest of what a model's files are.

    Args:
        name: a folder (names, sizes and times of its files), a model of the catalog (what the
            package ships of it, and its parts' pinned sha256), or a repository of a model hub
            (its name).
    """
    folder = Path(name)
    if folder.is_dir():
        return _digest(_states(folder))
    catalog = load_catalog()
    if name not in catalog.models:
        return _digest(name)
    entry = catalog.models[name]
    parts = [catalog.part(part) for part in sorted(entry.parts.values())]
    fetched = [[file.sha256 for file in part.files] for part in parts]
    return _digest([name, shipped_digest(entry), *fetched])


def _states(folder: Path) -> list[tuple[str, int, int]]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    states = ((str(path.relative_to(folder)), path.stat()) for path in files)
    return [(name, state.st_size, state.st_mtime_ns) for name, state in states]


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
