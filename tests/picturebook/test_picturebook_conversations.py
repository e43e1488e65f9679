"""The step "conversations": turns of several steps, one after the other."""

import json
from pathlib import Path
from typing import Any

import pytest

from unisono.conversation import AudioPart, ImagePart, Message, TextPart
from unisono.errors import DataError
from unisono.manifests import ConversationRow, PairRow, open_manifest, write_manifest
from unisono.picturebook import conversations
from unisono.picturebook.conversations import SOURCES, Source

SEEN, HEARD = Source("seen", "train.jsonl", 1.0), Source("heard", "train.jsonl", 1.0)


def said(role: Any, *content: Any) -> Message:
    return Message(role=role, content=tuple(content) if role == "user" else content[0])


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("seen", "heard"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "medium").write_bytes(b"")
    image = ImagePart(image=tmp_path / "seen" / "medium")
    picture = ConversationRow(
        "picture",
        (
            said("user", image, TextPart(text="What is this?")),
            said("assistant", "a boat"),
            said("user", TextPart(text="What colour is it?")),
            said("assistant", "red"),
        ),
    )
    audio = AudioPart(audio=tmp_path / "heard" / "medium", transcript="one plus one")
    sound = ConversationRow("sound", (said("user", audio), said("assistant", "two")))
    write_manifest([picture], tmp_path / "seen" / "train.jsonl")
    write_manifest([sound], tmp_path / "heard" / "train.jsonl")
    monkeypatch.setattr(conversations, "SOURCES", (SEEN, HEARD))
    monkeypatch.setattr(conversations, "TRAIN_COUNT", 40)
    return tmp_path


def test_turns_follow_each_other_and_bring_their_media(data: Path) -> None:
    folder = data / "conversations"
    folder.mkdir()
    conversations.STEP.build(folder, data)
    written = (folder / "train.jsonl").read_text()
    assert str(data) not in written
    rows: Any = open_manifest(folder / "train.jsonl", media=data)
    assert len(rows) == 40
    answers = {"What is this?": "a boat", "What colour is it?": "red", "": "two"}
    lengths, transcripts = set(), set()
    for row in rows:
        lengths.add(len(row.messages))
        assert [one.role for one in row.messages] == ["user", "assistant"] * (
            len(row.messages) // 2
        )
        for asked, answer in zip(row.messages[::2], row.messages[1::2], strict=True):
            words = "".join(part.text for part in asked.parts if isinstance(part, TextPart))
            assert answers[words] == answer.content
            (medium,) = (part for part in asked.parts if not isinstance(part, TextPart))
            path = medium.image if isinstance(medium, ImagePart) else medium.audio
            assert Path(path).is_file()
            transcripts |= {medium.transcript} if isinstance(medium, AudioPart) else set()
    assert lengths == {2, 4, 6, 8}
    assert transcripts == {"", "one plus one"}


def test_the_same_every_time(data: Path) -> None:
    texts = []
    for name in ("a", "b"):
        (data / name).mkdir()
        conversations.STEP.build(data / name, data)
        texts.append((data / name / "train.jsonl").read_text())
    assert texts[0] == texts[1]
    assert json.loads(texts[0].splitlines()[0])["steps"]


def test_pairs_are_refused(data: Path) -> None:
    write_manifest([PairRow("pair", text="a boat")], data / "seen" / "train.jsonl")
    (data / "c").mkdir()
    with pytest.raises(DataError, match="a conversation is expected"):
        conversations.STEP.build(data / "c", data)


def test_only_training_rows_are_read() -> None:
    assert all("train" in source.file for source in SOURCES)
