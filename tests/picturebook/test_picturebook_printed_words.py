"""The step "printed_words", with a typeface that is at hand."""

from pathlib import Path

import matplotlib
import numpy as np
import pytest

from unisono.manifests import open_manifest, write_manifest
from unisono.media import load_image
from unisono.picturebook import printed_words
from unisono.picturebook.colours import COLOURS
from unisono.picturebook.packages import sources
from unisono.picturebook.printed_words import Face, Print, printed, row, words
from unisono.picturebook.step import draws


@pytest.fixture(scope="module")
def face() -> Face:
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return Face("DejaVuSans", path.read_bytes())


def test_words_of_the_test_are_never_shown() -> None:
    shown, held_out = words()
    assert len(shown) > 600
    assert len(held_out) > 60
    assert not set(shown) & set(held_out)


def test_typefaces_of_the_test_are_others_and_all_are_licensed() -> None:
    train, test = printed_words.TRAIN_FONTS, printed_words.TEST_FONTS
    assert not set(train) & set(test)
    for part in (*train, *test):
        assert sources().part(part).licence in ("OFL-1.1", "Apache-2.0")
    assert not set(printed_words.TRAIN_TEMPLATES) & set(printed_words.TEST_TEMPLATES)


def test_rows_say_what_is_printed_and_are_the_same_every_time(face: Face, tmp_path: Path) -> None:
    pictures = []
    for folder in (tmp_path / "a" / "train", tmp_path / "b" / "train"):
        folder.mkdir(parents=True)
        made = [row(folder, index, words()[0], [face]) for index in range(12)]
        write_manifest(made, folder.parent / "train.jsonl")
        pictures.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert pictures[0] == pictures[1]
    a, b = (list(open_manifest(tmp_path / name / "train.jsonl")) for name in "ab")
    assert [one.fields for one in a] == [one.fields for one in b]
    for one in a:
        assert one.messages[1].content == " ".join(one.fields["words"])  # type: ignore[union-attr]
        assert one.messages[3].content == one.fields["colour"]  # type: ignore[union-attr]


def test_tests_ask_once_in_words_of_their_own(face: Face, tmp_path: Path) -> None:
    folder = tmp_path / "test_unseen_words"
    folder.mkdir()
    made = row(folder, 0, words()[1], [face])
    assert len(made.messages) == 2
    assert made.fields["template"] in printed_words.TEST_TEMPLATES
    assert set(made.fields["words"]) <= set(words()[1])


@pytest.mark.parametrize("colour", COLOURS)
def test_letters_can_be_told_from_what_is_behind_them(face: Face, colour: str) -> None:
    for seed in range(4):
        picture = printed(Print(("house",), ("house",), face, colour), draws("legible", seed))
        light = np.asarray(picture.convert("L"), dtype=float)
        assert np.ptp(light) > 100


def test_long_words_stay_in_the_picture(face: Face) -> None:
    """No ink touches the edge: on a plain background the border is of one colour."""
    said = Print(("wwwwwwwww", "wwwwwwwww"), ("WWWWWWWWW", "WWWWWWWWW"), face, "black")
    plain = 0
    for seed in range(30):
        pixels = np.asarray(printed(said, draws("edge", seed)))
        border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        plain += bool((border == border[0]).all())
        assert border.astype(int).sum(axis=1).min() > 150  # no black in it
    assert plain


@pytest.mark.slow
def test_all_typefaces_come_out_of_their_packages(tmp_path: Path) -> None:
    for fonts in (printed_words.TRAIN_FONTS, printed_words.TEST_FONTS):
        found = printed_words.faces(fonts)
        assert len(found) == sum(map(len, fonts.values()))
        for one in found:
            folder = tmp_path / one.name
            folder.mkdir()
            made = row(folder, 0, words()[0], [one])
            assert load_image(made.messages[0].parts[0].image).size == (128, 128)  # type: ignore[union-attr]
