"""`verbose_json`: words and lines with their times."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from unisono.server.wire.subtitles import lines, text_of
from unisono.speech import Transcript, Word

Granularity = Literal["word", "segment"]


def verbose(transcript: Transcript, granularities: Sequence[Granularity]) -> dict[str, Any]:
    """A transcript in OpenAI's long form."""
    said: dict[str, Any] = {
        "task": "transcribe",
        "language": transcript.language,
        "duration": transcript.duration_s,
        "text": transcript.text,
    }
    if "segment" in granularities:
        said["segments"] = [_segment(*one) for one in enumerate(lines(transcript.words))]
    if "word" in granularities:
        said["words"] = [
            {"word": w.text, "start": w.start_s, "end": w.end_s} for w in transcript.words
        ]
    return said


def _segment(number: int, words: Sequence[Word]) -> dict[str, Any]:
    logs = [math.log(max(word.probability, 1e-9)) for word in words]
    return {
        "id": number,
        "start": words[0].start_s,
        "end": words[-1].end_s,
        "text": text_of(words),
        "avg_logprob": sum(logs) / len(logs),
    }
