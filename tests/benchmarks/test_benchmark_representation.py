"""representation.py compares like with like: the baseline computes what the model computes."""

import json
from pathlib import Path

import pytest
import representation
import representation_worker
import torch
from representation_model import Amounts, batch, divided_config, media, random_model
from representation_worker import ENCODED, PRETRAINING, SIDES, Side

TINY = Amounts(texts=6, images=3, clips=3, pairs=3, tokens=(3, 9), seconds=(0.1, 0.3), image_px=256)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Work this small is slower on several."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    text = {"vocab_size": 90}
    return random_model(divided_config(24, num_hidden_layers=3, text_config=text))


@pytest.fixture(scope="module")
def sides(model):
    return {name: Side(name, model, TINY) for name in SIDES}


@pytest.mark.parametrize("modality", ENCODED)
@pytest.mark.parametrize("side", SIDES[:-1])
def test_baselines_embed_like_the_model(sides, side, modality, monkeypatch):
    monkeypatch.setattr(representation_worker, "BATCH_SIZE", 4)
    ours = sides["ours"].run(modality)
    theirs = sides[side].run(modality, alone=modality == "audio")
    assert representation.difference(ours, theirs) < 1e-5
    lengths = ours["embeddings"].norm(dim=1)
    assert torch.allclose(lengths, torch.ones_like(lengths))


@pytest.mark.parametrize("modality", ENCODED)
def test_embeddings_tell_items_and_their_order_apart(sides, modality):
    found = sides["ours"].run(modality)["embeddings"]
    assert (found - found.flip(0)).abs().max() > 100 * representation.TOLERANCE


def test_the_official_padding_leaks_into_sound(sides):
    together, alone = (sides["official"].run("audio", alone=alone) for alone in (False, True))
    assert representation.difference(together, alone) > 1e-5


@pytest.mark.parametrize("side", SIDES[:2])
def test_baselines_pretrain_like_the_model(sides, side):
    ours, theirs = sides["ours"].run(PRETRAINING), sides[side].run(PRETRAINING)
    assert representation.difference(ours, theirs) < 1e-5
    assert {"loss", "gradients", "contrast", "text", "joint_image"} <= set(ours)


def test_drop_path_is_on_in_the_step_that_is_measured(model, sides):
    model.eval()
    still = sides["official"].losses()["loss"].detach()
    stepped = sides["official"].run(PRETRAINING)["loss"]
    assert (stepped - still).abs() > representation.TOLERANCE


def test_every_gradient_of_the_step_agrees(model, sides):
    found = []
    for name in ("official", "ours"):
        model.eval()
        sides[name].losses()["loss"].backward()
        named = model.named_parameters()
        found.append({n: p.grad.clone() for n, p in named if p.grad is not None})
        model.zero_grad()
    official, ours = found
    reached = {name for name in ours if ours[name].any()}
    assert reached == {name for name in official if official[name].any()}
    assert any("relative_bias" in name for name in reached)
    for name in reached:
        close = 1e-4 * float(official[name].abs().max())
        assert torch.allclose(ours[name], official[name], rtol=0, atol=close + 1e-7), name


def test_batches_are_padded_behind_the_items(model):
    found = media(TINY, 90)
    text = batch("text", found.text, model.config)
    assert text["attention_mask"].sum(dim=1).tolist() == [len(t) for t in found.text]
    sound = batch("audio", found.audio, model.config)
    frames = [model.config.audio_config.frames(len(clip)) + 1 for clip in found.audio]
    assert sound["audio_mask"].sum(dim=1).tolist() == frames
    assert len(set(frames)) > 1


def test_difference_is_relative_for_scalars_only():
    one = {"loss": torch.tensor(10.0), "embeddings": torch.tensor([0.5, 0.5])}
    other = {"loss": torch.tensor(10.1), "embeddings": torch.tensor([0.5, 0.52])}
    assert representation.difference(one, other) == pytest.approx(0.02)
    scalar = representation.difference(other, {**other, "loss": one["loss"]})
    assert scalar == pytest.approx(0.01, rel=1e-4)
    with pytest.raises(RuntimeError, match="loss"):
        representation.difference(one, {"embeddings": one["embeddings"]})


def turn(seconds: float, peak_bytes: int = 2**20) -> dict[str, float]:
    return {"seconds": seconds, "peak_bytes": peak_bytes, "load_average": 0.5}


def test_summary_splits_the_gain_by_cause_and_the_table_says_what_fails(capsys):
    seconds = dict(zip(SIDES, (8.0, 4.0, 2.0, 1.0), strict=True))
    found = {
        scenario: {
            side: [turn(seconds[side] * slow) for slow in (1, 9, 1)]
            for side in representation.sides_of(scenario)
        }
        for scenario in ("text", PRETRAINING)
    }
    found[PRETRAINING]["ours"] = [turn(7.0, peak_bytes=2**19)]
    rows = representation.summary(found, {"text": 0.5, PRETRAINING: 0.0}, Amounts())
    text, step = rows
    assert text["samples_per_s"]["ours"] == 64
    assert text["gain_of"] == dict.fromkeys(SIDES[1:], 2.0)
    assert (text["speedup"], text["agrees"], text["less_memory"]) == (8.0, False, False)
    assert step["samples_per_s"]["official"] == 1.0
    assert "sorted by length" not in step["gain_of"]
    assert (step["agrees"], step["less_memory"]) == (True, True)
    json.dumps(rows)
    representation.print_table(rows)
    printed = capsys.readouterr().err
    assert "(goal 1.3)" in printed
    assert "(too large)" in printed


def test_a_turn_is_timed_and_saved(tmp_path: Path, sides):
    path = tmp_path / "computed.pt"
    asked = {"scenario": "text", "alone": False, "save": str(path)}
    found = representation_worker.measured(sides["ours"], asked)
    assert found["seconds"] > 0
    assert found["peak_bytes"] >= 0
    assert torch.load(path)["embeddings"].shape == (TINY.texts, 64)
