"""Predictions on disk, one a line, so that a run that was killed goes on where it was.

    {"name": "questions.jsonl:3", "output": {"target": ["blue"], "answer": "Blue."}}
    {"name": "questions.jsonl:4", "output": {}, "error": "…"}

The lines stand in the manifest's order, so their number says what comes next.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from unisono.errors import CheckpointError
from unisono.evaluation.task import Prediction


class PredictionFile:
    """Appends predictions to a file, and knows those that are in it.

    Attributes:
        path: of the file.
        known: all predictions in it, in order.
    """

    def __init__(self, path: Path) -> None:
        """Take up what is there; a last line that a kill cut short is removed.

        Raises:
            CheckpointError: the file cannot be read or written, or is not one of these.
        """
        self.path = path
        try:
            self._file = path.open("a+b")
            self.known = self._read()
        except OSError as error:
            raise CheckpointError(f"'{path}' cannot be opened: {error.strerror}") from error

    def append(self, predictions: Sequence[Prediction]) -> None:
        """Write predictions; once this returns, neither a kill nor a power cut loses them.

        Raises:
            CheckpointError: the disk is full, say.
        """
        lines = "".join(json.dumps(_entry(one), ensure_ascii=False) + "\n" for one in predictions)
        try:
            self._file.write(lines.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise CheckpointError(f"'{self.path}' cannot be written: {error.strerror}") from error
        self.known += predictions

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "PredictionFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(self) -> list[Prediction]:
        self._file.seek(0)
        text = self._file.read()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            self._file.truncate(whole)
        return _parsed(self.path, text[:whole])


def read_predictions(path: Path) -> list[Prediction]:
    """What is in a file of predictions; a last line cut short is passed over.

    Raises:
        CheckpointError: there is no such file, or it is not one of these.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read: {error.strerror}") from error
    return _parsed(path, text[: text.rfind(b"\n") + 1])


def _parsed(path: Path, text: bytes) -> list[Prediction]:
    predictions = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            entry = json.loads(line)
            predictions.append(Prediction(entry["name"], entry["output"], entry.get("error")))
        except (ValueError, TypeError, KeyError):
            raise CheckpointError(
                f"line {number} of '{path}' is no prediction: delete the folder, or name another"
            ) from None
    return predictions


def _entry(prediction: Prediction) -> dict[str, Any]:
    entry = {"name": prediction.name, "output": dict(prediction.output)}
    return entry if prediction.error is None else {**entry, "error": prediction.error}
