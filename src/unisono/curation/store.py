"""What was done, by its name: a small file each, whole or not there at all.

    work/<stage>/<2 digits>/<key>.json    an outcome, its SHA-256 in the first line
    packs/<2 digits>/<SHA-256>            frames and sound of a clip

Files get their names last, so a process killed at any moment leaves nothing that is half. What is
torn all the same (a full disk, a power cut) does not fit its hash, and counts as not there.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from unisono.curation.records import Clip, Outcome, Pack, adapter_of, plain
from unisono.errors import DataError
from unisono.manifests.patch import read_patch
from unisono.manifests.place import Place

_PART = ".part"


@dataclass(frozen=True)
class Store:
    """A folder of outcomes and packs; processes may share it."""

    folder: Path

    def put(self, stage: str, key: str, outcome: Outcome) -> None:
        """Keep an outcome.

        Raises:
            DataError: it cannot be written.
        """
        said = {**vars(outcome), "record": plain(outcome.record)}
        content = json.dumps(said, sort_keys=True, ensure_ascii=False).encode()
        digest = hashlib.sha256(content).hexdigest().encode()
        self._write(self._place(stage, key), digest + b"\n" + content)

    def get(self, stage: str, key: str, kind: type) -> Outcome | None:
        """An outcome with a record of a type; None if there is none, or it is torn."""
        try:
            digest, _, content = self._place(stage, key).read_bytes().partition(b"\n")
        except OSError:
            return None
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return None
        said = json.loads(content)
        record = said.pop("record")
        if record is not None:
            record = adapter_of(kind).validate_python(record)
        return Outcome(record=record, **said)

    def put_pack(self, frames: list[bytes], sound: bytes) -> Pack:
        """Keep the encoded frames and the sound of a clip.

        Raises:
            DataError: they cannot be written.
        """
        content = b"".join([*frames, sound])
        pack = Pack(
            hashlib.sha256(content).hexdigest(), tuple(len(one) for one in frames), len(sound)
        )
        if not self.has_pack(pack):
            self._write(self.path_of(pack), content)
        return pack

    def path_of(self, pack: Pack) -> Path:
        """Where a pack lies."""
        return self.folder / "packs" / pack.name[:2] / pack.name

    def has_pack(self, pack: Pack) -> bool:
        """Whether it is there, in full length."""
        try:
            return self.path_of(pack).stat().st_size == sum(pack.frames) + pack.sound
        except OSError:
            return False

    def frames(self, clip: Clip) -> list[bytes]:
        """The clip's frames, JPEG."""
        said = {"patch": str(self.path_of(clip.pack)), "start_num": 0}
        found = read_patch({**said, "size": list(clip.pack.frames)}, "video", Place(self.folder))
        return found if isinstance(found, list) else [found]

    def sound(self, clip: Clip) -> bytes | None:
        """The clip's sound, WAV; None without one."""
        if not clip.pack.sound:
            return None
        start = sum(clip.pack.frames)
        said = {"patch": str(self.path_of(clip.pack)), "start_num": start}
        found = read_patch({**said, "size": clip.pack.sound}, "audio", Place(self.folder))
        return found if isinstance(found, bytes) else None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other run may use the folder; what killed ones left half is removed.

        Raises:
            DataError: another run does, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / ".lock")
            with lock.acquire(timeout=0):
                for left in self.folder.rglob(f"*{_PART}"):
                    left.unlink(missing_ok=True)
                yield
        except Timeout:
            raise DataError(f"another run is writing to '{self.folder}'") from None
        except (FileExistsError, NotADirectoryError, PermissionError) as error:
            raise DataError(f"'{self.folder}' cannot be written: {error.strerror}") from None

    def _place(self, stage: str, key: str) -> Path:
        return self.folder / "work" / stage / key[:2] / f"{key}.json"

    def _write(self, path: Path, content: bytes) -> None:
        unfinished = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_PART}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_bytes(content)
            os.replace(unfinished, path)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise DataError(f"'{path}' cannot be written: {error.strerror}") from None
