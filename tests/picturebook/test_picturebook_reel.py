"""The reel, made of toy data."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unisono.conversation import ImagePart, MediaPart, Message, TextPart, VideoPart
from unisono.errors import DataError
from unisono.manifests import ConversationRow, PairRow, write_manifest
from unisono.media import SAMPLE_RATE_HZ, load_video
from unisono.picturebook import reel as reel_module
from unisono.picturebook.clip_file import write_clip
from unisono.picturebook.reel import HEIGHT_PX, PART_S, WIDTH_PX, main, reel
from unisono.picturebook.voices import write_flac

COLOURS = ((200, 40, 40), (40, 60, 200), (40, 160, 60))


def asked(part: MediaPart) -> ConversationRow:
    return ConversationRow(
        "row",
        (
            Message(role="user", content=(part, TextPart(text="What is this, if one may ask?"))),
            Message(role="assistant", content="a thing"),
        ),
    )


def tone(hertz: float) -> np.ndarray:
    return (0.5 * np.sin(np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ * 6.283 * hertz)).astype(
        np.float32
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for step in ("pictures", "sounds", "scenes", "clips"):
        (tmp_path / step).mkdir()
    for step, colour in zip(("pictures", "scenes"), COLOURS, strict=False):
        Image.new("RGB", (64, 64), colour).save(tmp_path / step / "one.png")
    picture = PairRow("row", "a red thing", image=tmp_path / "pictures" / "one.png")
    write_manifest([picture], tmp_path / "pictures" / "test_unseen_drawing.jsonl")
    write_flac(tone(500), tmp_path / "sounds" / "one.flac")
    sound = PairRow("row", "a tone", audio=tmp_path / "sounds" / "one.flac")
    write_manifest([sound], tmp_path / "sounds" / "test_names.jsonl")
    scene = asked(ImagePart(image=str(tmp_path / "scenes" / "one.png")))
    write_manifest([scene], tmp_path / "scenes" / "test.jsonl")
    frames = np.full((24, 64, 64, 3), COLOURS[2], np.uint8)
    write_clip(tmp_path / "clips" / "one.mp4", frames, tone(1000), frames_per_s=8)
    clip = asked(VideoPart(video=str(tmp_path / "clips" / "one.mp4")))
    write_manifest([clip], tmp_path / "clips" / "test.jsonl")
    return tmp_path


def test_the_reel_shows_and_plays_everything_in_turn(data: Path, tmp_path: Path) -> None:
    assert main([str(data), str(tmp_path / "out" / "reel.mp4")]) == 0
    video = load_video(str(tmp_path / "out" / "reel.mp4"), frames=8)
    assert video.duration_s == pytest.approx(4 * PART_S)
    assert video.frames.shape[1:] == (HEIGHT_PX, WIDTH_PX, 3)
    middles = video.frames[:, 160, 160].astype(int)
    for at, colour in ((0, COLOURS[0]), (5, COLOURS[1]), (7, COLOURS[2])):
        assert np.abs(middles[at] - colour).max() < 30
    below = video.frames[:, 300:].min(axis=(1, 2, 3))
    assert (below < 150).all()  # words in every part
    assert video.audio is not None
    assert loudest_hz(video.audio, 1) is None
    assert loudest_hz(video.audio, 6) == pytest.approx(500, abs=5)
    assert loudest_hz(video.audio, 11) is None
    assert loudest_hz(video.audio, 16) == pytest.approx(1000, abs=5)


def loudest_hz(sound: np.ndarray, second: float) -> float | None:
    part = sound[round(second * SAMPLE_RATE_HZ) :][: SAMPLE_RATE_HZ // 2]
    if np.abs(part).max() < 0.01:
        return None
    return float(np.abs(np.fft.rfft(part)).argmax() * 2)


def test_the_reel_is_the_same_every_time(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reel_module, "PART_S", 0.5)
    for name in ("one", "two"):
        reel(data, tmp_path / f"{name}.mp4")
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_a_step_that_is_missing_is_named(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "clips" / "test.jsonl").unlink()
    assert main([str(data), str(tmp_path / "reel.mp4")]) == 2
    assert "clips" in capsys.readouterr().err


def test_a_row_of_the_wrong_form_is_named(data: Path, tmp_path: Path) -> None:
    write_manifest([PairRow("pair", "text")], data / "scenes" / "test.jsonl")
    with pytest.raises(DataError, match="must be a conversation"):
        reel(data, tmp_path / "reel.mp4")
