"""Transcription: what a model, or its listener, hears in recordings of speech."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import PositiveInt

from unisono.errors import BadRowError
from unisono.evaluation.metrics.words import character_error_rate, word_error_rate
from unisono.evaluation.score import Score
from unisono.evaluation.task import (
    Prediction,
    TaskSettings,
    counted,
    predict_row,
)
from unisono.manifests.row import PairRow, Row
from unisono.media import load_audio
from unisono.runtime import load_assistant
from unisono.runtime.assistant import Assistant


class Transcription(TaskSettings):
    """Word and character errors over pairs of a sound and its text.

    A sound that cannot be opened or heard counts as no words heard; a row without sound or text
    is left out.

    Attributes:
        by: who is asked: the "assistant", its "listener", or, with "auto", the listener if the
            words of sounds reach the assistant through it.
        prompt: what the assistant is asked.
        language: spoken, as an ISO 639-1 code; also decides how texts are normalised.
        max_tokens: longest transcript of the assistant.
    """

    name: ClassVar[str] = "transcription"
    by: Literal["auto", "assistant", "listener"] = "auto"
    prompt: str = "Write down what is said, word for word."
    language: str = "en"
    max_tokens: PositiveInt = 256

    def load(self, model: str) -> Assistant:
        """An assistant."""
        return load_assistant(model, language=self.language)

    def predict(self, model: Assistant, rows: Sequence[Row]) -> list[Prediction]:
        """Transcripts, one sound after another."""
        heard = partial(self._heard, model)
        return [predict_row(row, lambda row: {"target": _pair(row).text}, heard) for row in rows]

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        """Word error rate and character error rate."""
        scored = counted(predictions)
        names = [one.name for one in scored]
        said = [one.output["target"] for one in scored]
        heard = [one.output.get("heard", "") for one in scored]
        return {
            "wer": word_error_rate(said, heard, names=names, language=self.language),
            "cer": character_error_rate(said, heard, names=names, language=self.language),
        }

    def _heard(self, model: Assistant, row: Row) -> Mapping[str, Any]:
        audio: Any = _pair(row).audio
        if self.by == "listener" or (self.by == "auto" and model.needs_listener):
            transcript = model.listener.listen(
                load_audio(audio), language=self.language, word_times=False
            )
            return {"heard": transcript.text}
        reply = model.chat(
            self.prompt, audio=audio, max_new_tokens=self.max_tokens, temperature=0.0
        )
        return {"heard": reply.text}


def _pair(row: Row) -> PairRow:
    if not isinstance(row, PairRow) or row.audio is None or row.text is None:
        raise BadRowError(f"{row.name}: the row must have a sound and its text")
    return row
