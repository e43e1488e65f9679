"""Questions by a language model that is shown the clip, its subtitles and labels."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from unisono.curation.chat import Chat
from unisono.curation.records import Question
from unisono.curation.stage import Model
from unisono.curation.writers import KINDS, Evidence, Writer

_ASKED = """\
You write questions about a video clip for people who can see and hear it.
Subtitles, with seconds:
{subtitles}
Perhaps seen: {seen}
Perhaps heard: {heard}

Write {count} questions with short answers. Some must need both the picture and the sound: nobody \
who only sees or only hears the clip can answer them. Some need the picture only, some the sound \
only. Do not speak of subtitles or lists. Answer with a JSON array and nothing else:
[{{"question": "…", "answer": "…", "needs": "both"}}, …]
"needs" is "both", "picture" or "sound"."""


class ModelWriter:
    """A `Writer` that asks a `Chat`."""

    def __init__(self, chat: Model[Chat], count: int = 6) -> None:
        self._chat, self._count = chat, count

    def write(self, evidence: Evidence) -> list[Question]:
        """See `Writer`; an answer that is no JSON gives no questions."""
        lines = (f"{one.start_s:.1f}: {one.text}" for one in evidence.subtitles.sentences)
        prompt = _ASKED.format(
            subtitles="\n".join(lines) or "(nobody speaks)",
            seen=", ".join(label.text for label in evidence.labels.pictures) or "(unknown)",
            heard=", ".join(label.text for label in evidence.labels.sounds) or "(unknown)",
            count=self._count,
        )
        said = self._chat.get().ask(prompt, frames=evidence.frames, sound=evidence.sound)
        return list(read_questions(said))[: self._count]


def read_questions(said: str) -> Iterator[Question]:
    """The questions in a model's answer, whatever stands around them; malformed ones left out."""
    for one in _objects(said):
        text, answer, needs = (one.get(name) for name in ("question", "answer", "needs"))
        if not isinstance(text, str) or not isinstance(answer, str) or needs not in KINDS:
            continue
        if text.strip() and answer.strip():
            yield Question("model", needs, text.strip(), answer.strip())


def _objects(said: str) -> Iterator[dict[str, Any]]:
    decoder, place = json.JSONDecoder(), 0
    while (place := said.find("{", place)) >= 0:
        try:
            found, place = decoder.raw_decode(said, place)
        except (ValueError, RecursionError):
            place += 1
            continue
        if isinstance(found, dict):
            yield found


def model_writer(chat: Model[Chat], count: int = 6) -> Model[Writer]:
    """A writer that asks a model."""
    made = partial(ModelWriter, chat, count)
    return Model(f"{chat.name} writes {count}", chat.fingerprint, made)
