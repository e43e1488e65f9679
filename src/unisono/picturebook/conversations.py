"""The step "conversations": turns of the other steps in one conversation, as people really talk.

A picture, then a sound, then a question of words alone: a model that only ever saw the first turn
of a conversation does not expect a second one. Half of the spoken questions come without the words
that a listener would have heard, so that they must be understood through the connector.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from unisono.conversation import AudioPart, Message, Part, TextPart
from unisono.errors import DataError
from unisono.manifests import ConversationRow, Manifest, open_manifest, write_manifest
from unisono.picturebook.step import Step, draws

TRAIN_COUNT = 4_000
MOST_TURNS = 4

_UNHEARD_SHARE = 0.5


@dataclass(frozen=True)
class Source:
    """Where turns come from.

    Attributes:
        step: of the picturebook, whose manifest of training rows is read.
        file: that manifest.
        weight: how often a turn is from here.
    """

    step: str
    file: str
    weight: float


SOURCES = (
    Source("scenes", "train.jsonl", 3.0),
    Source("clips", "train.jsonl", 2.0),
    Source("sounds", "questions_train.jsonl", 2.0),
    Source("spoken_questions", "train.jsonl", 2.0),
    Source("printed_words", "train.jsonl", 0.5),
    Source("instructions", "train.jsonl", 1.0),
)

Turn = tuple[Message, Message]
"""What is asked, and the answer."""


def build(folder: Path, data: Path) -> None:
    """Fill the step's folder: `train`. Paths in it are relative to the folder of all steps.

    Raises:
        DataError: a manifest has no conversations.
    """
    opened = [(source, _opened(data, source)) for source in SOURCES]
    rows = conversations(opened, TRAIN_COUNT)
    write_manifest(rows, folder / "train.jsonl", media=data)


STEP = Step("conversations", 1, tuple(source.step for source in SOURCES), build)


def conversations(
    opened: Sequence[tuple[Source, Manifest]], count: int
) -> Iterator[ConversationRow]:
    """Conversations of one to four turns.

    Args:
        opened: sources with their rows.
        count: of conversations.
    """
    weights = [source.weight for source, _ in opened]
    for number in range(count):
        draw = draws("conversations", number)
        chosen = draw.choices(opened, weights, k=draw.randint(1, MOST_TURNS))
        turns = [_turn(rows[draw.randrange(len(rows))], draw) for _, rows in chosen]
        messages = tuple(message for turn in turns for message in turn)
        yield ConversationRow(f"{number:05}", messages, {"steps": [one.step for one, _ in chosen]})


def _turn(row: object, draw: Random) -> Turn:
    """One question of a row, with the medium that its first question shows."""
    if not isinstance(row, ConversationRow):
        raise DataError(f"{getattr(row, 'name', row)}: a conversation is expected here")
    first = row.messages[0].parts
    asked = 2 * draw.randrange(len(row.messages) // 2)
    media = tuple(part for part in first if not isinstance(part, TextPart))
    words = tuple(part for part in row.messages[asked].parts if isinstance(part, TextPart))
    unheard = draw.random() < _UNHEARD_SHARE
    shown = tuple(map(_unheard, media)) if unheard else media
    return Message(role="user", content=shown + words), row.messages[asked + 1]


def _unheard(part: Part) -> Part:
    if isinstance(part, AudioPart):
        return part.model_copy(update={"transcript": ""})
    return part


def _opened(data: Path, source: Source) -> Manifest:
    manifest = open_manifest(data / source.step / source.file)
    if not isinstance(manifest, Manifest):
        raise DataError(f"{source.step}/{source.file} must be a manifest with an index")
    return manifest
