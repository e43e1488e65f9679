"""Where the speech of an answer goes: a WAV file, a pipe, the loudspeakers."""

import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from unisono.errors import VoiceError
from unisono.speech import Loudspeakers, WavWriter

if TYPE_CHECKING:
    from unisono.runtime import SpeechChunk


class SpeechSink:
    """Passes chunks on as they come; opened by the first, because it tells the sample rate.

    A context manager: left by an exception or Ctrl-C, it removes an unfinished file and stops
    the sound at once.
    """

    def __init__(self, file: Path | None, *, play: bool) -> None:
        self._file = file
        self._play = play
        self._stack = ExitStack()
        self._writer: WavWriter | None = None
        self._speakers: Loudspeakers | None = None
        if play:
            Loudspeakers.check()  # no loudspeakers: say so before anything is computed
        if file is not None and str(file) != "-" and not file.absolute().parent.is_dir():
            raise VoiceError(f"there is no folder '{file.parent}' to write '{file.name}' into")

    def __bool__(self) -> bool:
        return self._file is not None or self._play

    def __enter__(self) -> Self:
        self._stack.__enter__()
        return self

    def write(self, chunk: "SpeechChunk") -> None:
        """Append a chunk."""
        self._open(chunk.sample_rate_hz)
        if self._writer is not None:
            self._writer.write(chunk.pcm)
        if self._speakers is not None:
            self._speakers.write(chunk.pcm)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def _open(self, sample_rate_hz: int) -> None:
        if self._file is not None and self._writer is None:
            target = sys.stdout.buffer if str(self._file) == "-" else self._file
            try:
                self._writer = self._stack.enter_context(WavWriter(target, sample_rate_hz))
            except OSError as error:
                raise VoiceError(f"'{self._file}' cannot be written: {error.strerror}") from error
        if self._play and self._speakers is None:
            self._speakers = self._stack.enter_context(Loudspeakers(sample_rate_hz))
