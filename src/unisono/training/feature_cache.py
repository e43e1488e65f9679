"""What frozen encoders make of media, kept on disk: each medium is encoded once in a run's life.

`FeatureStore` keeps tensors in files, of which several processes may use one folder and any may be
killed at any time. `EncoderCache` knows which of a model's encoders are frozen, and splits the
media of a batch into those whose features are kept and those to be encoded.
"""

import contextlib
import hashlib
import json
import logging
import os
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from unisono.models.ola.config import OlaConfig
from unisono.models.ola.encoders import OlaEncoders
from unisono.models.ola.features import KeepFeatures, Kind
from unisono.models.ola.processor import OlaProcessor
from unisono.models.ola.processor_media import audio_counts
from unisono.models.ola.prompt import AudioSpan, ImageSpan, MediaSpan, VideoSpan, of_kind

_LOG = logging.getLogger(__name__)
_STALE_S = 3600.0
"""An unfinished file this old is of a process that was killed."""


class FeatureStore:
    """A folder of tensors by key, the least recently used of which make room for others.

    A file is written under another name and renamed, so there is never half of one; its checksum
    finds one that a disk has damaged. Neither a damaged file nor a full disk stops a run.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        """Use a folder, made when there is something to keep.

        Args:
            folder: of its own; processes may share it.
            most_bytes: that it may hold. Several processes may exceed it by a sixteenth each.
        """
        self.folder = folder
        self.most_bytes = most_bytes
        self.notice: str | None = None
        self._lock = threading.Lock()
        self._bytes, self._since_count = self._make_room(0), 0

    def get(self, key: str) -> Tensor | None:
        """The tensor as it was put; None if it is not there or damaged."""
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                tensor: Tensor = file.get_tensor("features")
                intact = file.metadata()["crc32"] == _crc32(tensor)
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, TypeError):
            intact = False
        if intact:
            return tensor
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def put(self, key: str, tensor: Tensor) -> None:
        """Keep a tensor, or say once (in the log and in `notice`) why that is not possible."""
        if self.notice is not None:
            return
        tensor = tensor.detach().cpu().contiguous()
        content = save({"features": tensor}, {"crc32": _crc32(tensor)})
        if len(content) > self.most_bytes:
            return
        try:
            self._write(self._path(key), content)
        except OSError as error:
            self.notice = f"features are no longer kept in {self.folder}: {error.strerror}"
            _LOG.warning(self.notice)
        with self._lock:
            self._bytes += len(content)
            self._since_count += len(content)
            if self._bytes > self.most_bytes or self._since_count > self.most_bytes // 16:
                self._bytes, self._since_count = self._make_room(self.most_bytes // 8), 0

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    @staticmethod
    def _write(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        try:
            unfinished.write_bytes(content)
            unfinished.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise

    def _make_room(self, spare: int) -> int:
        """The bytes there are; beyond the limit, the oldest files go until `spare` is free."""
        files = sorted(self._files())
        size = sum(nbytes for _, nbytes, _ in files)
        if size <= self.most_bytes:
            return size
        for _, nbytes, path in files:
            if size <= self.most_bytes - spare:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            size -= nbytes
        return size

    def _files(self) -> list[tuple[float, int, Path]]:
        """When each was used last, its bytes, and where; without what killed processes left."""
        found = []
        for path in self.folder.glob("??/*"):
            with contextlib.suppress(OSError):  # another process removed it
                state = path.stat()
                if path.suffix == ".part" and time.time() - state.st_mtime > _STALE_S:
                    path.unlink()
                else:
                    found.append((state.st_mtime, state.st_size, path))
        return found


class EncoderCache:
    """The frozen encoders of a model, and where their features are kept."""

    def __init__(self, encoders: OlaEncoders, store: FeatureStore, precision: str = "") -> None:
        """Look at the encoders once: they must have their weights, and be frozen if they are to be.

        Args:
            encoders: before they are wrapped for distribution, which may take them apart.
            store: keeps the features.
            precision: of the forward pass; features of another are others.
        """
        self.store = store
        self._patch_size = getattr(encoders.config.vision_config, "patch_size", 1)
        self.fingerprints: dict[Kind, str] = {}
        parts: dict[Kind, nn.Module | None] = {"audio": encoders.hearing, "vision": encoders.vision}
        for kind, part in parts.items():
            if part is not None and not any(p.requires_grad for p in part.parameters()):
                described = [kind, precision, *_said_of(kind, encoders.config)]
                self.fingerprints[kind] = fingerprint(part, json.dumps(described, sort_keys=True))

    def media_tensors(
        self, processor: OlaProcessor, spans: Sequence[MediaSpan]
    ) -> dict[str, Tensor]:
        """As the processor's, but with the features that are kept in place of pixels and samples.

        Returns:
            What `OlaEncoders.each` takes, and `audio_keys` and `vision_keys`, uint8 [media, 32],
            of the media that have to be encoded: for `keeper`.
        """
        known: dict[str, Tensor] = {}
        encoded: list[MediaSpan] = []
        sounds, seen = of_kind(spans, AudioSpan), of_kind(spans, ImageSpan)
        by_kind: dict[Kind, Sequence[MediaSpan]] = {"audio": sounds, "vision": seen}
        for kind, media in by_kind.items():
            if kind not in self.fingerprints or not media:
                encoded += media
                continue
            keys = [self._key(kind, span) for span in media]
            found = [self.store.get(key.hex()) for key in keys]
            known |= _looked_up(kind, keys, found)
            encoded += [s for s, tensor in zip(media, found, strict=True) if tensor is None]
        return processor.media_tensors(encoded) | self._described(sounds, seen) | known

    def keeper(self, keys: Mapping[str, Tensor]) -> KeepFeatures:
        """What `OlaEncoders.each` tells the features of the media with these keys.

        Args:
            keys: `audio_keys`, `vision_keys`, or both.
        """

        def keep(kind: Kind, number: int, features: Tensor) -> None:
            self.store.put(bytes(keys[f"{kind}_keys"][number].tolist()).hex(), features)

        return keep

    def _key(self, kind: Kind, span: MediaSpan) -> bytes:
        return hashlib.sha256(f"{self.fingerprints[kind]}/{span.digest}".encode()).digest()

    def _described(
        self, sounds: Sequence[AudioSpan], seen: Sequence[ImageSpan]
    ) -> dict[str, Tensor]:
        """The counts and grids of all media, encoded or not."""
        tensors: dict[str, Tensor] = {}
        if sounds:
            tensors |= audio_counts(sounds)
        if seen:
            shapes = [picture.shape[:2] for span in seen for picture in span.pictures]
            tensors["patch_grids"] = torch.tensor(shapes) // self._patch_size
            tensors["picture_counts"] = torch.tensor([len(span.pictures) for span in seen])
            tensors["is_video"] = torch.tensor([isinstance(span, VideoSpan) for span in seen])
        return tensors


def media_tensors(
    processor: OlaProcessor, spans: Sequence[MediaSpan], cache: EncoderCache | None
) -> dict[str, Tensor]:
    """The encoders' inputs, from a cache if there is one."""
    if cache is None:
        return processor.media_tensors(spans)
    return cache.media_tensors(processor, spans)


def with_keeper(inputs: Mapping[str, Any], cache: EncoderCache | None) -> dict[str, Any]:
    """A batch's inputs as a model takes them: the keys of `media_tensors` become `keep`."""
    keys = {n: inputs[n] for n in ("audio_keys", "vision_keys") if n in inputs}
    given = {name: value for name, value in inputs.items() if name not in keys}
    if cache is not None and keys:
        given["keep"] = cache.keeper(keys)
    return given


def fingerprint(part: nn.Module, described: str) -> str:
    """The sha256 of a module's weights and buffers and of whatever else decides its output."""
    digest = hashlib.sha256(described.encode())
    for name, tensor in sorted(part.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()


def _looked_up(
    kind: Kind, keys: Sequence[bytes], found: Sequence[Tensor | None]
) -> dict[str, Tensor]:
    missing = [list(key) for key, tensor in zip(keys, found, strict=True) if tensor is None]
    ready = [tensor for tensor in found if tensor is not None]
    tensors = {
        f"{kind}_known": torch.tensor([tensor is not None for tensor in found]),
        f"{kind}_keys": torch.tensor(missing, dtype=torch.uint8).view(-1, 32),
    }
    return tensors | ({f"{kind}_features": torch.cat(ready)} if ready else {})


def _said_of(kind: Kind, config: OlaConfig) -> list[Any]:
    """What a config says that decides the features."""
    if kind == "vision":
        return [_fields(config.vision_config)]
    parts = (config.speech_config, config.sound_config)
    said = [*map(_fields, parts), config.audio_chunk_s, config.audio_frames_per_chunk]
    # Windows of utterances are kept token by token, whole chunks in one piece.
    return said if config.audio_window == "chunk" else [*said, "tokens", config.audio_stack]


def _fields(config: Any) -> dict[str, Any] | None:
    if config is None:
        return None
    aside = ("_name_or_path", "transformers_version")
    return {name: value for name, value in config.to_dict().items() if name not in aside}


def _bytes(tensor: Tensor) -> memoryview:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _crc32(tensor: Tensor) -> str:
    return f"{zlib.crc32(_bytes(tensor)):08x}"
