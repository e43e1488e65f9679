"""Conversations as LLaVA and Ola write them: {"conversations": [{"from": "human", "value": …}]}.

`<image>`, `<video>` and `<speech>` (or `<audio>`) in a human's words stand for the media of the
row, in their order; where a row has a video and no image, `<image>` is the video, as Ola has it.
`audio_q` is a question asked by sound: it stands at a `<speech>` that no other sound fills, or in
place of the words of the first human turn. `text_q` is the same question in writing: it becomes the
sound's transcript. A video beside a sound is read without its own, which the sound is already.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from unisono.errors import BadRowError

_FIELDS = {
    "image": ("image", "images"),
    "video": ("video", "videos"),
    "audio": ("audio", "audios", "speech"),
}
MEDIA_FIELDS = ("audio_q", *(name for names in _FIELDS.values() for name in names))

_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant"}
MARK = re.compile(r"\s*<(image|video|speech|audio)>\s*")
NAME_OF_MARK = {"image": "image", "video": "video", "audio": "speech"}
"""Of a medium's kind, as it is written."""

Part = dict[str, Any]
Locate = Callable[[Any, str], Any]
"""What stands for a medium, and its kind -> what can be opened."""


def messages_of(said: Mapping[str, Any], locate: Locate) -> list[dict[str, Any]]:
    """The turns in our own form, not validated yet.

    Args:
        said: the row.
        locate: what stands for a medium -> what can be opened.

    Raises:
        BadRowError: turns are malformed, or there are more marks than media, or fewer.
    """
    turns = said["conversations"]
    if not isinstance(turns, list):
        raise BadRowError(f"conversations must be a list, but are {type(turns).__name__} instead")
    said_turns = [_turn(turn) for turn in turns]
    media = {kind: _parts_of(said, kind, locate) for kind in _FIELDS}
    marks = _marks(said_turns, image="image" if media["image"] or not media["video"] else "video")
    question = _question(said, locate)
    if question is not None and marks.count("audio") == len(media["audio"]) + 1:
        media["audio"].append(question)
        question = None
    _check_counts(marks, media)
    waiting = iter([media[kind].pop(0) for kind in marks])
    messages = [
        {"role": role, "content": _in_place(words, waiting) if role == "user" else words}
        for role, words in said_turns
    ]
    if question is not None:
        _ask_by_sound(messages, question)
    return messages


def _check_counts(marks: list[str], media: Mapping[str, list[Part]]) -> None:
    for kind, given in media.items():
        if marks.count(kind) != len(given):
            raise BadRowError(
                f"the turns have {marks.count(kind)} marks for {kind}, but the row has {len(given)}"
            )


def _parts_of(said: Mapping[str, Any], kind: str, locate: Locate) -> list[Part]:
    """What the row has of a kind, under any of its names: one medium or a list of them."""
    heard = any(said.get(name) is not None for name in _FIELDS["audio"])
    silent = {"use_audio": False} if kind == "video" and heard else {}
    parts = []
    for given in (said[name] for name in _FIELDS[kind] if said.get(name) is not None):
        for medium in given if isinstance(given, list) else [given]:
            parts.append({"type": kind, kind: locate(medium, kind), **silent})
    return parts


def _question(said: Mapping[str, Any], locate: Locate) -> Part | None:
    """The question asked by sound, with its words where the row has them."""
    if said.get("audio_q") is None:
        return None
    part = {"type": "audio", "audio": locate(said["audio_q"], "audio")}
    return part if said.get("text_q") is None else part | {"transcript": said["text_q"]}


def _marks(turns: list[tuple[str, str]], *, image: str) -> list[str]:
    """The kinds of media that the human turns mark, in order."""
    kinds = {"image": image, "video": "video", "speech": "audio", "audio": "audio"}
    found = [mark for role, words in turns if role == "user" for mark in MARK.findall(words)]
    return [kinds[mark] for mark in found]


def _turn(turn: Any) -> tuple[str, str]:
    if not isinstance(turn, Mapping) or not isinstance(turn.get("value"), str):
        raise BadRowError(f"a turn must be {{from, value}}, but is {turn!r:.80} instead")
    who = turn.get("from")
    role = "system" if who == "system" else _ROLES.get(str(who))
    if role is None:
        raise BadRowError(f"from must be human, gpt or system, but is {who!r:.80} instead")
    return role, turn["value"]


def _in_place(words: str, media: Iterator[Part]) -> list[Part]:
    """Marks become the next medium; what stands between them, texts."""
    parts: list[Part] = []
    for place, piece in enumerate(MARK.split(words)):
        if place % 2:
            parts.append(next(media))
        elif piece.strip():
            parts.append({"type": "text", "text": piece.strip()})
    return parts


def _ask_by_sound(messages: list[dict[str, Any]], question: Part) -> None:
    """The first human turn keeps its media; its words are heard instead of read."""
    for message in messages:
        if message["role"] == "user":
            seen = [part for part in message["content"] if part["type"] != "text"]
            message["content"] = [*seen, question]
            return
    raise BadRowError("audio_q needs a human turn, but there is none")
