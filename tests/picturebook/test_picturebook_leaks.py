"""The leak check: every kind of leak is planted and found, and what only looks alike is not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from unisono.errors import DataError
from unisono.media import SAMPLE_RATE_HZ
from unisono.picturebook import leaks
from unisono.picturebook.clip_file import write_clip
from unisono.picturebook.leak_pictures import looks, same_pictures
from unisono.picturebook.leak_sounds import apart, same_sounds
from unisono.picturebook.leaks import Leak, find_leaks, main
from unisono.picturebook.splits import unseen_concepts
from unisono.picturebook.step import draws
from unisono.picturebook.voices import write_flac

Rows = list[dict[str, Any]]


def drawing(number: int, size: int = 96) -> Image.Image:
    """A cut-out unlike any other: some shapes of some colours."""
    draw = draws("leaks", number)
    picture = Image.new("RGBA", (size, size))
    pen = ImageDraw.Draw(picture)
    for _ in range(4):
        x, y, r = draw.uniform(0, 70), draw.uniform(0, 70), draw.uniform(15, 35)
        colour = tuple(draw.randint(0, 220) for _ in range(3))
        shape = draw.choice([pen.ellipse, pen.rectangle])
        shape([v * size / 96 for v in (x, y, x + r, y + 1.4 * r)], fill=(*colour, 255))
    return picture.crop(picture.getbbox())


def scene(number: int) -> Image.Image:
    ground = Image.new("RGBA", (128, 128), (200, 220, 10 * number % 255, 255))
    ground.alpha_composite(drawing(number), (10, 12))
    ground.alpha_composite(drawing(number + 500), (30, 30))
    return ground.convert("RGB")


def song(number: int, seconds: float = 3.0) -> np.ndarray:
    """Something that changes all the time, as speech and music do."""
    noise = np.random.default_rng(number)
    length = round(seconds * SAMPLE_RATE_HZ)
    times = np.arange(length) / SAMPLE_RATE_HZ
    sound = np.zeros(length)
    for start in np.arange(0, seconds, 0.15):
        hertz, length_s = noise.uniform(200, 3000), noise.uniform(0.1, 0.4)
        shape = np.exp(-((times - start) ** 2) / length_s**2 * 20)
        sound += shape * sum(np.sin(2 * np.pi * hertz * k * times) / k for k in (1, 2, 3))
    return (0.1 * sound / np.abs(sound).max() * 4).astype(np.float32)


def write(path: Path, rows: Rows) -> None:
    path.parent.mkdir(exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def read(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def asked(question: str, answer: str, **media: str) -> dict[str, Any]:
    parts = [{"type": kind, kind: path} for kind, path in media.items()]
    content = [*parts, {"type": "text", "text": question}]
    return {
        "messages": [
            {"role": "user", "content": content},
            {"role": "assistant", "content": answer},
        ]
    }


def write_drawings(folder: Path) -> None:
    folder.mkdir()
    rows = []
    for number, split in enumerate(["train"] * 6 + ["unseen_concept", "unseen_drawing"]):
        name = f"hand-{number}"
        drawing(number).save(folder / f"{name}.png")
        known = {"name": name, "concept": f"thing {number}", "hand": "hand", "group": ""}
        more = {"split": split, "captions": {}, "keywords": [], "photograph": False}
        rows.append(known | more)
    write(folder / "drawings.jsonl", rows)


def write_clip_of(path: Path, number: int) -> None:
    frames = np.stack([np.asarray(scene(number + step)) for step in (0, 40, 80, 120)])
    write_clip(path, frames, song(number, 2.0), frames_per_s=2)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small folder of data without any leak."""
    data = tmp_path_factory.mktemp("clean") / "data"
    data.mkdir()
    write_drawings(data / "drawings")
    for split, first in (("train", 0), ("test", 100)):
        folder = data / "scenes" / split
        folder.mkdir(parents=True)
        rows = []
        for number in range(5):
            scene(first + number).save(folder / f"{number}.jpg", quality=90)
            question = f"What colour is thing {number} of the {split}?"
            row = asked(question, "red", image=f"{split}/{number}.jpg")
            rows.append(row | {"template": f"{split} words", "drawings": [f"hand-{number}"]})
        write(data / "scenes" / f"{split}.jsonl", rows)
        spoken = data / "speech" / split
        spoken.mkdir(parents=True)
        rows = []
        for number in range(4):
            write_flac(song(first + number), spoken / f"{number}.flac")
            text = f"in the {split} there are {number} cats"
            rows.append({"text": text, "audio": f"{split}/{number}.flac", "voice": f"{split}er"})
        write(data / "speech" / f"{split}.jsonl", rows)
        (data / "clips" / split).mkdir(parents=True)
        write_clip_of(data / "clips" / split / "0.mp4", first + 50)
        rows = [asked("What is it?", "a cat", video=f"{split}/0.mp4")]
        write(data / "clips" / f"{split}.jsonl", rows)
    return data


@pytest.fixture
def data(clean: Path, tmp_path: Path) -> Path:
    shutil.copytree(clean, tmp_path / "data")
    return tmp_path / "data"


def change(path: Path, **fields: Any) -> None:
    rows = read(path)
    rows[0] |= fields
    write(path, rows)


def test_a_clean_folder_has_no_leaks(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert find_leaks(clean) == []
    assert main([str(clean)]) == 0
    assert capsys.readouterr().out == "no leaks\n"


def same_bytes(data: Path) -> None:
    shutil.copy(data / "scenes" / "test" / "2.jpg", data / "scenes" / "train" / "3.jpg")


def same_scene_saved_worse(data: Path) -> None:
    with Image.open(data / "scenes" / "test" / "2.jpg") as picture:
        small = picture.resize((100, 100), Image.Resampling.LANCZOS)
        ImageEnhance.Brightness(small).enhance(1.02).save(
            data / "scenes" / "train" / "3.jpg", quality=70
        )


def same_clip_made_again(data: Path) -> None:
    frames = np.stack([np.asarray(scene(150 + step)) for step in (0, 40, 80, 120)])
    path = data / "clips" / "train" / "0.mp4"
    write_clip(path, np.clip(frames + 3, 0, 255).astype(np.uint8), song(50, 2.0), frames_per_s=2)


def same_recording_softer_and_later(data: Path) -> None:
    later = np.pad(song(101), (4321, 0))[: 3 * SAMPLE_RATE_HZ]
    write_flac(0.3 * later, data / "speech" / "train" / "2.flac")


def same_sound_within_a_clip(data: Path) -> None:
    frames = np.stack([np.asarray(scene(50 + step)) for step in (0, 40, 80, 120)])
    path = data / "clips" / "train" / "0.mp4"
    write_clip(path, frames, 0.8 * song(102)[9000:41000], frames_per_s=2)


def same_drawing_by_another_name(data: Path) -> None:
    drawing(6, size=150).save(data / "drawings" / "hand-2.png")


def same_drawing_in_a_mirror(data: Path) -> None:
    mirrored = drawing(7).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.save(data / "drawings" / "hand-2.png")


def same_sentence(data: Path) -> None:
    change(data / "speech" / "train.jsonl", text="In the test there are 3 cats!")


def same_question(data: Path) -> None:
    rows = read(data / "scenes" / "train.jsonl")
    rows[1]["messages"][0]["content"][1]["text"] = "What colour is thing 4 of the test?"
    write(data / "scenes" / "train.jsonl", rows)


def held_out_name(data: Path) -> None:
    name = max(unseen_concepts()["stamps"], key=len)
    change(data / "speech" / "train.jsonl", text=f"there are two {name}s over there")


def tests_voice(data: Path) -> None:
    change(data / "speech" / "train.jsonl", voice="tester")


def tests_template(data: Path) -> None:
    change(data / "scenes" / "train.jsonl", turns=[{"template": "test words"}])


def held_out_drawing(data: Path) -> None:
    change(data / "scenes" / "train.jsonl", drawings=["hand-1", "hand-7"])


def tests_font(data: Path) -> None:
    for split in ("train", "test_unseen_fonts"):
        write(data / "printed_words" / f"{split}.jsonl", [{"font": "Courier"} | asked("?", "a")])


@pytest.mark.parametrize(
    ("plant", "kinds", "told"),
    [
        (same_bytes, {"same bytes", "picture"}, "2.jpg <- scenes/train.jsonl:4"),
        (same_scene_saved_worse, {"picture"}, "2.jpg <- scenes/train.jsonl:4"),
        (same_clip_made_again, {"picture"}, "0.mp4 <- clips/train.jsonl:1"),
        (same_recording_softer_and_later, {"sound"}, "1.flac <- speech/train.jsonl:3"),
        (same_sound_within_a_clip, {"sound"}, "2.flac <- clips/train.jsonl:1"),
        (same_drawing_by_another_name, {"drawing"}, "hand-6 (unseen_concept) <- hand-2"),
        (same_drawing_in_a_mirror, {"drawing"}, "in a mirror"),
        (same_sentence, {"sentence"}, "speech/test.jsonl:4 <- speech/train.jsonl:1"),
        (same_question, {"sentence"}, "scenes/test.jsonl:5 <- scenes/train.jsonl:2"),
        (held_out_name, {"concept"}, "speech/train.jsonl:1"),
        (tests_voice, {"value"}, "voice 'tester'"),
        (tests_template, {"value"}, "template 'test words'"),
        (tests_font, {"value"}, "font 'Courier'"),
        (held_out_drawing, {"value"}, "hand-7 (unseen_drawing) <- scenes/train.jsonl:1"),
    ],
)
def test_a_planted_leak_is_found(
    data: Path,
    capsys: pytest.CaptureFixture[str],
    plant: Callable[[Path], None],
    kinds: set[str],
    told: str,
) -> None:
    plant(data)
    assert main([str(data)]) == 1
    printed = capsys.readouterr().out
    assert told in printed
    assert {line.partition(":")[0] for line in printed.splitlines() if line[0] != " "} == kinds


def test_pictures_with_little_on_them_are_told_apart(tmp_path: Path) -> None:
    """Two words on one ground differ little in sum."""
    paths = []
    for word in ("machine", "am", "sings"):
        page = Image.new("RGB", (128, 128), (250, 252, 248))
        ImageDraw.Draw(page).text((30, 60), word, fill=(60, 90, 200))
        paths.append(tmp_path / f"{word}.png")
        page.save(paths[-1])
    known = looks(paths)
    assert list(same_pictures(looks(paths[:1]), looks(paths[1:]))) == []
    assert [found[:2] for found in same_pictures(known, known)] == [(0, 0), (1, 1), (2, 2)]


def test_the_ground_of_a_cut_out_does_not_matter(tmp_path: Path) -> None:
    """What is transparent may have any colour."""
    one = drawing(3)
    other = Image.new("RGBA", one.size, (0, 255, 0, 0))
    other.paste(one, mask=one.getchannel("A"))
    one.save(tmp_path / "one.png")
    other.save(tmp_path / "other.png")
    found = same_pictures(looks([tmp_path / "one.png"]), looks([tmp_path / "other.png"]))
    assert [pair[:2] for pair in found] == [(0, 0)]


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("songs")
    paths = [folder / f"{number}.flac" for number in range(20)]
    for number, path in enumerate(paths):
        write_flac(song(number), path)
    return paths


def test_a_tilt_and_noise_leave_a_recording_the_same(songs: list[Path], tmp_path: Path) -> None:
    sound = song(7)
    spectrum = np.fft.rfft(sound)
    tilted = np.fft.irfft(spectrum * np.linspace(1, 0.3, len(spectrum)), len(sound))
    noisy = tilted + np.random.default_rng(1).normal(0, 3e-4, len(sound))
    write_flac(noisy.astype(np.float32)[2500:], tmp_path / "noisy.flac")
    found = list(same_sounds([tmp_path / "noisy.flac"], songs))
    assert [pair[:2] for pair in found] == [(0, 7)]


def test_different_recordings_differ(songs: list[Path], tmp_path: Path) -> None:
    asked_ = [tmp_path / f"{number}.flac" for number in range(100, 112)]
    for number, path in enumerate(asked_, start=100):
        write_flac(song(number), path)
    for name, length in (("silence", 30_000), ("short", 100)):
        asked_.append(tmp_path / f"{name}.flac")
        write_flac(np.zeros(length, np.float32), asked_[-1])
    assert list(same_sounds(asked_, songs)) == []


@pytest.mark.parametrize("later", [0, 1000, -7777])
def test_how_far_recordings_are_apart(later: int) -> None:
    one = song(1)
    other = np.pad(one, (max(0, later), 0))[max(0, -later) :]
    assert apart(one, 0.2 * other, later) < 0.1
    assert apart(one, song(2), later) > 0.7
    assert apart(one[:8000], other, 10**6) == np.inf


def test_a_comma_ends_a_phrase_and_verbs_are_no_animals(data: Path) -> None:
    name = next(one for one in sorted(unseen_concepts()["emoji"]) if len(one.split()) == 2)
    first, second = name.split()
    texts = (f"a {first}, {second} and more", "what does it do")
    for text in texts:
        change(data / "speech" / "train.jsonl", text=text)
        assert find_leaks(data) == []


def test_a_folder_without_manifests_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="no manifests"):
        find_leaks(tmp_path)
    assert main([str(tmp_path)]) == 2
    assert "no manifests" in capsys.readouterr().err


def test_a_long_table_is_cut() -> None:
    many = [Leak("sentence", f"a:{n}", f"b:{n}", "words") for n in range(30)]
    printed = leaks.table(many).splitlines()
    assert printed[0] == "sentence: 30"
    assert printed[-1] == "  and 10 more"
