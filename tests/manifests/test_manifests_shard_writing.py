"""Shards are read as they were written, and Ola's published layout with them."""

import json
from pathlib import Path

import pytest

from unisono.conversation import AudioPart, TextPart, VideoPart
from unisono.errors import DataError
from unisono.manifests import ConversationRow, open_manifest
from unisono.manifests.shard_writing import FORMS, Talk, Turn, write_shards


def talks() -> list[Talk]:
    turns = (Turn("What is seen?", "A dog."), Turn("What is heard?", "A bark."))
    return [
        Talk(f"clip-{n}", [b"first" * n, b"second"], b"sound" * n, turns, {"needs": ["both"]})
        for n in range(1, 4)
    ] + [Talk("silent", [b"only"], None, turns[:1])]


def rows(paths: list[Path]) -> list[ConversationRow]:
    found: list = []
    for path in paths:
        opened = open_manifest(path)
        by_number = hasattr(opened, "__len__")
        found += [opened[i] for i in range(len(opened))] if by_number else opened.stream()
    return found


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shard_bytes", [20, 1 << 20])
def test_written_and_read(tmp_path: Path, form, shard_bytes: int) -> None:
    paths = write_shards(talks(), tmp_path, "train", form, shard_bytes=shard_bytes)
    read = rows(paths)
    assert [row.fields["id"] for row in read] == [talk.id for talk in talks()]
    for row, talk in zip(read, talks(), strict=True):
        parts = row.messages[0].parts
        (video,) = (part for part in parts if isinstance(part, VideoPart))
        sounds = [part.audio for part in parts if isinstance(part, AudioPart)]
        assert video.video == talk.frames
        assert sounds == ([] if talk.sound is None else [talk.sound])
        said = [p.text for m in row.messages for p in m.parts if isinstance(p, TextPart)]
        assert said == [text for turn in talk.turns for text in (turn.question, turn.answer)]
    shards = [path for path in tmp_path.iterdir() if path.suffix != ".json"]
    assert (len(shards) > 1) == (shard_bytes == 20)


def test_the_same_bytes_again(tmp_path: Path) -> None:
    for form in FORMS:
        for folder in ("a", "b"):
            write_shards(talks(), tmp_path / folder / form, "train", form)
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")]
    assert len(files) == 4
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="form must be one of"):
        write_shards(talks(), tmp_path, "train", "zip")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="frames and turns"):
        write_shards([Talk("a", [], None, ())], tmp_path, "train", "ola")
    with pytest.raises(DataError, match="without dots and slashes"):
        write_shards([Talk("a/b", [b"x"], None, talks()[0].turns)], tmp_path, "train", "ola")


def test_olas_published_layout(tmp_path: Path) -> None:
    """A row as Ola-Data has it: frames in one patch, sound in another, marks side by side."""
    (tmp_path / "video.patch").write_bytes(b"xxONETWOTHREE")
    (tmp_path / "audio.patch").write_bytes(b"....RIFFwave")
    row = {
        "id": "0001",
        "video": {"patch": "video.patch", "start_num": 2, "size": [3, 3, 5]},
        "audio": {"patch": "audio.patch", "start_num": 4, "size": 8},
        "conversations": [
            {"from": "human", "value": "<speech><image>\nWhat does the man on the left say?"},
            {"from": "gpt", "value": "He says hello."},
        ],
    }
    (tmp_path / "ola.json").write_text(json.dumps([row]), encoding="utf-8")
    (read,) = rows([tmp_path / "ola.json"])
    audio, video, text = read.messages[0].parts
    assert isinstance(audio, AudioPart)
    assert isinstance(video, VideoPart)
    assert isinstance(text, TextPart)
    assert (audio.audio, video.video) == (b"RIFFwave", [b"ONE", b"TWO", b"THREE"])
    assert not video.use_audio  # its sound is the other medium
    assert text.text == "What does the man on the left say?"
    assert read.fields == {"id": "0001"}
