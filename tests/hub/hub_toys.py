"""Catalogs of one toy part, and shorthands for its sources."""

import hashlib
from pathlib import Path
from typing import Any

from unisono.hub import Catalog

CLOSED = "http://127.0.0.1:9"  # the discard port: nothing listens there


def catalog_of(**files: tuple[bytes, list[dict[str, Any]]]) -> Catalog:
    """A catalog of one part, `toy`, whose files are given as content and sources."""
    entries = [
        {
            "name": name.replace("__", "."),
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": len(content),
            "sources": sources,
        }
        for name, (content, sources) in files.items()
    ]
    about = {"summary": "a toy", "licence": "MIT", "attribution": "nobody", "home": "nowhere"}
    return Catalog.model_validate(
        {"models": {}, "parts": {"toy": {"name": "toy", **about, "files": entries}}}
    )


def pypi(*packages: tuple[str, str]) -> dict[str, Any]:
    pairs = [{"requirement": name, "member": member} for name, member in packages]
    return {"kind": "pypi", "packages": pairs}


def debian(member: str | None = None) -> dict[str, Any]:
    path = "pool/main/t/toy/toy_1.0-1_all.deb"
    source = {"kind": "debian", "package": "toy", "version": "1.0-1", "pool_path": path}
    return source | ({"member": member} if member else {})


def npm(member: str | None = None, package: str = "toy") -> dict[str, Any]:
    source = {"kind": "npm", "package": package, "version": "1.0.0"}
    return source | ({"member": member} if member else {})


def everything_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
