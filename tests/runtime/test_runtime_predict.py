"""Models with heads answer alike alone and in a batch, as they were trained; errors are named."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_onepeace
import torch
from PIL import Image
from typer.testing import CliRunner

import unisono
from unisono.cli import app
from unisono.errors import (
    ConversationError,
    MediaNotFoundError,
    ModelConfigError,
    UnknownModelError,
)
from unisono.media.masks import decode_mask
from unisono.models.onepeace import (
    OnePeaceConfig,
    OnePeaceForClassification,
    OnePeaceForGrounding,
    OnePeaceForRanking,
)
from unisono.models.onepeace.dense.instances import Instance
from unisono.models.onepeace.dense.segmenter import SegmentationMap
from unisono.runtime import Answer, load_predictor
from unisono.runtime.overlays import overlay

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "classify": (OnePeaceForClassification, {"modality": "image", "inputs": ["image"]}),
    "tags": (
        OnePeaceForClassification,
        {"modality": "audio", "inputs": ["audio"], "multi_label": True},
    ),
    "pairs": (OnePeaceForClassification, {"images": 2, "inputs": ["text", "image", "image_2"]}),
    "ground": (OnePeaceForGrounding, {"modality": "image", "inputs": ["text", "image"]}),
    "rank": (OnePeaceForRanking, {"inputs": ["text", "audio"]}),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model of each kind, random and saved."""
    root, (plain, processor) = tmp_path_factory.mktemp("models"), tiny.onepeace()
    fields = plain.config.to_dict()
    kept = {k: v for k, v in fields.items() if k not in ("id2label", "label2id", "num_labels")}
    made = {}
    for name, (kind, head) in KINDS.items():
        config = OnePeaceConfig(
            **{**kept, "decoder_config": None, "head_config": head},
            id2label={0: "cat", 1: "dog", 2: "owl"},
            label2id={"cat": 0, "dog": 1, "owl": 2},
        )
        torch.manual_seed(0)
        made[name] = root / name
        tiny_onepeace.randomised(kind(config)).save_pretrained(made[name])
        processor.save_pretrained(made[name])
    return made


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 70, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def sound(seed: int, seconds: float = 1.2) -> tuple[np.ndarray, int]:
    count = round(seconds * 16_000)
    noise = np.random.default_rng(seed).normal(size=count)
    return noise.astype(np.float32) * 0.1, 16_000


def items(name: str) -> list[dict[str, Any]]:
    each: dict[str, Any] = {
        "classify": lambda i: {"image": picture(i)},
        "tags": lambda i: {"audio": sound(i)},
        "pairs": lambda i: {"text": "a" * i, "image": picture(i), "image_2": picture(i + 9)},
        "ground": lambda i: {"text": f"the {'red ' * i}cat", "image": picture(i)},
        "rank": lambda i: {
            "text": "which?",
            "audio": sound(i),
            "choices": ["a", "bb", "ccc", "d"][: 2 + i],
        },
    }
    return [each[name](i) for i in (1, 2, 1)]


@pytest.mark.parametrize("name", KINDS)
def test_alone_as_in_a_batch(name: str, folders: dict[str, Path]) -> None:
    predictor = unisono.load(folders[name])
    together = [one.answer for one in predictor.predict_each(items(name))]
    for item, found in zip(items(name), together, strict=True):
        alone = predictor.predict(**item)
        assert found is not None
        assert dict(alone.labels) == pytest.approx(dict(found.labels), abs=1e-5)
        assert alone.box == pytest.approx(found.box, abs=1e-3)
    first, second, again = together
    assert first is not None
    assert again is not None
    assert dict(first.labels) == pytest.approx(dict(again.labels), abs=1e-5)
    assert first.as_json() != second.as_json()


def test_what_is_said(folders: dict[str, Path]) -> None:
    answer = load_predictor(folders["classify"]).predict(image=picture(0))
    shares = list(answer.labels.values())
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)
    assert answer.label == next(iter(answer.labels))
    assert set(answer.labels) == {"cat", "dog", "owl"}
    assert len(answer.as_json(top=2)["labels"]) == 2
    tags = load_predictor(folders["tags"]).predict(audio=sound(0))
    assert sum(tags.labels.values()) != pytest.approx(1)
    ranked = load_predictor(folders["rank"]).predict(
        text="which?", audio=sound(0), choices=["yes", "no"]
    )
    assert set(ranked.labels) == {"yes", "no"}
    found = load_predictor(folders["ground"]).predict(text="it", image=picture(0))
    assert found.box is not None
    model = OnePeaceForGrounding.from_pretrained(folders["ground"])
    inputs = tiny.onepeace()[1](text=["it"], images=[picture(0)])
    with torch.inference_mode():
        fractions = model.eval()(**inputs).boxes[0].tolist()
    expected = [f * s for f, s in zip(fractions, (70, 40, 70, 40), strict=True)]
    assert found.box == pytest.approx(expected, abs=1e-3)


def test_a_failure_is_one_item_s(folders: dict[str, Path]) -> None:
    predictor = load_predictor(folders["classify"])
    given = [
        {"image": picture(0)},
        {"image": "nowhere.png"},
        {"text": "cat"},
        {"image": picture(1)},
    ]
    found = list(predictor.predict_each(given))
    assert [one.index for one in found] == [0, 1, 2, 3]
    assert [one.answer is None for one in found] == [False, True, True, False]
    assert isinstance(found[1].error, MediaNotFoundError)
    assert "must have image, but has text instead" in str(found[2].error)
    with pytest.raises(MediaNotFoundError):
        predictor.predict(image="nowhere.png")
    ranker = load_predictor(folders["rank"])
    for choices in ("yes", ["yes"], ["a", "a"], [1, 2]):
        with pytest.raises(ConversationError, match="choices must be"):
            ranker.predict(text="which?", audio=sound(0), choices=choices)


def test_wrong_models_and_tasks(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelConfigError, match="can classify, but is asked to ground"):
        load_predictor(folders["classify"], task="ground")
    with pytest.raises(ModelConfigError, match="task must be one of classify"):
        load_predictor(folders["classify"], task="cook")
    with pytest.raises(UnknownModelError, match="there is no folder"):
        load_predictor(tmp_path / "nowhere")
    tiny.onepeace()[0].save_pretrained(tmp_path)
    with pytest.raises(ModelConfigError, match="OnePeaceModel, which does no task"):
        load_predictor(tmp_path)
    config = json.loads((folders["classify"] / "config.json").read_text())
    config["head_config"]["inputs"] = None
    lost = tmp_path / "lost"
    OnePeaceForClassification(OnePeaceConfig(**config)).save_pretrained(lost)
    tiny.onepeace()[1].save_pretrained(lost)
    with pytest.raises(ModelConfigError, match=r"head_config\.inputs must say"):
        load_predictor(lost)


# --- pictures of answers -----------------------------------------------------------------------


def test_overlays_show_where() -> None:
    grey = Image.new("RGB", (300, 280), (90, 90, 90))
    boxed = np.asarray(overlay(grey, Answer(box=(50, 60, 200, 180))))
    changed = (boxed[:280] != 90).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert (rows.min(), columns.min()) == (60, 50)
    assert (rows.max(), columns.max()) == (180, 200)
    assert not changed[100:150, 100:150].any()  # only the edge is drawn
    mask = torch.zeros(280, 300, dtype=torch.bool)
    mask[100:150, 100:180] = True
    thing = Instance(0, "cat", 0.9, (100.0, 100.0, 180.0, 150.0), mask)
    tinted = np.asarray(overlay(grey, Answer(things=(thing,))))
    assert (tinted[110:140, 110:170] != 90).any(axis=2).all()
    classes = torch.zeros(280, 300, dtype=torch.long)
    classes[:, 150:] = 1
    mapped = Answer(segmentation=SegmentationMap(classes, None, {0: "sky", 1: "sea"}))
    drawn = overlay(grey, mapped)
    assert drawn.size == (300, 298)  # with a line of words
    assert len({drawn.getpixel((x, 10)) for x in (10, 100)}) == 1
    assert drawn.getpixel((10, 10)) != drawn.getpixel((200, 10))
    assert overlay(grey.resize((30, 20)), Answer(box=(20, 10, 5, 2))).width >= 256


def test_masks_in_json_are_coco_s() -> None:
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[1:3, 2:5] = True
    said = Answer(things=(Instance(0, "cat", 0.5, (2.0, 1.0, 5.0, 3.0), mask),)).as_json()
    (thing,) = json.loads(json.dumps(said))["things"]
    np.testing.assert_array_equal(decode_mask(thing["mask"], (4, 6)), mask.numpy())
    assert Answer().as_json() == {"things": []}


# --- the command line ----------------------------------------------------------------------------


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["predict", *map(str, arguments)])


def test_predict_prints_and_draws(folders: dict[str, Path], tmp_path: Path) -> None:
    for place in range(2):
        picture(place).save(tmp_path / f"{place}.png")
    (tmp_path / "torn.png").write_bytes(b"no picture")
    out, files = tmp_path / "out", [tmp_path / "0.png", tmp_path / "1.png"]
    done = run("ground", *files, "-m", folders["ground"], "--text", "it", "--json", "--out", out)
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["path"] for line in lines] == list(map(str, files))
    assert all(len(line["box"]) == 4 for line in lines)
    assert sorted(one.name for one in out.iterdir()) == [
        "0000-0.json",
        "0000-0.png",
        "0001-1.json",
        "0001-1.png",
    ]
    assert json.loads((out / "0000-0.json").read_text()) == lines[0]
    broken = run("classify", tmp_path / "torn.png", files[0], "-m", folders["classify"])
    assert broken.exit_code == 2
    assert "torn.png" in broken.stderr
    assert "0.png: " in broken.stdout
    pair = run("classify", *files, "-m", folders["pairs"], "--text", "both")
    assert pair.exit_code == 0
    assert len(pair.stdout.splitlines()) == 1
    for arguments, message in (
        (("classify", files[0], "-m", folders["pairs"], "--text", "a"), "pairs of pictures"),
        (("rank", files[0], "-m", folders["classify"]), "can classify, but is asked to rank"),
        (("ground", files[0], "-m", folders["ground"]), "must have text, image, but has image"),
    ):
        failed = run(*arguments)
        assert failed.exit_code == 2
        assert message in failed.stderr
