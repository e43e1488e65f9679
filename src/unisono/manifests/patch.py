"""Media that lie in one large file side by side, as Ola's data has them: {patch, start_num, size}.

A reference names a file, the byte a medium begins at, and how many bytes it has. A video has a
list of sizes: its frames follow each other, each an encoded picture.
"""

import os
from collections.abc import Mapping
from typing import Any

from unisono.errors import BadRowError
from unisono.manifests.place import Place
from unisono.media import DEFAULT_LIMITS

_FIELDS = {"patch", "start_num", "size"}


def is_patch(value: Any) -> bool:
    """Whether a value in the place of a path refers to a patch file."""
    return isinstance(value, Mapping) and "patch" in value


def read_patch(reference: Mapping[str, Any], kind: str, place: Place) -> bytes | list[bytes]:
    """The medium's bytes, or those of each frame.

    Args:
        reference: as in the row.
        kind: of the medium; only a "video" may have several sizes.
        place: what its path is relative to.

    Raises:
        BadRowError: it is malformed, or the file is missing or too short.
    """
    name, start, sizes = _checked(reference, kind)
    path = place.path(name)
    try:
        if os.path.exists(path) and not os.path.isfile(path):  # to open a pipe would wait
            raise BadRowError(f"patch file '{path}' is not a file")
        with open(path, "rb") as file:
            there = os.fstat(file.fileno()).st_size
            if start + sum(sizes) > there:
                raise BadRowError(
                    f"patch file '{path}' must have {start + sum(sizes):,} bytes for this {kind}, "
                    f"but has {there:,}"
                )
            file.seek(start)
            pieces = [file.read(size) for size in sizes]
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or error
        raise BadRowError(f"patch file '{path}' cannot be read: {reason}") from None
    return pieces if isinstance(reference["size"], list) else pieces[0]


def _checked(reference: Mapping[str, Any], kind: str) -> tuple[str, int, list[int]]:
    if reference.keys() != _FIELDS:
        raise BadRowError(f"a patch must have {sorted(_FIELDS)}, but has {sorted(reference)}")
    name, start, size = reference["patch"], reference["start_num"], reference["size"]
    sizes = size if isinstance(size, list) else [size]
    if not isinstance(name, str) or not name:
        raise BadRowError(f"patch must be the path of a file, but is {name!r:.80} instead")
    if not _is_count(start) or not sizes or not all(_is_count(s) and s > 0 for s in sizes):
        raise BadRowError(
            "start_num must be a number of bytes and size one or a list of them, but they are "
            f"{start!r:.80} and {size!r:.80}"
        )
    if isinstance(size, list) and kind != "video":
        raise BadRowError(f"size must be one number for {kind}, but is a list of {len(size)}")
    if sum(sizes) > DEFAULT_LIMITS.max_bytes:
        raise BadRowError(
            f"a medium may have {DEFAULT_LIMITS.max_bytes:,} bytes, not {sum(sizes):,}"
        )
    return name, start, sizes


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
