"""The door for media: found, fetched if that is allowed, and measured before a model sees them.

Sounds leave it decoded, since only decoding shows how long they are; pictures and videos leave it
as they came, after their pixels were counted.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unisono.conversation import AudioPart, ImagePart, Message, Part, VideoPart
from unisono.errors import MediaAccessError, MediaTooLargeError
from unisono.media import (
    SAMPLE_RATE_HZ,
    Limits,
    Waveform,
    image_pixels,
    load_audio,
    video_cost,
)
from unisono.server.fetch import Fetcher
from unisono.server.local_files import LocalFiles
from unisono.server.settings import ServerSettings
from unisono.server.wire.media import Address

_AT_ONCE = 4
"""Media that are measured side by side, of all requests together."""


@dataclass
class Allowance:
    """What is left of a request's limits.

    Attributes:
        pixels: of pictures.
        seconds: of sounds and videos.
        video_pixels: of videos' frames.
        opened: addresses and files.
    """

    pixels: int
    seconds: float
    video_pixels: int
    opened: int

    def limits(self, most_bytes: int) -> Limits:
        """For the next medium."""
        return Limits(max_bytes=most_bytes, max_seconds=max(0.0, self.seconds))


class Intake:
    """See the module."""

    def __init__(self, settings: ServerSettings) -> None:
        """Make it.

        Raises:
            MediaAccessError: a folder or a network of the settings is none.
        """
        self._settings = settings
        self._fetcher = Fetcher(settings)
        self._files = LocalFiles(settings.media_folders)
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def messages(self, messages: Sequence[Message]) -> list[Message]:
        """The same conversation, its media opened.

        Raises:
            MediaError: one cannot or may not be opened, or they are too much together.
        """
        allowance = self._allowance()
        return [await self._message(one, allowance) for one in messages]

    async def items(self, items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Items of text, image, audio, video (also with "minus_" before), their media opened.

        Raises:
            MediaError: as `messages`.
        """
        allowance = self._allowance()
        return [
            {
                key: await self._open(key.removeprefix("minus_"), value, allowance)
                for key, value in item.items()
            }
            for item in items
        ]

    async def sound(self, data: bytes) -> Waveform:
        """A sound that was sent as a file.

        Raises:
            MediaError: as `messages`.
        """
        opened: Waveform = await self._open("audio", data, self._allowance())
        return opened

    def _allowance(self) -> Allowance:
        most = self._settings
        return Allowance(most.max_pixels, most.max_media_s, most.max_video_pixels, most.max_fetches)

    async def _message(self, message: Message, allowance: Allowance) -> Message:
        if isinstance(message.content, str):
            return message
        parts = [await self._part(part, allowance) for part in message.content]
        return message.model_copy(update={"content": tuple(parts)})

    async def _part(self, part: Part, allowance: Allowance) -> Part:
        if isinstance(part, ImagePart):
            opened = await self._open("image", part.image, allowance)
            return part.model_copy(update={"image": opened})
        if isinstance(part, AudioPart):
            opened = await self._open("audio", part.audio, allowance)
            return part.model_copy(update={"audio": opened})
        if isinstance(part, VideoPart):
            opened = await self._open("video", part.video, allowance)
            return part.model_copy(update={"video": opened})
        return part

    async def _open(self, kind: str, source: Any, allowance: Allowance) -> Any:
        if kind == "text":
            return source
        async with self._slots:
            if isinstance(source, Address):
                allowance.opened -= 1
                if allowance.opened < 0:
                    most = self._settings.max_fetches
                    raise MediaAccessError(f"a request may name at most {most} addresses")
                source = await self._found(source.url)
            return await asyncio.to_thread(self._measured, kind, source, allowance)

    async def _found(self, url: str) -> bytes:
        if url[:7].lower() == "http://" or url[:8].lower() == "https://":
            return await self._fetcher.fetch(url)
        if not self._settings.media_folders:
            raise MediaAccessError("media must be a data: URL; no files of the server are read")
        return await asyncio.to_thread(self._files.read, url, self._settings.max_request_bytes)

    def _measured(self, kind: str, source: Any, allowance: Allowance) -> Any:
        """The medium, or an error; what it costs is taken from the allowance."""
        limits = allowance.limits(self._settings.max_request_bytes)
        if kind == "image":
            allowance.pixels -= image_pixels(source, limits=limits)
        elif kind == "audio":
            samples = load_audio(source, limits=limits)
            allowance.seconds -= len(samples) / SAMPLE_RATE_HZ
            return Waveform(samples, SAMPLE_RATE_HZ)
        else:
            cost = video_cost(source, limits=limits)
            allowance.seconds -= cost.seconds
            allowance.video_pixels -= cost.pixels
        self._check(allowance)
        return source

    def _check(self, allowance: Allowance) -> None:
        most = self._settings
        if allowance.pixels < 0:
            raise MediaTooLargeError(f"the pictures have more than {most.max_pixels:,} pixels")
        if allowance.video_pixels < 0:
            raise MediaTooLargeError(
                f"the videos' frames have more than {most.max_video_pixels:,} pixels in all"
            )
