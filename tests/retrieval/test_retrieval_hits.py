"""What hits say of themselves, and the sheet that shows them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import recordings
from fake_embedder import COLOURS
from PIL import Image

from unisono.errors import MediaAccessError
from unisono.retrieval.contact_sheet import CELL_PX, contact_sheet, peaks, write_contact_sheet
from unisono.retrieval.hit import Hit


def jpeg(colour: str, size: tuple[int, int] = (128, 96)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, COLOURS[colour]).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("start_s", "end_s", "page", "said"),
    [
        (None, None, None, ""),
        (0.0, 10.0, None, "0:00-0:10"),
        (65.5, 75.0, None, "1:05.5-1:15"),
        (3599.96, 3723.0, None, "1:00:00-1:02:03"),
        (5.0, None, None, "0:05"),
        (None, None, 3, "page 3"),
    ],
)
def test_places_for_people(
    start_s: float | None, end_s: float | None, page: int | None, said: str
) -> None:
    assert Hit("/a", "audio", 0.5, start_s, end_s, page).place == said


def test_a_hit_is_made_of_a_row_and_becomes_json() -> None:
    row = {
        "id": "ab12",
        "path": "/ä/b.png",
        "modality": "image",
        "text": None,
        "thumbnail": b"x",
        "vector": [1],
    }
    hit = Hit.of_row(row, 0.12345678)
    assert hit == Hit("/ä/b.png", "image", 0.12345678, thumbnail=b"x", id="ab12")
    assert json.loads(json.dumps(hit.as_json())) == {
        "id": "ab12",
        "path": "/ä/b.png",
        "modality": "image",
        "score": 0.123457,
        "start_s": None,
        "end_s": None,
        "page": None,
        "text": "",
    }
    assert hit.as_json(thumbnail=True)["thumbnail"] == "data:image/jpeg;base64,eA=="
    assert Hit("/a", "text", 1.0).as_json(thumbnail=True)["thumbnail"] is None


def colour_at(sheet: Image.Image, column: int, row: int = 0) -> tuple[int, ...]:
    """In the middle of a cell."""
    right, down = CELL_PX + 8, CELL_PX + 8 + 2 * 15
    x, y = 8 + column * right + CELL_PX // 2, 8 + row * down + CELL_PX // 2
    pixel = sheet.getpixel((x, y))
    assert isinstance(pixel, tuple)
    return pixel


def test_previews_stand_in_their_order() -> None:
    colours = ["red", "green", "blue", "yellow", "black", "red", "blue"]
    hits = [Hit(f"/{i}.png", "image", 0.5, thumbnail=jpeg(c)) for i, c in enumerate(colours)]
    sheet = contact_sheet(hits)
    for number, colour in enumerate(colours):
        row, column = divmod(number, 5)
        np.testing.assert_allclose(colour_at(sheet, column, row), COLOURS[colour], atol=3)
    assert contact_sheet(hits[:2]).width < sheet.width
    with pytest.raises(ValueError, match="at least 1"):
        contact_sheet(hits, columns=0)


def test_what_has_no_preview_is_drawn(tmp_path: Path) -> None:
    sound = tmp_path / "sound.wav"
    sound.write_bytes(recordings.make_audio(seconds=1.0))
    picture = tmp_path / "picture.png"
    Image.new("RGB", (300, 200), COLOURS["blue"]).save(picture)
    hits = [
        Hit(str(sound), "audio", 0.9, 0.2, 0.8),
        Hit(str(picture), "image", 0.8),
        Hit("/gone.wav", "audio", 0.7),
        Hit("/gone.png", "image", 0.6, thumbnail=b"broken"),
        Hit("/日本/" + "long name " * 9 + ".txt", "text", -0.1, text="words " * 200),
        Hit("/x.pdf", "page", 0.2, page=3),
        Hit("/x.mp4", "video", 0.2, 0.0, 5.0),
    ]
    sheet = contact_sheet(hits, columns=7)
    blue = (0x20, 0x60, 0xA0)
    assert colour_at(sheet, 0) == blue, "the middle of a waveform"
    assert colour_at(sheet, 1) == COLOURS["blue"]
    cells = [sheet.crop((8 + i * 168, 8, 8 + i * 168 + 160, 200)).tobytes() for i in range(7)]
    assert len(set(cells)) == 7
    assert blue not in {pixel for _, pixel in sheet.crop((336, 0, 504, 168)).getcolors(9999) or []}


def test_a_waveform_follows_the_sound(tmp_path: Path) -> None:
    loudness = np.concatenate([np.zeros(500), np.full(500, 0.5), np.full(500, 0.25)])
    np.testing.assert_allclose(peaks(loudness, 3), [0, 1, 0.5])
    np.testing.assert_allclose(peaks(loudness[:2], 5), 0)
    assert peaks(np.zeros(0), 4).tolist() == [0, 0, 0, 0]


def test_a_sheet_is_written_or_said_why_not(tmp_path: Path) -> None:
    write_contact_sheet([Hit("/a", "text", 0.1, text="hello")], tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size == (176, 206)
    with pytest.raises(MediaAccessError, match="sheet.png' cannot be written: No such file"):
        write_contact_sheet([], tmp_path / "none" / "sheet.png")
