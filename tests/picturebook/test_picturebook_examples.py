"""The demonstration's files: drawn by lot, free to pass on, and those that are committed."""

from pathlib import Path
from typing import Any

import pytest

from unisono.conversation import AudioPart, ImagePart, Message, TextPart
from unisono.errors import DataError
from unisono.manifests import ConversationRow, open_manifest, write_manifest
from unisono.media import load_audio, load_image, load_video
from unisono.picturebook import examples
from unisono.picturebook.examples import KINDS, Kind

COMMITTED = Path(__file__).parents[2] / "examples" / "picturebook"


def scene(place: Path, number: int, answer: str, drawing: str) -> ConversationRow:
    path = place / f"{number}.jpg"
    path.write_bytes(str(number).encode())
    asked = Message(role="user", content=(ImagePart(image=path), TextPart(text="What?")))
    fields = {"drawings": [drawing], "kind": "what", "answers": [answer]}
    return ConversationRow("", (asked, Message(role="assistant", content=answer)), fields)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    free = [scene(tmp_path, n, "a boat" if n % 2 else "a cat", "noto-x") for n in range(8)]
    other = [scene(tmp_path, n, "a dog", "tuxpaint-x") for n in range(8, 40)]
    write_manifest(free + other, tmp_path / "test.jsonl")
    kind = Kind("picture", "test.jsonl", 1, 3, examples._free_drawings)
    monkeypatch.setattr(examples, "KINDS", (kind,))
    return tmp_path


def test_free_files_with_answers_that_differ(data: Path, tmp_path: Path) -> None:
    made = examples.write(data, tmp_path / "out")
    assert made == ["demo-picture-1", *(f"more-picture-{n}" for n in (2, 3, 4))]
    rows: Any = [*open_manifest(tmp_path / "out" / "demo.jsonl")]
    rows += open_manifest(tmp_path / "out" / "more.jsonl")
    answers = [row.messages[1].content for row in rows]
    assert sorted(answers) == ["a boat", "a boat", "a cat", "a cat"]
    assert answers[0] != answers[1]
    texts = {(tmp_path / "out" / f"{name}.jpg").read_text() for name in made}
    assert len(texts) == 4
    assert texts < {str(n) for n in range(8)}
    assert examples.write(data, tmp_path / "again") == made
    for name in ("demo.jsonl", "demo-picture-1.jpg", "more-picture-3.jpg"):
        first, again = ((tmp_path / place / name).read_bytes() for place in ("out", "again"))
        assert first == again


def test_too_few_are_said(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kind = Kind("picture", "test.jsonl", 5, 20, examples._free_drawings)
    monkeypatch.setattr(examples, "KINDS", (kind,))
    with pytest.raises(DataError, match="must have 25 free rows, but has 8"):
        examples.write(data, tmp_path / "out")


def test_the_committed_ones_are_whole() -> None:
    for where, count in (("demo", "demo"), ("more", "more")):
        rows: Any = list(open_manifest(COMMITTED / f"{where}.jsonl"))
        assert len(rows) == sum(getattr(kind, count) for kind in KINDS)
        for row in rows:
            asked, answer = row.messages
            assert answer.content
            (medium,) = (part for part in asked.parts if not isinstance(part, TextPart))
            if isinstance(medium, AudioPart):
                assert medium.transcript is None  # the listener's affair
                assert len(load_audio(medium.audio)) > 8_000
            elif isinstance(medium, ImagePart):
                assert load_image(medium.image).size == (128, 128)
            else:
                assert load_video(medium.video, frames=4, with_audio=True).audio is not None
