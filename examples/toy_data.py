"""Draw a hundred pictures, sounds and clips with captions and questions, to try training on.

    python examples/toy_data.py DIR [--count 100]

Writes manifests of the two kinds that `unisono train` reads: captions (`image_captions.jsonl`,
`sound_captions.jsonl`) and conversations (`image_talk.jsonl`, `sound_talk.jsonl`,
`video_talk.jsonl`, `text_talk.jsonl`), tasks for models with a head (`image_tasks.jsonl`,
`question_tasks.jsonl`, `pair_tasks.jsonl`, `sound_tasks.jsonl`, `clip_tasks.jsonl`,
`object_tasks.jsonl`), the folder `ade` in the layout of ADE20K, and `held_out_….jsonl` with a
tenth of each.
"""

import argparse
import json
import random
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image, ImageDraw

from unisono.media.masks import encode_mask

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "black", "pink")
SHAPES = ("circle", "square", "triangle", "cross")
SIZES = {"small": 12, "large": 26}
PITCHES_HZ = {"low": 180.0, "middle": 440.0, "high": 1200.0}
TIMBRES = ("hum", "buzz", "hiss")
COURSES = ("steady", "rising", "falling", "beeping")
PALE = 200  # brighter in all colours is background
SIDE_PX, RATE_HZ, SECONDS, FRAMES = 64, 16_000, 1.2, 6

Row = dict[str, Any]


def draw(shape: str, colour: str, radius_px: int, at: tuple[float, float]) -> Image.Image:
    picture = Image.new("RGB", (SIDE_PX, SIDE_PX), "white")
    pen, (x, y), r = ImageDraw.Draw(picture), at, radius_px
    if shape == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    elif shape == "square":
        pen.rectangle((x - r, y - r, x + r, y + r), fill=colour)
    elif shape == "triangle":
        pen.polygon([(x, y - r), (x + r, y + r), (x - r, y + r)], fill=colour)
    else:
        pen.line((x - r, y, x + r, y), fill=colour, width=r // 2)
        pen.line((x, y - r, x, y + r), fill=colour, width=r // 2)
    return picture


def play(pitch: str, timbre: str, course: str) -> np.ndarray:
    """float32 [samples]."""
    times = np.arange(round(RATE_HZ * SECONDS)) / RATE_HZ
    bend = {"rising": 1.0, "falling": -0.5}.get(course, 0.0)
    phase = 2 * np.pi * PITCHES_HZ[pitch] * (times + bend * times**2 / (2 * SECONDS))
    sound = np.sign(np.sin(phase)) / 2 if timbre == "buzz" else np.sin(phase)
    if timbre == "hiss":
        sound = sound * np.random.default_rng(0).uniform(-1, 1, len(times))
    if course == "beeping":
        sound = sound * (times * 4 % 1 < 0.5)
    return (0.4 * sound).astype(np.float32)


def save_map(folder: Path, number: int, picture: Image.Image, classes: np.ndarray) -> None:
    """A picture and the classes of its pixels, [H, W], 0 for none."""
    split = "validation" if number % 10 == 9 else "training"
    for kind, made in (("images", picture), ("annotations", Image.fromarray(classes))):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
        made.save(folder / kind / split / f"{number:04d}.png")
    (folder / "classes.txt").write_text("\n".join(SHAPES) + "\n")


def save_sound(path: Path, samples: np.ndarray) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((samples * 32_767).astype("<i2").tobytes())


def save_clip(path: Path, pictures: list[Image.Image], samples: np.ndarray) -> None:
    """Half a second or so of moving picture with sound, as MP4."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=5)
        video.width = video.height = SIDE_PX
        sound = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_image(picture)))
        container.mux(video.encode())
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = RATE_HZ
        container.mux(sound.encode(frame))
        container.mux(sound.encode())


def talk(question: str, answer: str, **media: str) -> Row:
    parts = [{"type": kind, kind: path} for kind, path in media.items()]
    asked = [*parts, {"type": "text", "text": question}]
    return {
        "messages": [
            {"role": "user", "content": asked},
            {"role": "assistant", "content": answer},
        ]
    }


def items(folder: Path, count: int, seed: int) -> Iterator[dict[str, Row]]:
    """Manifest -> one row of it, `count` times."""
    draws = random.Random(seed)
    for i in range(count):
        size, colour, shape = (draws.choice(list(x)) for x in (SIZES, COLOURS, SHAPES))
        pitch, timbre, course = (draws.choice(list(x)) for x in (PITCHES_HZ, TIMBRES, COURSES))
        seen, heard = f"a {size} {colour} {shape}", f"a {course} {pitch} {timbre}"
        places = [(20 + 4 * k + draws.random(), 32 + draws.random()) for k in range(FRAMES)]
        frames = [draw(shape, colour, SIZES[size], place) for place in places]
        image, audio, video = (f"{kind}/{i:04d}.{kind}" for kind in ("png", "wav", "mp4"))
        frames[0].save(folder / image)
        shown = np.array(frames[0]).min(axis=2) < PALE
        save_map(folder / "ade", i, frames[0], np.uint8(shown * (SHAPES.index(shape) + 1)))
        save_sound(folder / audio, play(pitch, timbre, course))
        save_clip(folder / video, frames, play(pitch, timbre, course))
        (x, y), r = places[0], SIZES[size]
        lies = {"names": [shape], "colours": [colour], "boxes": [[x - r, y - r, 2 * r, 2 * r]]}
        a, b = draws.randint(0, 9), draws.randint(0, 9)
        yield {
            "image_captions": {"text": seen, "image": image},
            "sound_captions": {"text": heard, "audio": audio},
            "image_talk": talk("What do you see?", f"I see {seen}.", image=image) | lies,
            "sound_talk": talk("What do you hear?", f"I hear {heard}.", audio=audio),
            "video_talk": talk("What is it?", f"I see {seen} and hear {heard}.", video=video),
            "text_talk": talk(f"What is {a} and {b}?", f"It is {a + b}."),
            "clip_tasks": {"video": video, "label": shape},
            "object_tasks": {"image": image}
            | {"objects": [{"label": shape, "box": lies["boxes"][0], "mask": encode_mask(shown)}]},
            **tasks(random.Random(i), image, audio, lies, (timbre, course, pitch)),
        }


def tasks(
    draws: random.Random, image: str, audio: str, lies: Row, heard: tuple[str, ...]
) -> dict[str, Row]:
    """What models with heads learn from: classes, boxes, answers, pairs, choices."""
    (shape,), (colour,), (box,) = lies["names"], lies["colours"], lies["boxes"]
    claimed, asked = draws.choice(COLOURS), draws.sample(TIMBRES, len(TIMBRES))
    choices = [*asked, "silence"]
    return {
        "image_tasks": {"image": image, "text": f"the {colour} {shape}", "box": box}
        | {"label": shape, "labels": [shape, colour]},
        "question_tasks": {"image": image, "text": "Which colour is it?", "answers": [colour] * 3},
        "pair_tasks": {"image": image, "image_2": image, "text": f"both are {claimed}"}
        | {"label": str(claimed == colour).lower()},
        "sound_tasks": {"audio": audio, "text": "What do you hear?", "label": heard[0]}
        | {"labels": list(heard), "choices": choices, "choice": choices.index(heard[0])},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    for kind in ("png", "wav", "mp4"):
        (arguments.folder / kind).mkdir(parents=True, exist_ok=True)
    lines: dict[str, list[str]] = {}
    for i, made in enumerate(items(arguments.folder, arguments.count, arguments.seed)):
        for name, row in made.items():
            part = f"held_out_{name}" if i % 10 == 9 else name
            lines.setdefault(part, []).append(json.dumps(row))
    for name, rows in lines.items():
        (arguments.folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    print(
        f"{arguments.folder}: {arguments.count} pictures, sounds and clips; {len(lines)} manifests"
    )


if __name__ == "__main__":
    main()
