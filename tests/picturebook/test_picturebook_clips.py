"""The step "clips", built small from toy drawings and tones."""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from unisono.conversation import AudioPart, VideoPart
from unisono.errors import DataError
from unisono.manifests import ConversationRow, PairRow, open_manifest, write_manifest
from unisono.media import SAMPLE_RATE_HZ, load_audio, load_video
from unisono.picturebook import clip_planning, clips
from unisono.picturebook.clip_file import write_clip
from unisono.picturebook.clip_motion import FRAMES_PER_S, Actor, Motion, frames, ground_for
from unisono.picturebook.clip_one_sided import one_sided_scores
from unisono.picturebook.clip_planning import Clip, Heard, Wish, held_out
from unisono.picturebook.clip_questions import ABSENT, NEEDS, TEMPLATES, questions
from unisono.picturebook.step import draws, make
from unisono.picturebook.voices import Reading, write_flac

THINGS = ("dog", "trumpet", "bell", "camera", "frog", "saxophone", "door", "pig", "key", "hat")
SOUNDS = {
    "animal": ("dog", "frog", "pig"),
    "instrument": ("trumpet", "saxophone", "piano"),
    "signal": ("bell", "camera", "door", "applause"),
}
FORMS = {"match": 8, "category and way": 12, "side": 6, "deed": 6, "together": 4, "named": 4}


def tone(hertz: float, seconds: float) -> np.ndarray:
    times = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.5 * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


def speak(readings: Sequence[Reading], *, workers: int) -> list[float]:
    """In place of a voice."""
    del workers
    for reading in readings:
        write_flac(tone(200 + 10 * len(reading.text), 1.0), reading.path)
    return [1.0] * len(readings)


def draw_thing(path: Path, number: int) -> None:
    picture = Image.new("RGBA", (90, 70))
    colour = (200, 20 * number, 255 - 20 * number, 255)
    ImageDraw.Draw(picture).ellipse((0, 0, 89, 69), fill=colour)
    ImageDraw.Draw(picture).rectangle((40, 10 + number, 50, 60), fill="black")
    picture.save(path)


def write_sounds(folder: Path) -> None:
    folder.mkdir()
    number = 0
    for name in ("train", "test_names"):
        rows = []
        for kind, names in SOUNDS.items():
            for thing in names:
                number += 1
                path = folder / f"{name}-{thing}.flac"
                write_flac(tone(150 + 30 * number, 2.0), path)
                rows.append(PairRow(thing, thing, audio=path, fields={"name": thing, "kind": kind}))
        write_manifest(rows, folder / f"{name}.jsonl")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    whole = tmp_path_factory.mktemp("data")
    (whole / "drawings").mkdir()
    rows = []
    for number, (thing, hand) in enumerate((t, h) for t in THINGS for h in ("one", "two")):
        draw_thing(whole / "drawings" / f"{hand}-{thing}.png", number // 2)
        known = {"name": f"{hand}-{thing}", "concept": thing, "hand": hand, "group": ""}
        more = {"split": "train", "captions": {}, "keywords": [], "photograph": False}
        rows.append(json.dumps(known | more))
    (whole / "drawings" / "drawings.jsonl").write_text("\n".join(rows), encoding="utf-8")
    write_sounds(whole / "sounds")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "TRAIN_CLIPS", 50)
        patch.setattr(clips, "TEST_FORMS", FORMS)
        patch.setattr(clips, "ONE_SIDE_QUESTIONS", 8)
        patch.setattr(clips, "GUESSED_FROM", 80)
        patch.setattr(clips, "record", speak)
        make(clips.STEP, whole)
    return whole


@pytest.fixture(scope="module")
def rows(data: Path) -> Mapping[str, list[ConversationRow]]:
    found = {}
    for path in (data / "clips").glob("*.jsonl"):
        manifest = open_manifest(path)
        found[path.stem] = [manifest[index] for index in range(len(manifest))]
    return found


def of(motion: Motion, size: float = 0.4) -> Actor:
    return Actor(Path("thing.png"), "dog", motion, size, (0.5, 0.5), 0.25)


@pytest.fixture(scope="module")
def thing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("thing") / "thing.png"
    draw_thing(path, 3)
    return path


def centre_and_area(picture: np.ndarray) -> tuple[float, float, int]:
    down, across = np.nonzero((picture != 255).any(axis=-1))
    return (across.mean(), down.mean(), len(across)) if len(across) else (0.0, 0.0, 0)


@pytest.mark.parametrize(
    ("motion", "across", "down", "area"),
    [
        ("left", -1, 0, 0),
        ("right", 1, 0, 0),
        ("up", 0, -1, 0),
        ("down", 0, 1, 0),
        ("grow", 0, 0, 1),
        ("shrink", 0, 0, -1),
        ("still", 0, 0, 0),
        ("circle", 0, 0, 0),
    ],
)
def test_things_move_as_they_are_said_to(
    thing: Path, motion: Motion, across: int, down: int, area: int
) -> None:
    actor = Actor(thing, "dog", motion, 0.4, (0.5, 0.5), 0.25)
    first, last = (centre_and_area(f) for f in frames([actor], 9, (255, 255, 255))[[0, -1]])
    assert np.sign(round((last[0] - first[0]) / 8)) == across
    assert np.sign(round((last[1] - first[1]) / 8)) == down
    assert np.sign(round((last[2] - first[2]) / first[2], 1)) == area


def test_a_circle_goes_round(thing: Path) -> None:
    moved = frames([Actor(thing, "dog", "circle", 0.4, (0.5, 0.5), 0.25)], 9, (255, 255, 255))
    places = [centre_and_area(moved[index])[:2] for index in (0, 2, 4, 6)]
    top, right, bottom, left = places
    assert top[1] < right[1] < bottom[1]
    assert left[0] < top[0] < right[0]


def test_halves_are_empty_in_the_other_half(thing: Path) -> None:
    for motion, there in (("first half", [True, False]), ("second half", [False, True])):
        actor = Actor(thing, "dog", motion, 0.4, (0.5, 0.5), 0.25)
        shown = frames([actor], 8, (255, 255, 255))
        assert [centre_and_area(shown[i])[2] > 0 for i in (0, -1)] == there


def test_the_ground_differs_from_the_thing(thing: Path) -> None:
    actor = Actor(thing, "dog", "still", 0.4, (0.5, 0.5), 0.25)
    own = np.median(np.asarray(Image.open(thing))[..., :3].reshape(-1, 3), axis=0)
    for number in range(10):
        ground = ground_for([actor], draws("ground", number))
        assert np.linalg.norm(np.array(ground) - own) > 80


def test_a_file_is_the_same_every_time_and_has_picture_and_sound(tmp_path: Path) -> None:
    pictures = np.random.default_rng(1).integers(0, 255, (24, 128, 128, 3)).astype(np.uint8)
    sound = tone(440, 3.0)
    for name in ("one", "two"):
        write_clip(tmp_path / f"{name}.mp4", pictures, sound, frames_per_s=FRAMES_PER_S)
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()
    video = load_video(str(tmp_path / "one.mp4"), frames=64)
    assert video.frames.shape == (24, 128, 128, 3)
    assert video.duration_s == pytest.approx(3.0)
    assert video.audio is not None
    assert len(video.audio) / SAMPLE_RATE_HZ == pytest.approx(3.0, abs=0.1)
    heard = np.abs(np.fft.rfft(video.audio[8000:40000])).argmax() / 2
    assert heard == pytest.approx(440, abs=2)


def test_every_manifest_is_there(data: Path, rows: Mapping[str, list[ConversationRow]]) -> None:
    assert {name: len(found) for name, found in rows.items()} == {
        "train": 50,
        "train_silent": 40,
        "test": 40,
        "test_sound_removed": 40,
        "test_picture_removed": 40,
        "test_one_side": 8,
    }
    for row in (*rows["train"], *rows["test"]):
        part = row.messages[0].parts[0]
        assert isinstance(part, VideoPart)
        assert part.use_audio
        assert Path(part.video).is_file()
        assert all(str(m.content) == str(m.content).lower() for m in row.messages[1::2])


def test_questions_of_a_kind_need_what_they_say(rows: Mapping[str, list[ConversationRow]]) -> None:
    assert {row.fields["needs"] for row in rows["test"]} == {"both"}
    assert {row.fields["needs"] for row in rows["test_one_side"]} == {"picture", "sound"}
    needs = Counter(turn["needs"] for row in rows["train"] for turn in row.fields["turns"])
    assert needs["both"] > 40
    assert min(needs.values()) > 15


def test_what_is_removed_is_removed(rows: Mapping[str, list[ConversationRow]]) -> None:
    for kept, unseen, silent in zip(
        rows["test"], rows["test_picture_removed"], rows["test_sound_removed"], strict=True
    ):
        assert kept.messages[0].parts[1] == unseen.messages[0].parts[1]
        assert isinstance(unseen.messages[0].parts[0], AudioPart)
        part = silent.messages[0].parts[0]
        assert isinstance(part, VideoPart)
        assert not part.use_audio


def test_answers_come_equally_often(rows: Mapping[str, list[ConversationRow]]) -> None:
    by_form: dict[str, Counter[str]] = {}
    for row in rows["test"]:
        by_form.setdefault(row.fields["kind"], Counter())[row.fields["answers"][0]] += 1
    assert by_form["match"] == {"yes": 4, "no": 4}
    assert by_form["side"] == {"on the left": 2, "on the right": 2, ABSENT: 2}
    assert set(by_form["category and way"].values()) == {1}
    assert by_form["together"] == {"yes": 2, "no": 2}


def test_the_answers_are_true(rows: Mapping[str, list[ConversationRow]]) -> None:
    """Told from the fields, which the pictures and sounds were made of."""
    for row in rows["test"]:
        known, (answer, *_) = row.fields, row.fields["answers"]
        names, heard = known["names"], known["heard"]
        match known["kind"]:
            case "match" | "named":
                assert (answer == "yes") == (names == [heard])
            case "side":
                place = names.index(heard) if heard in names else None
                assert answer == {0: "on the left", 1: "on the right", None: ABSENT}[place]
            case "category and way":
                category = next(kind for kind, those in SOUNDS.items() if heard in those)
                assert category in answer or (category, answer[:9]) == ("signal", "something")
                assert answer.endswith(known["motions"][0])
            case "deed":
                assert (answer == ABSENT) == (heard not in names)


def test_a_half_is_silent_where_it_is_said_to_be(data: Path) -> None:
    """A thing and a sound in one half each; "together" tells whether it is the same."""
    manifest = open_manifest(data / "clips" / "test.jsonl")
    found = [manifest[index] for index in range(len(manifest))]
    for row in (one for one in found if one.fields["kind"] == "together"):
        video = load_video(row.messages[0].parts[0].video, frames=64)
        assert video.audio is not None
        half = len(video.audio) // 2
        loud = [np.abs(video.audio[:half]).mean(), np.abs(video.audio[half:]).mean()]
        there = [len(np.unique(f.reshape(-1, 3) // 64, axis=0)) for f in video.frames[[0, -1]]]
        together = np.argmax(loud) == np.argmax(there)
        assert row.fields["answers"] == ["yes" if together else "no"]


def test_what_tests_are_about_is_not_trained(rows: Mapping[str, list[ConversationRow]]) -> None:
    layouts = {row.fields["layout"] for row in rows["train"]}
    assert not layouts & {row.fields["layout"] for row in rows["test"]}
    assert not any(map(held_out, layouts))
    templates = {turn["template"] for row in rows["train"] for turn in row.fields["turns"]}
    assert not templates & {row.fields["template"] for row in rows["test"]}


def test_words_of_tests_and_training_differ() -> None:
    assert set(TEMPLATES) == set(NEEDS)
    trained = {words for train, _ in TEMPLATES.values() for words in train}
    assert not trained & {words for _, test in TEMPLATES.values() for words in test}


def test_one_side_is_not_enough(data: Path) -> None:
    scores = json.loads((data / "clips" / "one_sided.json").read_text())
    assert set(scores) == {"neither", "picture", "sound"}
    assert scores["neither"]["side"] == pytest.approx(1 / 3, abs=0.01)


def test_the_guessers_find_what_one_side_tells(thing: Path) -> None:
    """A guard: where the picture alone tells the answer, it is found out."""
    heard = Heard("dog", "a dog", "animal", thing)
    draw = random.Random(0)
    asked = []
    for number in range(60):
        motion: Motion = "left" if number % 2 else "up"
        actor = Actor(thing, "dog", motion, 0.4, (0.5, 0.5), 0.2)
        clip = Clip(str(number), "one", (actor,), heard, 24, compared=True)
        asked += [(clip, one) for one in questions(clip, draw) if one.form == "moves"]
    scores = one_sided_scores(asked, asked)
    assert scores["picture"]["all"] == 1.0
    assert scores["sound"]["all"] == scores["neither"]["all"] == 0.5


def test_too_small_a_cast_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="seen and heard"):
        clip_planning.cast_of(clips.inventory([]), [], test=False)


def test_a_wish_that_cannot_be_met_is_named() -> None:
    heard = {"dog": (Heard("dog", "a dog", "animal", Path()),)}
    cast = clip_planning.Cast({"dog": (Path("dog.png"),)}, heard, test=False)
    with pytest.raises(DataError, match="nothing to make"):
        clip_planning.plan(cast, Wish("one", "any", kind="animal"), "x", random.Random(0))


def test_sound_longer_than_the_clip_is_cut(thing: Path) -> None:
    clip = Clip("x", "one", (of("still"),), Heard("dog", "a dog", "animal", thing), 24, False)
    cut = clips.placed(tone(300, 5.0), clip, random.Random(0))
    assert len(cut) == 3 * SAMPLE_RATE_HZ
    assert abs(cut[-1]) < 1e-3
    short = clips.placed(tone(300, 1.0), clip, random.Random(0))
    assert len(short) == len(cut)
    assert np.count_nonzero(short) == pytest.approx(SAMPLE_RATE_HZ, abs=200)


def test_audio_alone_opens_from_the_video(rows: Mapping[str, list[ConversationRow]]) -> None:
    part = rows["test_picture_removed"][0].messages[0].parts[0]
    assert isinstance(part, AudioPart)
    assert np.abs(load_audio(part.audio)).max() > 0.1
