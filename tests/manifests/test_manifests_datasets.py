"""Data sets are read in the layouts they are published in; what is broken is named."""

import json
import pickle
from pathlib import Path

import dataset_layouts as layouts
import pytest
from dataset_layouts import BOX, POLYGON, empty, said, table

from unisono.errors import BadRowError, DataError
from unisono.manifests import Manifest
from unisono.manifests.datasets import FORMATS, open_dataset


def test_ade20k(tmp_path: Path) -> None:
    folder = layouts.ade20k(tmp_path)
    rows = open_dataset("ade20k", folder)
    assert isinstance(rows, Manifest)
    assert rows.classes == ("wall", "door")
    first, second = rows[0], rows[1]
    assert first.name == "training/ADE_train_00000001.jpg"
    assert first.image == str(folder / "images/training/ADE_train_00000001.jpg")
    assert first.fields == {
        "segmentation": str(folder / "annotations/training/ADE_train_00000001.png"),
        "scene": "airport terminal",
    }
    assert "scene" not in second.fields
    (folder / "annotations/training/ADE_train_00000002.png").unlink()
    with pytest.raises(BadRowError, match=r"^training/ADE_train_00000002\.jpg: there is no '.*png"):
        rows[1]
    with pytest.raises(DataError, match="split must be one of training, validation"):
        open_dataset("ade20k", folder, split="val")
    with pytest.raises(DataError, match="cannot be read"):
        open_dataset("ade20k", folder, split="validation")
    said(folder / "classes.txt", "sky\nsea\n")
    assert open_dataset("ade20k", folder).classes == ("sky", "sea")


def test_coco_instances(tmp_path: Path) -> None:
    rows = open_dataset("coco_instances", layouts.coco(tmp_path))
    assert rows.classes == ("person", "dog")
    first, second = rows[0], rows[1]
    assert first.image == str(tmp_path / "val2017/000000000009.jpg")
    assert (first.fields["size"], first.fields["image_id"]) == ((100, 80), 9)
    dog, person = first.fields["objects"]
    assert dog == {"label": "dog", "category_id": 18, "box": BOX, "mask": POLYGON} | {
        "area": 1200.0,
        "crowd": False,
    }
    assert person["crowd"]
    assert person["mask"]["counts"] == [10, 5, 7985]
    assert second.fields["objects"] == []
    elsewhere = open_dataset("coco_instances", tmp_path / "annotations/instances_val2017.json")
    assert elsewhere.fingerprint == rows.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, 3]}, r"images\[0\]: a box must be x, y, width, height"),
        ({"bbox": [1, 2, 0, 4]}, r"images\[0\]: a box must be"),
        ({"bbox": [1, 2, float("nan"), 4]}, r"images\[0\]: a box must be"),
        ({"category_id": 99}, r"images\[0\]: annotation 1 is of no known category"),
    ],
)
def test_a_broken_object_of_coco(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = layouts.coco(tmp_path)
    found = json.loads(path.read_text())
    found["annotations"][0] |= change
    rows = open_dataset("coco_instances", said(path, found))
    with pytest.raises(BadRowError, match=message):
        rows[0]
    assert rows[1].fields["objects"] == []


def test_coco_captions(tmp_path: Path) -> None:
    path = layouts.coco_captions(tmp_path)
    rows = open_dataset("coco_captions", path, media=tmp_path / "pictures")
    assert [row.text for row in (rows[0], rows[1])] == ["A dog.", "A brown dog runs."]
    assert rows[0].image == rows[1].image == str(tmp_path / "pictures/000000000009.jpg")
    found = json.loads(path.read_text())
    found["annotations"][0] |= {"image_id": 8}
    found["annotations"][1] |= {"caption": " "}
    rows = open_dataset("coco_captions", said(path, found))
    for place, message in enumerate(("there is no image 8", "the caption is empty")):
        with pytest.raises(BadRowError, match=rf"annotations\[{place}\]: {message}"):
            rows[place]


def test_refcoco(tmp_path: Path) -> None:
    folder = layouts.refcoco(tmp_path)
    rows = open_dataset("refcoco", folder)
    assert len(rows) == 2
    row = rows[0]
    assert (row.text, row.fields["box"], row.fields["label"]) == ("the brown dog", BOX, "dog")
    assert row.image == str(folder / "train2014/COCO_train2014_000000000009.jpg")
    assert rows[1].text == "left animal"
    assert open_dataset("refcoco", folder, split="testA")[0].text == "dog"
    with pytest.raises(DataError, match="no split 'val', only testA, train"):
        open_dataset("refcoco", folder, split="val")
    layouts.refcoco(tmp_path, by="google")
    with pytest.raises(DataError, match=r"it has refs\(google\)\.p, refs\(unc\)\.p"):
        open_dataset("refcoco", folder)
    assert len(open_dataset("refcoco", folder, by="unc")) == 2


def test_refcoco_runs_nothing_from_a_pickle(tmp_path: Path) -> None:
    folder = layouts.refcoco(tmp_path)

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "touched",)

    for content in (pickle.dumps([Evil()]), b"no pickle", pickle.dumps({"a": 1})):
        (folder / "refs(unc).p").write_bytes(content)
        with pytest.raises(DataError, match=r"refs\(unc\)\.p"):
            open_dataset("refcoco", folder)
    assert not (tmp_path / "touched").exists()


def test_a_ref_of_nothing_is_named(tmp_path: Path) -> None:
    folder = layouts.refcoco(tmp_path)
    refs = [{"split": "train", "ann_id": 1, "image_id": 9, "sentences": [{"sent": "a"}]}]
    (folder / "refs(unc).p").write_bytes(pickle.dumps([*refs, {"split": "train"}]))
    rows = open_dataset("refcoco", folder)
    for place, message in enumerate(("object 1 or its image", "there is no 'ann_id'")):
        with pytest.raises(BadRowError, match=rf"^refs\(unc\)\.p:\[{place}\]\.0: {message}"):
            rows[place]


def test_vqa(tmp_path: Path) -> None:
    path = layouts.vqa(tmp_path)
    rows = open_dataset("vqa", path)
    row = rows[0]
    assert row.text == "What animal is it?"
    assert row.image == str(tmp_path / "train2014/COCO_train2014_000000000009.jpg")
    assert row.fields["label"] == "dog"
    assert row.fields["answers"] == ["dog"] * 7 + ["puppy"] * 3
    with pytest.raises(BadRowError, match=r"questions\[1\]: question 25000 has no annotation"):
        rows[1]
    (tmp_path / "v2_mscoco_train2014_annotations.json").unlink()
    assert "answers" not in open_dataset("vqa", path)[1].fields


def test_nlvr2(tmp_path: Path) -> None:
    rows = open_dataset("nlvr2", layouts.nlvr2(tmp_path))
    row = rows[0]
    below = tmp_path / "images/train/5"
    assert row.image == str(below / "train-10171-0-img0.png")
    assert row.fields["image_2"] == str(below / "train-10171-0-img1.png")
    assert (row.text, row.fields["label"]) == ("There are two dogs.", "true")
    with pytest.raises(BadRowError, match=r"^train\.json:2: label must be True or False"):
        rows[1]
    assert "label" not in rows[2].fields
    for line, message in (
        ("{", "Expecting"),
        ("[1]", "it must be an object"),
        ('{"identifier": "../../x-0-0", "sentence": "a"}', "leads out of the folder"),
    ):
        broken = open_dataset("nlvr2", said(tmp_path / "dev.json", line))
        with pytest.raises(BadRowError, match=rf"^dev\.json:1: .*{message}"):
            broken[0]


def test_audiocaps(tmp_path: Path) -> None:
    rows = open_dataset("audiocaps", layouts.audiocaps(tmp_path), media=tmp_path / "sounds")
    assert rows[0].text == "Constant rattling, then a bell"
    assert rows[0].audio == str(tmp_path / "sounds/Y7fmOlUlwoNg.wav")
    assert rows[1].audio == str(tmp_path / "sounds/-6ptr_mx_0Y_30_40.flac")
    with pytest.raises(BadRowError, match=r"^train\.csv:4: there is no '.*aaaaaaaaaaa"):
        rows[2]
    with pytest.raises(BadRowError, match=r"^train\.csv:5: could not convert"):
        rows[3]


def test_clotho(tmp_path: Path) -> None:
    rows = open_dataset("clotho", layouts.clotho(tmp_path))
    assert len(rows) == 5
    assert [rows[place].text for place in range(4)] == [f"Noise {i}." for i in range(1, 5)]
    assert rows[0].audio == str(tmp_path / "development/Distorted AM Radio noise.wav")
    with pytest.raises(BadRowError, match=r"development\.csv:2\.caption_5: caption_5 must be"):
        rows[4]


def test_esc50(tmp_path: Path) -> None:
    folder = layouts.esc50(tmp_path)
    rows = open_dataset("esc50", folder)
    assert rows.classes == ("dog", "washing machine", "rain")
    assert [rows[i].fields["label"] for i in range(3)] == ["dog", "rain", "washing machine"]
    assert rows[0].audio == str(folder / "audio/1-100032-A-0.wav")
    tested = open_dataset("esc50", folder, folds="2")
    assert [tested[i].fields["fold"] for i in range(len(tested))] == [2, 2]
    with pytest.raises(DataError, match="folds must be one of 1, 2, 3, 4, 5, but is '6'"):
        open_dataset("esc50", folder, folds="6")


def test_fsd50k(tmp_path: Path) -> None:
    folder = layouts.fsd50k(tmp_path)
    rows = open_dataset("fsd50k", folder)
    assert rows.classes == ("Electric guitar", "Guitar", "Music")
    assert rows[0].fields["labels"] == ["Electric guitar", "Guitar", "Music"]
    assert rows[0].audio == str(folder / "FSD50K.dev_audio/64760.wav")
    with pytest.raises(BadRowError, match=r"^dev\.csv:3: labels must be a text, but is ''"):
        rows[1]
    assert len(open_dataset("fsd50k", folder, split="dev")) == 3
    tested = open_dataset("fsd50k", folder, split="eval")
    assert tested[0].audio == str(folder / "FSD50K.eval_audio/9.wav")


def test_vggsound(tmp_path: Path) -> None:
    path, clips = layouts.vggsound(tmp_path), tmp_path / "clips"
    rows = open_dataset("vggsound", path, media=clips, split="test")
    assert rows.classes == ("people marching", "waterfall, burbling")
    assert rows[0].audio == str(clips / "---g-f_I2yQ_000001.mp4")
    assert rows[0].fields["label"] == "people marching"
    with pytest.raises(BadRowError, match=r"^vggsound\.csv:3: it must have 4 columns, but has 2"):
        rows[1]
    both = open_dataset("vggsound", path, media=clips, split="test", kind="video")
    assert (both[0].video, both[0].audio) == (rows[0].audio, None)
    with pytest.raises(BadRowError, match=r"^vggsound\.csv:2: there is no"):
        open_dataset("vggsound", path, media=clips)[0]


def test_kinetics_as_published(tmp_path: Path) -> None:
    path, clips = layouts.kinetics(tmp_path), tmp_path / "clips"
    rows = open_dataset("kinetics", path, media=clips)
    assert rows.classes == ("abseiling", "air drumming", "archery")
    assert rows[0].video == str(clips / "abseiling/0347ZoDXyP0_000095_000105.mp4")
    with pytest.raises(BadRowError, match=r"^train\.csv:3: there is no .*missing0000"):
        rows[1]
    assert len(open_dataset("kinetics", path, media=clips, split="validate")) == 1


def test_kinetics_as_a_list(tmp_path: Path) -> None:
    path = said(tmp_path / "list.txt", "abseiling/a b.mp4 0\nx.mp4 1\ny.mp4\n../z.mp4 0\nz.mp4 2\n")
    said(tmp_path / "names.txt", "abseiling\narchery\n")
    rows = open_dataset("kinetics", path, media=tmp_path / "v", classes="names.txt")
    assert rows[0].video == str(tmp_path / "v/abseiling/a b.mp4")
    assert [rows[i].fields["label"] for i in (0, 1)] == ["abseiling", "archery"]
    for place, message in ((2, "a path and a number"), (3, "leads out"), (4, "class 2 is not")):
        with pytest.raises(BadRowError, match=rf"^list\.txt:{place + 1}: .*{message}"):
            rows[place]
    assert open_dataset("kinetics", path)[1].fields["label"] == "1"


def test_class_folders(tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "cat/notes.txt", "fire_truck/2.wav", "fire_truck/3.mp4"):
        empty(tmp_path / name)
    rows = open_dataset("class_folders", tmp_path)
    assert rows.classes == ("cat", "fire truck")
    found = [rows[place] for place in range(len(rows))]
    assert [row.fields["label"] for row in found] == ["cat", "fire truck", "fire truck"]
    assert found[0].image == str(tmp_path / "cat/1.jpg")
    assert found[1].audio == str(tmp_path / "fire_truck/2.wav")
    assert found[2].video == str(tmp_path / "fire_truck/3.mp4")


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_no_data_set_is_one_clear_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no '.*nowhere'"):
        open_dataset(name, tmp_path / "nowhere")
    with pytest.raises(DataError, match=f"format {name} has the options .* colour is given"):
        open_dataset(name, tmp_path, colour="red")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty"):
        open_dataset(name, tmp_path / "empty")
    if name not in ("ade20k", "class_folders", "esc50", "fsd50k"):
        for content in ("", "[1, 2]", "\xff\xfe\x00", "a,b\n1,2\n", "{}"):
            file = tmp_path / "train2014_x.csv"
            file.write_bytes(content.encode("latin1"))
            with pytest.raises(DataError):  # at once, or in place of every row
                [rows[i] for rows in [open_dataset(name, file)] for i in range(len(rows))]


def test_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="format must be one of ade20k, .*, but is 'imagenet'"):
        open_dataset("imagenet", tmp_path)


def test_rows_are_as_many_as_said(tmp_path: Path) -> None:
    rows = open_dataset("esc50", layouts.esc50(tmp_path))
    for place in (-1, 3):
        with pytest.raises(IndexError, match="there are 3 rows"):
            rows[place]
    with pytest.raises(DataError, match="has no rows"):
        open_dataset(
            "kinetics",
            table(
                tmp_path / "k.csv", ("label", "youtube_id", "time_start", "time_end", "split"), []
            ),
        )
