"""Training goes on from what the package ships: encoders, connectors and the adapter."""

from pathlib import Path
from typing import Any

import pytest
import shipped_nano
import tiny
import torch
from one_thread import one_thread  # noqa: F401 -- a fixture
from peft import LoraConfig, get_peft_model

from unisono.models.ola import OlaForConditionalGeneration
from unisono.models.ola.lora import lora_targets
from unisono.training.recipe import LoraSettings, ModelSettings
from unisono.training.start import begin

SETTINGS = ModelSettings(family="ola", source=shipped_nano.NAME, tokenizer="bytes")


@pytest.fixture
def model() -> OlaForConditionalGeneration:
    return tiny.ola(speech=True, sound=True, vision=True)[0]


def adapted(model: OlaForConditionalGeneration, folder: Path) -> OlaForConditionalGeneration:
    """Save an adapter; the model with it merged."""
    targets = lora_targets(model)
    with_lora: Any = get_peft_model(model, LoraConfig(r=2, target_modules=targets))
    with torch.no_grad():
        for name, parameter in with_lora.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.2)
    with_lora.save_pretrained(folder)
    merged: OlaForConditionalGeneration = with_lora.merge_and_unload()
    return merged


def differing(found: torch.nn.Module, wanted: torch.nn.Module) -> list[str]:
    theirs = wanted.state_dict()
    own = found.state_dict()
    assert own.keys() == theirs.keys()
    # Weights are shipped in half precision, and llama.cpp's file keeps float32.
    return [n for n, t in own.items() if not torch.allclose(t, theirs[n], atol=2e-3, rtol=1e-3)]


def test_it_goes_on_from_what_is_shipped(
    model: OlaForConditionalGeneration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shipped_nano.install_ola(monkeypatch, tmp_path, model)
    wanted = adapted(model, folder / "adapter")
    assert differing(begin(SETTINGS).model, wanted) == []


def test_a_new_adapter_stands_on_the_shipped_one(
    model: OlaForConditionalGeneration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shipped_nano.install_ola(monkeypatch, tmp_path, model)
    wanted = adapted(model, folder / "adapter")
    lora = SETTINGS.model_copy(update={"lora": LoraSettings(rank=2, alpha=4)})
    begun: Any = begin(lora).model
    assert differing(begun.merge_and_unload(), wanted) == []  # a new adapter adds nothing yet


def test_new_parts_begin_anew_without_the_shipped_adapter(
    model: OlaForConditionalGeneration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {n: t.clone() for n, t in model.language_model.state_dict().items()}
    folder = shipped_nano.install_ola(monkeypatch, tmp_path, model)
    adapted(model, folder / "adapter")
    parts = ("vision", "vision_connector", "sound_encoder", "audio_connector")
    anew: Any = begin(SETTINGS.model_copy(update={"new_parts": parts})).model
    for name, tensor in anew.language_model.state_dict().items():
        torch.testing.assert_close(tensor, plain[name])
    speech = anew.encoders.hearing.speech.state_dict()
    assert differing(anew.encoders.hearing.speech, model.encoders.hearing.speech) == []
    assert speech
    assert differing(anew.encoders.vision, model.encoders.vision) != []
