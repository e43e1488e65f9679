"""A composed Ola in training: kept features, packed rows, connector pre-alignment, parts."""

from pathlib import Path
from typing import Any

import composed
import numpy as np
import pytest
import tiny
import tiny_onepeace
import torch
from composed import heard
from PIL import Image

from unisono.conversation import AudioPart, ImagePart, Message, Part, TextPart, VideoPart
from unisono.errors import RecipeError
from unisono.manifests.row import ConversationRow, PairRow
from unisono.models.ola import OlaProcessor
from unisono.models.onepeace import OnePeaceConfig, OnePeaceForPretraining
from unisono.models.onepeace.branch import OnePeaceSoundModel, OnePeaceVisionModel
from unisono.models.onepeace.branch_config import (
    OnePeaceSoundConfig,
    OnePeaceVisionConfig,
    differences,
)
from unisono.training import goals
from unisono.training.feature_cache import EncoderCache, FeatureStore
from unisono.training.model_config import empty_model, model_config
from unisono.training.objectives.connector_ctc import ConnectorCtc, occurring_tokens
from unisono.training.objectives.next_token import NextToken
from unisono.training.parts import parts_of
from unisono.training.recipe import ModelSettings
from unisono.training.recipe_read import read_recipe
from unisono.training.start import begin


def rows() -> list[ConversationRow]:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    picture = ImagePart(image=Image.fromarray(pixels))
    sounds = [AudioPart(audio=heard(seconds)) for seconds in (0.7, 2.2, 4.6)]
    return [
        _row("What?", "a cat", picture),
        _row("Hello", "hi"),
        _row("And this?", "a tone", sounds[0]),
        _row("Both?", "yes", picture, sounds[1]),
        _row("Long?", "yes indeed", sounds[2]),
    ]


def _row(question: str, answer: str, *media: Part) -> ConversationRow:
    said = (*media, TextPart(text=question))
    messages = (Message(role="user", content=said), Message(role="assistant", content=answer))
    return ConversationRow(f"rows.jsonl:{question}", messages)


def step(model: Any, work: NextToken, inputs: Any) -> Any:
    model.zero_grad(set_to_none=True)
    loss = work.loss(model, inputs, draw=0).loss
    loss.backward()
    named = model.named_parameters()
    return loss.detach(), {n: p.grad.clone() for n, p in named if p.grad is not None}


def setting(folder: Path, **settings: Any) -> tuple[Any, NextToken]:
    model, processor = composed.ola()
    model.encoders.hearing.requires_grad_(False)
    model.encoders.vision.requires_grad_(False)
    cache = EncoderCache(model.encoders, FeatureStore(folder, 10**8))
    return model.train(), NextToken(processor, goals.NextToken(**settings), cache=cache)


def test_kept_features_are_the_encoders_to_the_last_bit(tmp_path: Path) -> None:
    model, work = setting(tmp_path)
    examples = [work.prepare(one) for one in rows()]
    uncached = step(model, work, work.collate(examples)[0])
    inputs, _ = work.collate(examples)
    assert not {"audio_mels", "audio_samples", "pixel_patches"} & inputs.keys()
    cached = step(model, work, inputs)
    torch.testing.assert_close(cached, uncached, rtol=0.0, atol=0.0)
    plain = NextToken(work.processor, goals.NextToken())
    without = step(model, plain, plain.collate(examples)[0])
    torch.testing.assert_close(without, uncached, rtol=1e-3, atol=1e-4)


def test_kept_features_do_not_depend_on_the_company(tmp_path: Path) -> None:
    model, work = setting(tmp_path / "together")
    examples = [work.prepare(one) for one in rows()]
    together = step(model, work, work.collate(examples)[0])
    _, other = setting(tmp_path / "apart")
    for one in examples:
        step(model, other, other.collate([one])[0])
    inputs, _ = other.collate(examples)
    assert inputs["audio_known"].all()
    torch.testing.assert_close(step(model, other, inputs), together, rtol=0.0, atol=0.0)


def test_some_known_some_not(tmp_path: Path) -> None:
    model, work = setting(tmp_path)
    examples = [work.prepare(one) for one in rows()]
    step(model, work, work.collate([examples[3]])[0])
    inputs, _ = work.collate(examples)
    assert inputs["audio_known"].tolist() == [False, True, False]
    mixed = step(model, work, inputs)
    torch.testing.assert_close(mixed, step(model, work, work.collate(examples)[0]), rtol=0, atol=0)


def test_whole_chunks_are_other_features(tmp_path: Path) -> None:
    model, work = setting(tmp_path)
    assert work.cache is not None
    other, _ = composed.ola(audio_window="chunk")
    other.load_state_dict(model.state_dict())
    other.encoders.requires_grad_(False)
    changed = EncoderCache(other.encoders, work.cache.store).fingerprints
    assert changed["audio"] != work.cache.fingerprints["audio"]
    assert changed["vision"] == work.cache.fingerprints["vision"]


def test_packed_rows_are_learned_as_single_ones(tmp_path: Path) -> None:
    model, packed = setting(tmp_path / "packed")
    _, single = setting(tmp_path / "single", pack=False)
    losses = []
    for work in (packed, single):
        inputs, weight = work.collate([work.prepare(one) for one in rows()])
        losses.append((work.loss(model, inputs, draw=0).loss / weight).detach())
    torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)


def spoken() -> list[PairRow]:
    """Tones of several lengths, each with a word."""
    words = ("sky", "week", "earth", "bees")
    sounds = [heard(0.4 + 0.9 * i, 200 + 150 * i) for i in range(4)]
    return [PairRow(f"s:{w}", text=w, audio=sound) for w, sound in zip(words, sounds, strict=True)]


def test_connector_ctc_hears_the_window_alone() -> None:
    model, processor = composed.ola()
    work = ConnectorCtc(processor, goals.ConnectorCtc(), occurring_tokens(spoken(), processor))
    aligned = work.wrap(model)
    examples = [work.prepare(row) for row in spoken()]
    assert [one.frames for one in examples] == [14, 23, 32, 40]
    assert [work.length(one) for one in examples] == [17, 26, 35, 43]
    with torch.no_grad():
        media = processor.media_tensors([one.span for one in examples])
        frames = aligned.frames(**media)
        assert [len(one) for one in frames] == [14, 23, 32, 40]
        for found, one in zip(frames, examples, strict=True):
            (alone,) = aligned.frames(**processor.media_tensors([one.span]))
            torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-4)
        each = [work.loss(aligned, work.collate([one])[0], draw=0).loss for one in examples]
        together = work.loss(aligned, work.collate(examples)[0], draw=0).loss
    torch.testing.assert_close(together, torch.stack(each).sum(), rtol=1e-4, atol=1e-3)


def test_connector_ctc_learns_from_kept_features(tmp_path: Path) -> None:
    model, processor = composed.ola(audio_connector_width=128)
    model.requires_grad_(False)
    model.encoders.audio_connector.requires_grad_(True)
    cache = EncoderCache(model.encoders, FeatureStore(tmp_path, 10**8))
    settings = goals.ConnectorCtc(scale=3.0)
    tokens = occurring_tokens(spoken(), processor)
    work = ConnectorCtc(processor, settings, tokens, cache=cache)
    aligned = work.wrap(model)
    examples = [work.prepare(row) for row in spoken()]
    optimizer = torch.optim.AdamW([p for p in aligned.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for number in range(60):
        inputs, weight = work.collate(examples)
        assert ("audio_features" in inputs) == (number > 0)
        optimizer.zero_grad()
        loss = work.loss(aligned, inputs, draw=number).loss / weight
        loss.backward()
        torch.nn.utils.clip_grad_norm_(aligned.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0], losses


@pytest.fixture
def run(tmp_path: Path) -> str:
    """The end of a ONE-PEACE's training: encoder, decoder, three modalities."""
    fields = {name: composed.ENCODER[name] for name in composed.ENCODER}
    config = tiny_onepeace.tiny_config(
        **fields,
        image_config={"position_grid": 3, "bias_grid": 3, "stem_width": 8},
        audio_config=composed.SOUND["audio_config"],
    )
    assert isinstance(config, OnePeaceConfig)
    model = tiny_onepeace.randomised(OnePeaceForPretraining(config))
    model.save_pretrained(tmp_path / "run")
    return str(tmp_path / "run")


def settings_of(**changes: Any) -> ModelSettings:
    plain = composed.config().to_dict()
    names = ("text_config", "vision_config", "speech_config", "sound_config", "audio_chunk_s")
    more = ("picture_sizes", "audio_window", "audio_frames_per_chunk", "audio_stack")
    config = {name: plain[name] for name in (*names, *more)}
    return ModelSettings(family="ola", tokenizer="bytes", config=config, **changes)


def test_parts_take_their_weights_from_a_run_of_onepeace(run: str) -> None:
    parts = {"vision": run, "sound_encoder": run}
    model: Any = begin(settings_of(parts=parts)).model
    wanted = {
        "vision": OnePeaceVisionModel.from_onepeace(run, grid=4),
        "hearing.sound": OnePeaceSoundModel.from_onepeace(run),
    }
    for name, branch in wanted.items():
        found = model.encoders.get_submodule(name).state_dict()
        assert found.keys() == branch.state_dict().keys()
        for key, tensor in branch.state_dict().items():
            assert torch.equal(found[key], tensor), key
    names = set(parts_of(model))
    assert {"vision", "vision_connector", "speech_encoder", "sound_encoder"} <= names


def test_a_branch_saved_alone_will_do(run: str, tmp_path: Path) -> None:
    branch = OnePeaceVisionModel.from_onepeace(run, grid=4)
    branch.save_pretrained(tmp_path / "branch")
    model: Any = begin(settings_of(parts={"vision": str(tmp_path / "branch")})).model
    for key, tensor in branch.state_dict().items():
        assert torch.equal(model.encoders.vision.state_dict()[key], tensor), key


def test_a_run_of_another_size_does_not_fit(tmp_path: Path) -> None:
    model = OnePeaceForPretraining(tiny_onepeace.tiny_config())
    model.save_pretrained(tmp_path)
    fault = r"model.parts.vision .* does not fit: its hidden_size is 32, but model.config has 16"
    with pytest.raises(RecipeError, match=fault):
        begin(settings_of(parts={"vision": str(tmp_path)}))


def test_a_stride_that_no_weight_shows_is_seen(run: str) -> None:
    settings = settings_of(parts={"sound_encoder": run})
    settings.config["sound_config"]["audio_config"]["conv_layers"][0] = [8, 10, 4]
    with pytest.raises(RecipeError, match="does not fit: its audio_config.conv_layers is"):
        begin(settings)


def test_the_recipes_of_both_nanos_fit() -> None:
    """ola-nano takes the branches that onepeace-nano trains."""
    onepeace: Any = model_config(read_recipe("onepeace-nano/pretrain").model)
    ola: Any = model_config(read_recipe("ola-nano/progressive").model)
    grid = ola.vision_config.image_config.position_grid
    assert not differences(ola.vision_config, OnePeaceVisionConfig.of(onepeace, grid=grid))
    assert not differences(ola.sound_config, OnePeaceSoundConfig.of(onepeace))


def test_what_ola_nano_reads_is_short() -> None:
    recipe_ = read_recipe("ola-nano/progressive")
    config: Any = model_config(recipe_.model)
    processor = OlaProcessor(tiny.byte_tokenizer(), config)
    tokens = {
        kind: processor.prompt([Message(role="user", content=(part,))]).spans[0].length
        for kind, part in {
            "picture": ImagePart(image=Image.new("RGB", (300, 200))),
            "clip": VideoPart(video=[np.zeros((90, 120, 3), np.uint8)] * 9),
            "sound": AudioPart(audio=heard(3.0), transcript="a dog"),
        }.items()
    }
    assert tokens == {"picture": 22, "clip": 30, "sound": 43}
    text = processor.tokenizer.decode(processor.prompt("hi").ids)
    assert text.startswith("<|im_start|>system\n<|im_end|>\n<|im_start|>user\nhi")


def test_the_connectors_of_ola_nano_keep_to_their_budget() -> None:
    recipe_ = read_recipe("ola-nano/progressive")
    counts = parts_of(empty_model(model_config(recipe_.model), "ola"))
    half_precision_mb = {part: 2 * count / 1e6 for part, count in counts.items()}
    assert half_precision_mb["audio_connector"] <= 18
    assert half_precision_mb["vision_connector"] <= 4
