"""Where the media of a row lie."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from unisono.errors import BadRowError


@dataclass(frozen=True)
class Place:
    """What the paths in a row are relative to.

    Attributes:
        folder: that relative paths begin at.
        members: bytes by name, for a row in an archive that holds its media too; a path that is
            one of the names is these bytes.
    """

    folder: Path
    members: Mapping[str, bytes] = field(default_factory=dict)

    def path(self, said: str) -> str:
        """A row's path as the operating system takes it.

        Raises:
            BadRowError: it is relative and leads out of the folder.
        """
        if os.path.normpath(said).split(os.sep)[0] == os.pardir:
            raise BadRowError(
                f"path {said!r:.200} leads out of the folder '{self.folder}': name another folder "
                "as media, or give absolute paths"
            )
        return os.fspath(self.folder / said)
