"""LibriSpeech (ICASSP 2015, openslr.org/12): word errors on read books."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from unisono.errors import BadRowError, DataError
from unisono.evaluation.tasks.transcription import Transcription
from unisono.manifests.row import PairRow


class LibriSpeech(Transcription):
    """A split's folder (`test-clean`), with `*.trans.txt` beside the sounds it names.

    Texts are normalised as Whisper's authors do; see `Transcription`.
    """

    name: ClassVar[str] = "librispeech"

    def open(self, paths: Sequence[str], media: Path | None) -> "Utterances":
        """All utterances below some folders.

        Raises:
            DataError: there are none.
        """
        return Utterances([Path(path) for path in paths])


class Utterances:
    """Rows of all transcripts below some folders, in the order of their names."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._lines = [
            (transcript, line)
            for folder in folders
            for transcript in sorted(folder.rglob("*.trans.txt"))
            for line in transcript.read_text(encoding="utf-8").splitlines()
            if line.strip()
        ]
        if not self._lines:
            raise DataError(f"there is no *.trans.txt below '{folders[0]}'")
        told = "\n".join(line for _, line in self._lines)
        self.fingerprint = hashlib.sha256(told.encode()).hexdigest()

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> PairRow:
        transcript, line = self._lines[index]
        identity, _, text = line.partition(" ")
        for ending in (".flac", ".wav", ".ogg"):
            if (sound := transcript.with_name(identity + ending)).is_file():
                return PairRow(identity, text=text, audio=str(sound))
        raise BadRowError(f"{identity}: there is no sound beside '{transcript.name}'")
