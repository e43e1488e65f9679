"""A folder of 300 video files of which it is known what is wrong with each.

Drawings of the picturebook move over a coloured ground while the library's voice speaks of them.
Some files are good under a wrong name; the others have one fault each: see `FAULTS`.
"""

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unisono.hub import fetch_part, load_catalog
from unisono.media import SAMPLE_RATE_HZ, load_audio, resample
from unisono.picturebook.clip_file import write_clip
from unisono.picturebook.drawings import cut_out
from unisono.picturebook.emoji import emoji
from unisono.picturebook.human_recordings import spoken_captions
from unisono.runtime.load import DEFAULT_VOICE
from unisono.speech import PiperVoice, Voice, wav_bytes

COUNTS = {
    "good": 105,
    "wrong extension": 20,
    "no words": 10,
    "cut short": 12,
    "no video": 20,
    "too short": 12,
    "no sound": 12,
    "silent": 12,
    "copy": 15,
    "near-duplicate": 27,
    "loop": 14,
    "gibberish": 14,
    "other language": 12,
    "unrelated": 15,
}
"""Truth -> files; 300 together."""

FAULTS: dict[str, tuple[str, ...]] = {
    "cut short": ("cut short", "cannot be decoded"),
    "no video": ("no moving picture", "cannot be decoded", "empty"),
    "too short": ("too short",),
    "no sound": ("no sound",),
    "silent": ("silent",),
    "no words": ("neither words nor a known sound", "words on silence"),
    "copy": ("same bytes as another file",),
    "near-duplicate": ("near-duplicate",),
    "loop": ("repeats itself",),
    "gibberish": ("unlikely text",),
    "other language": ("other language", "unclear language"),
    "unrelated": ("words about something else",),
}
"""Truth -> reasons that are right for it."""

KEPT = ("good", "wrong extension")

FRAMES_PER_S = 6
_SIDE_PX = 192
_SECONDS = 5.5
_GROUNDS = ((190, 220, 250), (250, 235, 190), (200, 235, 200), (240, 210, 225), (225, 225, 235))
_ABOUT = (
    "Look, here is a {0}. The {0} moves to the right. What a nice {0} that is.",
    "This is a picture of a {0}. I like the {0} very much, because it is beautiful.",
    "Now you can see a {0}. The {0} is moving slowly over the table.",
    "My sister has a {0} at home. It looks like the {0} in this film.",
)
_LOOPS = ("and then we go there", "one more time", "it is here again", "so what do you say")
_GROUPS = ("animals-nature", "food-drink", "objects", "travel-places")
_HAND = "noto"
_SYLLABLES = ("blor", "zek", "mip", "gruf", "tand", "vosh", "kled", "pru", "wug", "snarf", "ploff")

_UNRELATED = (
    "The parliament has agreed on the new tax law.",
    "Interest rates will stay the same until next year.",
    "You have to restart the server after the update.",
    "The minister could not answer all the questions.",
    "Our meeting was moved to Thursday afternoon.",
    "The third chapter explains the history of the treaty.",
    "Please send your application by the end of the month.",
    "The results of the election were announced late at night.",
)

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Made:
    """A file and what is known of it.

    Attributes:
        name: of the file.
        truth: one of `COUNTS`.
        of: the file it is a copy or near-duplicate of.
    """

    name: str
    truth: str
    of: str = ""


def make_clips(folder: Path, counts: dict[str, int] = COUNTS, seed: int = 5) -> list[Made]:
    """Fill a folder, and write truth.json beside it.

    Raises:
        HubError, MissingExtraError: drawings or the voice cannot be had.
    """
    folder.mkdir(parents=True, exist_ok=True)
    maker = _Maker(folder, random.Random(seed))
    made = [maker.make(truth, number) for truth, count in counts.items() for number in range(count)]
    told = json.dumps([vars(one) for one in made], indent=1)
    folder.with_name(f"{folder.name}.truth.json").write_text(told, encoding="utf-8")
    return made


class _Maker:
    def __init__(self, folder: Path, draw: random.Random) -> None:
        self._folder, self._draw = folder, draw
        self._things = list(_things(draw))
        self._voice: Voice = _voice()
        self._foreign = _foreign_speech()
        self._films: list[tuple[str, NDArray[np.uint8], Samples]] = []
        self._number = 0

    def make(self, truth: str, number: int) -> Made:
        special: dict[str, Callable[[int], Made]] = {
            "copy": self._copy,
            "near-duplicate": self._again,
            "cut short": self._cut_short,
            "no video": self._no_video,
        }
        if truth in special:
            return special[truth](number)
        name, picture = self._things[self._number % len(self._things)]
        seconds = 1.5 if truth == "too short" else _SECONDS
        sound = self._sound(truth, name, number)
        frames = self._frames(picture, max(seconds, len(sound) / SAMPLE_RATE_HZ))
        ending = (".txt", ".jpg", ".wav", "")[number % 4] if truth == "wrong extension" else ".mp4"
        path = self._path(ending)
        if truth == "no sound":
            _write_silent(path, frames)
        else:
            write_clip(path, frames, _fitted(sound, frames), frames_per_s=FRAMES_PER_S)
        if truth == "good":
            self._films.append((path.name, frames, sound))
        return Made(path.name, truth)

    def _path(self, ending: str = ".mp4") -> Path:
        self._number += 1
        return self._folder / f"{self._number:03}{ending}"

    def _sound(self, truth: str, name: str, number: int) -> Samples:
        if truth == "silent":
            hiss = np.random.default_rng(number).standard_normal(SAMPLE_RATE_HZ)
            return (1e-3 * hiss * (number % 2)).astype(np.float32)
        if truth == "no words":
            noise = np.random.default_rng(number).standard_normal(4 * SAMPLE_RATE_HZ)
            return np.cumsum(noise).astype(np.float32) / 2000 * (1 + number % 3)
        if truth == "other language":
            return next(self._foreign)
        if truth == "no sound":
            return np.zeros(0, np.float32)
        texts = {
            "loop": f"{_LOOPS[number % len(_LOOPS)]}, " * 8,
            "gibberish": " ".join(self._draw.choices(_SYLLABLES, k=12)) + ".",
            "unrelated": " ".join(self._draw.sample(_UNRELATED, 2)),
            "too short": "Yes.",
        }
        return self._said(texts.get(truth) or self._draw.choice(_ABOUT).format(name))

    def _said(self, text: str) -> Samples:
        pcm = np.concatenate(list(self._voice.speak(text)))
        return resample(pcm, self._voice.sample_rate_hz, SAMPLE_RATE_HZ)

    def _frames(self, picture: Image.Image, seconds: float) -> NDArray[np.uint8]:
        """[F, H, W, 3]: the drawing goes from one place to another."""
        count = int(np.ceil(seconds * FRAMES_PER_S))
        ground = self._draw.choice(_GROUNDS)
        side = self._draw.randrange(90, 130)
        small = picture.resize((side, side))
        room = _SIDE_PX - side
        ends = [self._draw.randrange(room) for _ in range(4)]
        frames = np.empty((count, _SIDE_PX, _SIDE_PX, 3), np.uint8)
        for number, share in enumerate(np.linspace(0, 1, count)):
            page = Image.new("RGB", (_SIDE_PX, _SIDE_PX), ground)
            place = (round(ends[0] + share * (ends[1] - ends[0])), ends[2])
            page.paste(small, place, small)
            frames[number] = np.asarray(page)
        return frames

    def _copy(self, number: int) -> Made:
        name, _, _ = self._films[number]
        path = self._path()
        shutil.copy(self._folder / name, path)
        return Made(path.name, "copy", name)

    def _again(self, number: int) -> Made:
        """Another size, brightness and level, and so other bytes."""
        name, frames, sound = self._films[-1 - number]
        side = (128, 160, 224)[number % 3]
        shown = np.stack([np.asarray(Image.fromarray(f).resize((side, side))) for f in frames])
        shown = (shown * (0.92, 0.97, 1.0)[number // 3 % 3]).astype(np.uint8)
        path = self._path()
        write_clip(path, shown, _fitted(0.7 * sound, shown), frames_per_s=FRAMES_PER_S)
        return Made(path.name, "near-duplicate", name)

    def _cut_short(self, number: int) -> Made:
        name, _, _ = self._films[number]
        data = (self._folder / name).read_bytes()
        path = self._path()
        # Another film each: a piece of one would be a copy of another piece.
        path.write_bytes(data[: len(data) * (2 + number % 5) // 8])
        return Made(path.name, "cut short")

    def _no_video(self, number: int) -> Made:
        path = self._path((".mp4", ".mkv", ".avi", ".mp4")[number % 4])
        noise = np.random.default_rng(number)
        if number % 4 == 0:
            path.write_bytes(noise.bytes(20_000))
        elif number % 4 == 1:
            path.write_text(f"This is no film, number {number}.\n" * 50, encoding="utf-8")
        elif number % 4 == 2:
            tone = np.sin(np.arange(SAMPLE_RATE_HZ) / (5 + number)).astype(np.float32)
            path.write_bytes(wav_bytes(tone / 2, SAMPLE_RATE_HZ))
        else:
            path.write_bytes(b"\x00" * number)
        return Made(path.name, "no video")


def _things(draw: random.Random) -> Iterator[tuple[str, Image.Image]]:
    """Names and drawings of one hand, in random order."""
    found = [one for one in emoji() if one.hand == _HAND and one.group in _GROUPS]
    named = [one for one in found if one.concept.isalpha() and len(one.concept) > 2]
    draw.shuffle(named)
    for one in named[: sum(COUNTS.values())]:
        yield one.concept, cut_out(one.picture)


def _voice() -> Voice:
    part = load_catalog().part(DEFAULT_VOICE)
    model = next(file.name for file in part.files if file.name.endswith(".onnx"))
    return PiperVoice(fetch_part(part.name) / model, seed=3)


def _foreign_speech() -> Iterator[Samples]:
    """Captions of several stamps, read by people in Spanish, French and Russian."""
    pause = np.zeros(SAMPLE_RATE_HZ // 3, np.float32)
    waiting: dict[str, list[Samples]] = {"es": [], "fr": [], "ru": []}
    for caption in spoken_captions():
        if caption.language in waiting:
            own = waiting[caption.language]
            own += [load_audio(caption.sound), pause]
            if sum(map(len, own)) > 4 * SAMPLE_RATE_HZ:
                yield np.concatenate(own)[: 9 * SAMPLE_RATE_HZ]
                waiting[caption.language] = []


def _fitted(sound: Samples, frames: Sequence[object] | NDArray[np.uint8]) -> Samples:
    """The sound, with silence up to the last frame's end."""
    length = round(len(frames) / FRAMES_PER_S * SAMPLE_RATE_HZ)
    return np.pad(sound, (0, max(0, length - len(sound)))).astype(np.float32)


def _write_silent(path: Path, frames: NDArray[np.uint8]) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_S)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
