"""Dense tasks: what is seen and what is right agree, whatever is drawn; encoders are taken over."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from one_thread import one_thread  # noqa: F401 -- a fixture
from PIL import Image
from tiny_dense import ADAPTER, MASK_HEAD, segmentation_config

from unisono.errors import BadRowError, MediaError, RecipeError
from unisono.manifests.row import PairRow
from unisono.media.masks import encode_mask
from unisono.models.onepeace.dense import (
    OnePeaceDetectionConfig,
    OnePeaceForDetection,
    OnePeaceForSegmentation,
    OnePeaceForVideoClassification,
    OnePeaceVideoClassificationConfig,
)
from unisono.models.onepeace.dense.config import OnePeaceWindowedConfig
from unisono.training import goals
from unisono.training.labels import choose_labels
from unisono.training.objectives.augment import cut_of, part_of_picture
from unisono.training.objectives.dense import ClassifyClips, Detect, Segment
from unisono.training.parts import depth_finder, part_of, parts_of
from unisono.training.recipe import ModelSettings
from unisono.training.start import begin

SIDE = 32
NAMES = ("left", "right")


def scene(width: int = 90, height: int = 60) -> tuple[Image.Image, np.ndarray]:
    """Red with class 1 on the left, blue with class 2 on the right, a white edge with none."""
    classes = np.full((height, width), 2, np.uint8)
    classes[:, : width // 3] = 1
    classes[:4] = 0
    colours = np.array([[255, 255, 255], [200, 0, 0], [0, 0, 200]], np.uint8)
    return Image.fromarray(colours[classes]), classes


@pytest.fixture
def row(tmp_path: Path) -> PairRow:
    picture, classes = scene()
    Image.fromarray(classes).save(tmp_path / "map.png")
    left, right = classes == 1, classes == 2
    objects = [
        {"label": "left", "box": [0, 4, 30, 56], "mask": encode_mask(left)},
        {"label": "right", "box": [30, 4, 60, 56], "mask": encode_mask(right)},
        {"label": "right", "box": [0, 0, 90, 4], "mask": None, "crowd": True},
    ]
    fields = {"segmentation": str(tmp_path / "map.png"), "objects": objects}
    return PairRow("rows:1", image=picture, fields=fields)


def segment(**changes: Any) -> Segment:
    settings = goals.Segmentation(**{"first": 1, "colour": False, **changes})
    return Segment(segmentation_config(crop_px=SIDE), settings, NAMES)


def detect(**changes: Any) -> Detect:
    config = OnePeaceDetectionConfig(vision_config=OnePeaceWindowedConfig(), image_px=SIDE)
    return Detect(config, goals.Detection(**{"scale": (0.5, 2.0), **changes}), NAMES)


def colours(pixels: torch.Tensor, config: Any) -> np.ndarray:
    """What the model is given, back as [S, S, 3] from 0 to 255."""
    mean, std = (
        torch.tensor(list(v))[:, None, None] for v in (config.pixel_mean, config.pixel_std)
    )
    return np.asarray(((pixels * std + mean) * 255).permute(1, 2, 0))


def test_classes_lie_where_the_picture_has_them(row: PairRow) -> None:
    objective = segment()
    mirrored = 0
    for draw in range(40):
        shown = objective.prepare(row, draw=draw)
        assert shown.pixels.shape == (3, SIDE, SIDE)
        red, _, blue = np.moveaxis(colours(shown.pixels, objective.config), 2, 0)
        target = np.asarray(shown.target)
        # Along edges colours are mixed: only clear ones are judged.
        assert (target[(red > 180) & (blue < 20)] == 0).all()
        assert (target[(blue > 180) & (red < 20)] == 1).all()
        assert (target[(red > 240) & (blue > 240)] == 255).all()
        assert set(np.unique(target)) <= {0, 1, 255}
        columns = [np.flatnonzero((target == k).any(0)) for k in (0, 1)]
        if all(map(len, columns)):
            mirrored += columns[0].mean() > columns[1].mean()
    assert 8 < mirrored < 32


def test_one_number_decides_everything(row: PairRow) -> None:
    for objective in (segment(colour=True), detect()):
        one, same, other = (objective.prepare(row, draw=draw) for draw in (7, 7, 8))
        assert torch.equal(one.pixels, same.pixels)
        assert not torch.equal(one.pixels, other.pixels)


def test_a_cut_shows_more_than_one_class_where_it_can(row: PairRow) -> None:
    several = [
        len(set(np.unique(segment().prepare(row, draw=i).target)) - {255}) for i in range(20)
    ]
    assert np.mean(np.array(several) == 2) > 0.9


def test_small_pictures_are_filled_up_and_teach_nothing_there(row: PairRow) -> None:
    shown = segment(scale=(0.5, 0.5), mirror=False).prepare(row)
    empty = ~np.asarray(shown.pixels.abs().sum(0) > 0)
    assert empty[16:].all()  # of 60 px, half of 32
    assert (np.asarray(shown.target)[empty] == 255).all()


def test_things_are_boxed_where_their_masks_are(row: PairRow) -> None:
    objective = detect()
    counts = set()
    for draw in range(40):
        shown = objective.prepare(row, draw=draw)
        red, _, blue = np.moveaxis(colours(shown.pixels, objective.config), 2, 0)
        things = shown.target
        counts.add(len(things.classes))
        for place, box, mask in zip(things.classes, things.boxes, things.masks, strict=True):
            seen = np.asarray(mask) == 1
            own, others = (red, blue) if place == 0 else (blue, red)
            inner = seen & (own > 180)
            assert inner.sum() >= 0.5 * seen.sum()
            assert not (seen & (others > 180) & (own < 20)).any()
            x, y, width, height = (np.asarray(box) * SIDE).tolist()
            ys, xs = np.nonzero(seen)
            assert (xs.min(), xs.max() + 1) == pytest.approx((x - width / 2, x + width / 2))
            assert (ys.min(), ys.max() + 1) == pytest.approx((y - height / 2, y + height / 2))
        assert not (np.asarray(shown.real) == 0)[seen].any()
    assert counts <= {1, 2}
    assert 2 in counts  # never the crowd


def test_what_is_wrong_with_a_row_is_said(row: PairRow, tmp_path: Path) -> None:
    def changed(**fields: Any) -> PairRow:
        return PairRow("rows:1", image=row.image, fields={**row.fields, **fields})

    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n....")
    Image.new("L", (9, 9)).save(tmp_path / "small.png")
    Image.new("RGB", (90, 60)).save(tmp_path / "colours.png")
    Image.new("L", (90, 60), 9).save(tmp_path / "nine.png")
    broken: list[tuple[Any, PairRow, type[Exception], str]] = [
        (segment(), changed(segmentation=None), BadRowError, "^rows:1: there is no field segm"),
        (segment(), changed(segmentation=str(tmp_path / "no.png")), MediaError, "no.png"),
        (segment(), changed(segmentation=str(tmp_path / "broken.png")), MediaError, "broken.png"),
        (segment(), changed(segmentation=str(tmp_path / "colours.png")), MediaError, "is RGB"),
        (segment(), changed(segmentation=str(tmp_path / "small.png")), BadRowError, "9 x 9"),
        (segment(), changed(segmentation=str(tmp_path / "nine.png")), BadRowError, "value 9"),
        (segment(), PairRow("rows:1", text="a"), BadRowError, "no image"),
        (detect(), changed(objects=None), BadRowError, "list of objects"),
        (detect(), changed(objects=["cat"]), BadRowError, "must be a mapping"),
        (detect(), changed(objects=[{"label": "cat"}]), BadRowError, "'cat' is none of the model"),
        (detect(), changed(objects=[{"label": "left", "box": [1]}]), BadRowError, "a box must be"),
    ]
    for objective, bad, kind, message in broken:
        with pytest.raises(kind, match=message):
            objective.prepare(bad)


def test_a_thing_without_a_mask_fills_its_box(row: PairRow) -> None:
    objects = [{"label": "left", "box": [30, 15, 30, 30]}]
    plain = PairRow("rows:1", image=row.image, fields={"objects": objects})
    shown = detect(scale=(1.0, 1.0), mirror=False).prepare(plain)
    (box,) = shown.target.boxes * 90  # a square of 90 px
    assert box.tolist() == pytest.approx([45, 30, 30, 30], abs=3)


def test_a_picture_without_things_is_learned_from(row: PairRow) -> None:
    objective = detect()
    empty = PairRow("rows:2", image=row.image, fields={"objects": []})
    inputs, weight = objective.collate([objective.prepare(empty), objective.prepare(row)])
    assert (weight, inputs["counts"][0]) == (2.0, 0)
    torch.manual_seed(0)
    shape = {"width": 32, "queries": 4, "decoder_layers": 1, "decoder_ffn_width": 16, "points": 2}
    model = OnePeaceForDetection.from_onepeace(
        tiny.onepeace()[0],
        vision_config={"window": 2},
        **{**shape, "self_attention_heads": 2, "cross_attention_heads": 2, "groups": 2},
        blocks=1,
        image_px=SIDE,
        num_labels=2,
    )
    found = objective.loss(model, inputs, draw=0)
    found.loss.backward()
    assert found.loss.isfinite()


def test_short_clips_show_frames_longer() -> None:
    frames = [Image.new("RGB", (40, 30), (60 * i, 0, 0)) for i in range(2)]
    config = OnePeaceVideoClassificationConfig(frames=5, image_px=16)
    objective = ClassifyClips(config, goals.VideoClassification(), NAMES)
    shown = objective.prepare(PairRow("rows:1", video=frames, fields={"label": "right"}), draw=3)
    assert shown.pixels.shape == (3, 5, 16, 16)
    assert shown.target == 1
    reds = shown.pixels[0].flatten(1).mean(1)
    assert [len(set(part.tolist())) for part in (reds[:3], reds[3:])] == [1, 1]
    assert reds[0] < reds[3]
    for bad, message in (
        (PairRow("rows:1", text="a", fields={"label": "right"}), "there is no video"),
        (PairRow("rows:1", video=frames, fields={"label": "up"}), "'up' is none"),
        (PairRow("rows:1", video=frames), "no field label"),
    ):
        with pytest.raises(BadRowError, match=message):
            objective.prepare(bad)


def test_labels_of_dense_tasks(row: PairRow) -> None:
    found = goals.Detection()
    assert choose_labels(found, [row]) == ("left", "right")
    assert choose_labels(found, [row], ["person"]) == ("person",)
    assert choose_labels(goals.Segmentation(), [row], ["a", "b"]) == ("a", "b")
    assert choose_labels(goals.Segmentation(labels=("x", "y")), [row], ["a", "b"]) == ("x", "y")
    with pytest.raises(RecipeError, match="do not name their classes"):
        choose_labels(goals.Segmentation(), [row])
    with pytest.raises(RecipeError, match="no row has objects"):
        choose_labels(found, [PairRow("rows:1", text="a")])


def test_views_stay_inside() -> None:
    draws = random.Random(0)
    for _ in range(300):
        size = draws.randint(1, 300), draws.randint(1, 300)
        part = part_of_picture(size, 16, area=(0.08, 1.0), draws=draws, mirror=True)
        cut = cut_of(size, 16, scale=draws.uniform(0.02, 3), draws=draws, mirror=True)
        for view in (part, cut):
            left, upper, right, lower = view.box
            assert 0 <= left < right <= size[0] + 1e-6
            assert 0 <= upper < lower <= size[1] + 1e-6
            assert view.picture(Image.new("RGB", size)).size == (16, 16)


# --- models ------------------------------------------------------------------------------------

HEADS: dict[str, dict[str, Any]] = {
    "segmentation": {"adapter_config": ADAPTER, "mask_config": MASK_HEAD, "crop_px": SIDE},
    "detection": {
        **{"width": 32, "queries": 4, "decoder_layers": 1, "decoder_ffn_width": 16, "points": 2},
        **{"self_attention_heads": 2, "cross_attention_heads": 2, "groups": 2, "blocks": 1},
        "image_px": SIDE,
    },
    "video_classification": {"frames": 3, "image_px": SIDE},
}


@pytest.mark.parametrize("head", HEADS)
def test_the_encoder_of_a_pretrained_model_is_taken_over(head: Any, tmp_path: Path) -> None:
    source = tiny.onepeace(num_hidden_layers=4)[0]
    source.save_pretrained(tmp_path / "pretrained")
    settings = ModelSettings(
        family="onepeace", head=head, source=str(tmp_path / "pretrained"), config=HEADS[head]
    )
    model: Any = begin(settings, labels=["a", "b", "c"]).model
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
    had = dict(source.named_parameters())
    own = dict(model.backbone.named_parameters())
    same = [name for name, weight in own.items() if name in had and torch.equal(weight, had[name])]
    layers = [name for name in own if name.startswith("encoder.layers.") and name in had]
    assert set(layers) <= set(same)
    assert any(name.startswith("adapters.image.stem") for name in same)
    model.save_pretrained(tmp_path / "mine")
    again: Any = begin(settings, folder=str(tmp_path / "mine")).model
    for name, weight in again.state_dict().items():
        torch.testing.assert_close(weight, model.state_dict()[name], msg=name)


def test_an_encoder_that_does_not_fit_is_said(tmp_path: Path) -> None:
    tiny.onepeace()[0].save_pretrained(tmp_path)
    wider = {"vision_config": {"hidden_size": 64}}
    settings = ModelSettings(
        family="onepeace", head="segmentation", source=str(tmp_path), config=wider
    )
    with pytest.raises(RecipeError):
        begin(settings, labels=["a", "b"])


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        ("segmentation", OnePeaceForSegmentation),
        ("detection", OnePeaceForDetection),
        ("video_classification", OnePeaceForVideoClassification),
    ],
)
def test_every_parameter_is_of_a_part_and_layers_decay(
    head: str, kind: Any, tmp_path: Path
) -> None:
    source = tiny.onepeace(num_hidden_layers=4)[0]
    fields = dict(HEADS[head])
    model = kind.from_onepeace(source, num_labels=3, **fields)
    names = [name for name, _ in model.named_parameters()]
    assert [name for name in names if not part_of(name)] == []
    extra = {"segmentation": {"pyramid"}, "video_classification": {"adapters"}}.get(head, set())
    assert parts_of(model).keys() == {"image", "attention", "head"} | extra
    depth = depth_finder(model)
    first = next(name for name in names if "encoder.layers.0.attention" in name)
    stem = next(name for name in names if "adapters.image.stem" in name)
    assert (depth(stem), depth(first)) == ((0, 6), (1, 6))
    assert all(depth(n) is None for n in names if part_of(n) in ("head", "pyramid", "adapters"))
