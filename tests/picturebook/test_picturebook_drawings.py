"""Pictures of packages, what they are called, which may train, and how they are cut out."""

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from unisono.errors import MediaError
from unisono.picturebook import clipart, drawings, emoji, packages, splits, stamps
from unisono.picturebook.drawing import read_drawings
from unisono.picturebook.found import Found, plain, slug
from unisono.picturebook.splits_drawing import choose
from unisono.picturebook.step import make

DOG = Found("one-dog", "dog", "noto", "animals-nature", b"")
SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10" viewBox="0 0 10 10">'
    b'<rect x="2" y="3" width="6" height="4" fill="#ff0000"/></svg>'
)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def on_white(size: tuple[int, int] = (60, 40)) -> Image.Image:
    """A ring, white inside, on white without transparency."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).ellipse((20, 10, 40, 30), outline="blue", width=3)
    return image


Members = Callable[[dict[str, dict[str, bytes]]], None]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Members:
    """Packages by name, in place of those of the registries."""

    def give(files: dict[str, dict[str, bytes]]) -> None:
        def members(
            part: str, wanted: Callable[[str], bool], *, largest_bytes: int = 2**20
        ) -> Iterator[tuple[str, bytes]]:
            for name, data in files.get(part, {}).items():
                if wanted(name) and len(data) <= largest_bytes:
                    yield name, data

        for module in (clipart, emoji, stamps):
            monkeypatch.setattr(module, "members", members)

    return give


# --- packages ------------------------------------------------------------------------------


def test_members_are_regular_files_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "toy.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in (("./a.txt", b"one"), ("b.txt", b"x" * 100), ("c.png", b"three")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("d.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    monkeypatch.setattr(packages, "package_files", lambda part: [path])
    found = packages.members("toy", lambda name: name.endswith(".txt"), largest_bytes=50)
    assert list(found) == [("a.txt", b"one")]


def test_every_source_is_pinned_and_licensed() -> None:
    parts = packages.sources().parts
    assert {"tuxpaint-stamps-default", "openclipart-png", *emoji.HANDS.values()} <= parts.keys()
    assert all(part.licence and part.attribution and part.home for part in parts.values())


# --- what a picture shows --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "concept"),
    [("A helmeted guineafowl.", "helmeted guineafowl"), ("  The   Moon!", "moon"), ("Ant", "ant")],
)
def test_captions_become_concepts(text: str, concept: str) -> None:
    assert plain(text) == concept


def test_a_stamp_is_named_in_its_languages(given: Members) -> None:
    folder = stamps.FOLDER + "animals/"
    given(
        {
            stamps.PACKAGE: {
                folder + "hen.png": b"png",
                folder + "hen.svg": b"svg",
                folder + "hen_mirror.png": b"mirror",
                folder + "hen.txt": b"A hen.\nfr.utf8=Une poule.\nxx.utf8=?\nes.utf8=\n",
                folder + "nameless.png": b"png",
            }
        }
    )
    (hen,) = stamps.stamps()
    assert (hen.concept, hen.group, hen.picture) == ("hen", "animals", b"png")
    assert hen.captions == {"fr": "Une poule"}


def icon_set(characters: dict[str, str], *names: str) -> dict[str, bytes]:
    icons = {"icons": {name: {"body": "<path/>"} for name in names}, "width": 8, "height": 8}
    return {
        "package/icons.json": json.dumps(icons).encode(),
        "package/chars.json": json.dumps(characters).encode(),
    }


def test_emoji_are_known_by_code_or_by_name(
    given: Members, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = {hand: emoji.HANDS[hand] for hand in ("noto", "fxemoji", "emojione")}
    monkeypatch.setattr(emoji, "HANDS", hands)
    about = {"hexcode": "1F436", "label": "dog face", "tags": ["pet"], "group": 3}
    other = {"hexcode": "1F414", "label": "chicken", "tags": [], "group": 3}
    known = {
        "package/en/data.json": json.dumps([about, other]).encode(),
        "package/fr/data.json": json.dumps([{**about, "label": "tête de chien"}]).encode(),
    }
    for name in ("cldr", "joypixels", "iamcal", "github"):
        known[f"package/en/shortcodes/{name}.json"] = json.dumps({"1F436": "dog"}).encode()
    given(
        {
            "emojibase-data": known,
            "noto-emoji": icon_set({"1f436": "woof", "1f414": "gone"}, "woof"),
            "fxemoji": icon_set({}, "dog", "dogface-medium"),
            "emojione": icon_set({}, "dog-face", "chicken"),
        }
    )
    found = [(one.hand, one.concept) for one in emoji.emoji()]
    assert found == [
        ("noto", "dog face"),
        ("fxemoji", "dog face"),
        ("emojione", "chicken"),
        ("emojione", "dog face"),
    ]
    (noto, *_) = emoji.emoji()
    assert noto.captions == {"fr": "tête de chien"}
    assert noto.picture.startswith(b"<svg ")
    assert noto.group == "animals-nature"


def test_artists_are_told_from_titles(given: Members) -> None:
    titles = ("apple", "pear", "red_house", "cow", "spoon", "drum")
    names = [f"{title}_benji_park_01" for title in titles] + [
        "traffic_light_benji_pa_02",
        "two_dogs",
    ]
    given({clipart.PACKAGE: {f"{clipart.FOLDER}tools/{name}.png": b"png" for name in names}})
    concepts = {one.concept for one in clipart.clipart()}
    assert concepts == {
        "apple",
        "pear",
        "red house",
        "cow",
        "spoon",
        "drum",
        "traffic light",
        "two dogs",
    }


def test_folders_without_things_are_left_out(given: Members) -> None:
    given({clipart.PACKAGE: {f"{clipart.FOLDER}shapes/star.png": b"png"}})
    assert list(clipart.clipart()) == []


# --- which may train -------------------------------------------------------------------------


UNSEEN = frozenset({("banana",), ("mount", "fuji")})


@pytest.mark.parametrize(
    ("found", "split"),
    [
        (DOG, "train"),
        (replace(DOG, hand="fxemoji"), "unseen_drawing"),
        (replace(DOG, concept="banana"), "unseen_concept"),
        (replace(DOG, concept="Bananas", hand="emojione"), "unseen_concept"),
        (replace(DOG, concept="banana peel"), None),
        (replace(DOG, concept="monkey", keywords=("animal", "banana")), None),
        (replace(DOG, concept="snow on mount fuji"), None),
        (replace(DOG, concept="mount of fuji"), "train"),
    ],
)
def test_splits(found: Found, split: str | None) -> None:
    assert splits.assigned(found, UNSEEN) == split


def test_the_committed_lists_are_what_was_promised() -> None:
    lists = splits.unseen_concepts()
    assert len(lists["stamps"]) == 120
    assert len(lists["emoji"]) == 150
    assert splits.names_unseen("a picture of a dingo")
    assert not splits.names_unseen("a picture of a dog")


def test_chosen_concepts_are_named_by_few_others() -> None:
    crowd = [Found(f"c{i}", f"dog {i}", "noto", "objects", b"") for i in range(20)]
    alone = [Found(n, n, "emojione", "objects", b"") for n in ("dog", "owl", "very long long name")]
    stamp = [
        Found("s", "hen", "tuxpaint", "animals", b""),
        Found("t", "a", "tuxpaint", "money", b""),
    ]
    assert choose([*crowd, *alone, *stamp]) == {"stamps": ["hen"], "emoji": ["owl"]}


# --- cut-outs --------------------------------------------------------------------------------


def test_white_around_a_drawing_is_cut_away_but_not_within() -> None:
    image = drawings.cut_out(png(on_white()))
    assert image.size == (21, 21)
    assert image.getpixel((0, 0))[3] == 0
    assert image.getpixel((10, 10)) == (255, 255, 255, 255)


def test_a_drawing_in_svg_is_rendered_and_cropped() -> None:
    image = drawings.cut_out(SVG)
    assert image.mode == "RGBA"
    assert max(image.size) == drawings.SIDE_PX
    assert image.width / image.height == pytest.approx(1.5, abs=0.02)
    assert image.getpixel((image.width // 2, image.height // 2)) == (255, 0, 0, 255)


@pytest.mark.parametrize(
    "picture",
    [
        *(b"", b"nothing", b"<svg <broken", png(Image.new("RGBA", (50, 50)))),
        *(png(Image.new("RGB", (50, 50), "white")), png(Image.new("RGB", (4, 90), "red"))),
    ],
)
def test_unusable_pictures(picture: bytes) -> None:
    with pytest.raises(MediaError):
        drawings.cut_out(picture)


def test_gigantic_pictures_are_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "_LARGEST_PIXELS", 100)
    with pytest.raises(MediaError, match="too large"):
        drawings.cut_out(png(on_white()))


# --- the step ----------------------------------------------------------------------------------


def found_pictures() -> list[Found]:
    ring = png(on_white())
    return [
        Found("noto-dog", "dog", "noto", "animals-nature", SVG, {"fr": "chien"}, ("pet",)),
        Found("noto-dog", "dog", "noto", "animals-nature", ring),
        Found("fxemoji-dog", "dog", "fxemoji", "animals-nature", ring),
        Found("fxemoji-cat", "cat", "fxemoji", "animals-nature", ring),
        Found("tuxpaint-dingo", "dingo", "tuxpaint", "vehicles", ring),
        Found("noto-broken", "broken", "noto", "objects", b"?"),
    ]


def test_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawings, "pictures", lambda: iter(found_pictures()))
    make(drawings.STEP, tmp_path)
    made = {one.name: one for one in read_drawings(tmp_path)}
    assert {name: one.split for name, one in made.items()} == {
        "noto-dog": "train",
        "fxemoji-dog": "unseen_drawing",
        "tuxpaint-dingo": "unseen_concept",
    }
    assert made["noto-dog"].captions == {"fr": "chien"}
    assert made["noto-dog"].keywords == ("pet",)
    files = {path.stem for path in (tmp_path / "drawings").glob("*.png")}
    assert files == set(made)  # a hand that is never seen needs a concept that is


def pattern(seed: int) -> Image.Image:
    """Blots that look like no others."""
    chance = np.random.default_rng(seed)
    return Image.fromarray(chance.integers(0, 255, (6, 6, 3), np.uint8)).resize((96, 96))


def test_the_same_picture_is_of_one_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blots = [png(pattern(seed)) for seed in range(4)]
    mirrored = png(pattern(1).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    found = [
        Found("tuxpaint-dingo", "dingo", "tuxpaint", "animals", blots[0]),
        Found("openclipart-wolf", "grey one", "openclipart", "animals", blots[0]),
        Found("noto-dog", "dog", "noto", "animals", blots[1]),
        Found("noto-cat", "cat", "noto", "animals", blots[2]),
        Found("fxemoji-dog", "dog", "fxemoji", "animals", mirrored),
        Found("fxemoji-cat", "cat", "fxemoji", "animals", blots[3]),
    ]
    monkeypatch.setattr(drawings, "pictures", lambda: iter(found))
    make(drawings.STEP, tmp_path)
    names = {one.name for one in read_drawings(tmp_path)}
    assert names == {"tuxpaint-dingo", "noto-dog", "noto-cat", "fxemoji-cat"}
    assert {path.stem for path in (tmp_path / "drawings").glob("*.png")} == names


def test_slugs() -> None:
    assert slug("Mrs. O’Leary’s Cow (2)") == "mrs-o-leary-s-cow-2"
