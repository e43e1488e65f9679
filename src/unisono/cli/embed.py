"""`unisono embed`: vectors of files and texts."""

import mimetypes
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unisono.cli.options import DeviceOption, DtypeOption, ModelOption, torch_dtype
from unisono.errors import (
    MediaAccessError,
    MediaEmptyError,
    MediaNotFoundError,
    MediaTooLargeError,
    UnisonoError,
)

if TYPE_CHECKING:
    from unisono.runtime.embedder import Embedder
    from unisono.runtime.vectors import VectorFile

_FAILED = 2
_MOST_TEXT_BYTES = 1_000_000


@dataclass(frozen=True)
class Entry:
    """One vector to be: a file or a text."""

    kind: str
    name: str
    path: Path | None = None

    @cached_property
    def key(self) -> str:
        """The same for the same content: a file that changed is another entry."""
        if self.path is None:
            return f"text:{self.name}"
        try:
            state = self.path.stat()
        except OSError:  # gone since it was listed: opening it will say so
            return f"{self.kind}:{self.path}:gone"
        return f"{self.kind}:{self.path.resolve()}:{state.st_size}:{state.st_mtime_ns}"

    def item(self) -> dict[str, str]:
        """As the embedder takes it.

        Raises:
            MediaError: a text file cannot be read, or holds nothing, or far too much.
        """
        if self.path is None:
            return {"text": self.name}
        return {self.kind: _text_of(self.path) if self.kind == "text" else str(self.path)}


def _text_of(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_TEXT_BYTES:
            raise MediaTooLargeError(f"text file '{path}' has more than {_MOST_TEXT_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        raise MediaAccessError(f"text file '{path}' cannot be read: {error.strerror}") from None
    if not text:
        raise MediaEmptyError(f"text file '{path}' is empty")
    return text


def embed(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Pictures, sounds, videos, .txt files, folders.")
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="A text; may be given again.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where the vectors go.")] = Path(
        "vectors.npz"
    ),
    model: ModelOption = "onepeace-nano",
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Items a batch.")] = 16,
    skip_errors: Annotated[
        bool, typer.Option("--skip-errors", help="Exit with 0 though some items failed.")
    ] = False,
) -> None:
    """Turn files and texts into vectors whose dot products are similarities.

    Interrupted, it goes on where it was when it is called again with the same --out. The .npz
    holds `vectors` [N, D], `names`, `kinds` and `model`.
    """
    from unisono.runtime import load_embedder
    from unisono.runtime.vectors import VectorFile

    entries = list(find_entries(paths or [], text or []))
    if not entries:
        raise MediaNotFoundError("there is nothing to embed: name files, folders or --text")
    embedder = load_embedder(model, device=device, dtype=torch_dtype(dtype))
    vectors = VectorFile(out, embedder.fingerprint)
    try:
        failed = _embed_new(embedder, vectors, entries, batch_size)
    finally:
        vectors.save()
    count = vectors.finish({e.key: e.name for e in entries}, {e.key: e.kind for e in entries})
    print(f"{count} of {len(entries)} embedded: {out}")
    if failed:
        _show_failed(failed)
        if not skip_errors:
            raise typer.Exit(_FAILED)


def find_entries(paths: Iterable[Path], texts: Iterable[str]) -> Iterator[Entry]:
    """Entries of the files named, of those in the folders named that can be embedded, of texts.

    Raises:
        MediaNotFoundError: there is no such path.
        UnisonoError: a file named is of no kind that can be embedded.
    """
    for path in paths:
        if path.is_dir():
            inside = (file for file in sorted(path.rglob("*")) if file.is_file())
            yield from (Entry(kind, str(f), f) for f in inside if (kind := kind_of(f)))
        elif not path.exists():
            raise MediaNotFoundError(f"there is no file or folder '{path}'")
        elif kind := kind_of(path):
            yield Entry(kind, str(path), path)
        else:
            raise UnisonoError(f"'{path}' is no picture, sound, video or .txt file by its name")
    yield from (Entry("text", one) for one in texts)


def kind_of(path: Path) -> str | None:
    """What a file is by its name: "text", "image", "audio", "video", or None."""
    if path.suffix.lower() == ".txt":
        return "text"
    kind = (mimetypes.guess_type(path.name)[0] or "").partition("/")[0]
    return kind if kind in ("image", "audio", "video") else None


def _embed_new(
    embedder: "Embedder", vectors: "VectorFile", entries: list[Entry], batch_size: int
) -> list[tuple[Entry, UnisonoError]]:
    """Embed what an earlier run did not; what failed, and why."""
    from rich.console import Console
    from rich.progress import track

    failed: list[tuple[Entry, UnisonoError]] = []
    items: list[tuple[Entry, dict[str, str]]] = []
    for entry in (one for one in entries if one.key not in vectors.known):
        try:
            items.append((entry, entry.item()))
        except UnisonoError as error:
            failed.append((entry, error))
    console = Console(stderr=True)
    results = track(
        embedder.embed_each((item for _, item in items), batch_size=batch_size),
        description="Embedding",
        total=len(items),
        console=console,
        disable=not console.is_terminal,
    )
    for (entry, _), embedded in zip(items, results, strict=True):
        if embedded.vector is not None:
            vectors.add(entry.key, embedded.vector)
        elif embedded.error is not None:
            failed.append((entry, embedded.error))
    return failed


def _show_failed(failed: list[tuple[Entry, UnisonoError]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(failed)} failed")
    table.add_column("item", overflow="fold")
    table.add_column("why", overflow="fold")
    for entry, error in failed:
        table.add_row(entry.name, str(error))
    Console(file=sys.stderr).print(table)
