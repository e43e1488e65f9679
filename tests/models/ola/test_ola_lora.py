"""LoRA through PEFT: trains, saves, loads and merges like on any transformers model."""

import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from fakes import FakeListener, FakeVoice, tone
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from unisono import load
from unisono.conversation import AudioPart, Message, TextPart
from unisono.errors import MissingExtraError, ModelConfigError
from unisono.models.ola import OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola.lora import lora_targets, merge_adapter

GREEDY = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": -1}


def _question(processor: OlaProcessor) -> dict[str, Tensor]:
    parts = (AudioPart(audio=tone(0.5)), TextPart(text="What?"))
    return dict(processor([Message(role="user", content=parts)]))


def _adapted(model: OlaForConditionalGeneration) -> PeftModel:
    torch.manual_seed(1)
    config = LoraConfig(
        r=4, lora_alpha=64, target_modules=lora_targets(model), task_type="CAUSAL_LM"
    )
    return get_peft_model(model, config)


def _train(adapted: PeftModel, batch: dict[str, Tensor], *, steps: int = 1) -> None:
    labels = batch["input_ids"].clone()
    labels[labels >= adapted.config.text_config.vocab_size] = -100
    trainable = [p for p in adapted.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trainable, lr=0.05)
    for _ in range(steps):
        loss = adapted(**batch, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@pytest.fixture
def trained() -> tuple[PeftModel, dict[str, Tensor], OlaProcessor]:
    """An adapter that changes the answer, its question, and the processor."""
    model, processor = tiny.ola(speech=True, sound=True, vision=True)
    batch = _question(processor)
    plain = model.generate(**batch, **GREEDY)
    adapted = _adapted(model)
    _train(adapted, batch, steps=4)
    adapted.eval()
    assert not torch.equal(adapted.generate(**batch, **GREEDY), plain), "the adapter must matter"
    return adapted, batch, processor


def test_targets_are_the_language_models_layers_and_nothing_else() -> None:
    config = tiny.ola_config(speech=True, sound=True, vision=True)
    config.text_config.num_hidden_layers = 4  # PEFT shortens lists of 20 names or more
    model = OlaForConditionalGeneration(config)
    targets = lora_targets(model)
    assert len(targets) == 7 * model.config.text_config.num_hidden_layers
    adapted = _adapted(model)
    layers = {
        name.split(".lora_")[0].removeprefix("base_model.model.")
        for name, parameter in adapted.named_parameters()
        if parameter.requires_grad
    }
    assert layers == set(targets)


def test_a_step_changes_the_adapter_only() -> None:
    model, processor = tiny.ola(speech=True)
    adapted = _adapted(model)
    before = {name: p.detach().clone() for name, p in adapted.named_parameters()}
    _train(adapted, _question(processor), steps=2)  # A moves once B is no longer zero
    for name, parameter in adapted.named_parameters():
        assert torch.equal(parameter, before[name]) == ("lora_" not in name), name


def test_a_fresh_adapter_changes_nothing() -> None:
    model, processor = tiny.ola(speech=True)
    batch = _question(processor)
    plain = model(**batch).logits
    assert torch.equal(_adapted(model).eval()(**batch).logits, plain)


def test_saved_and_loaded_it_answers_the_same(trained: Any, tmp_path: Path) -> None:
    adapted, batch, _ = trained
    adapted.save_pretrained(tmp_path)
    again, _ = tiny.ola(speech=True, sound=True, vision=True)
    loaded = PeftModel.from_pretrained(again, tmp_path).eval()
    assert torch.equal(loaded(**batch).logits, adapted(**batch).logits)
    assert torch.equal(loaded.generate(**batch, **GREEDY), adapted.generate(**batch, **GREEDY))


def test_merged_it_is_an_ordinary_model(trained: Any, tmp_path: Path) -> None:
    adapted, batch, _ = trained
    expected = adapted(**batch).logits
    adapted.save_pretrained(tmp_path / "adapter")
    model, _ = tiny.ola(speech=True, sound=True, vision=True)
    names = set(model.state_dict())
    merged = merge_adapter(model, tmp_path / "adapter")
    assert type(merged) is OlaForConditionalGeneration
    torch.testing.assert_close(merged(**batch).logits, expected, atol=1e-4, rtol=1e-4)
    assert set(merged.state_dict()) == names
    assert not any("lora" in type(module).__module__ for module in merged.modules())
    merged.save_pretrained(tmp_path / "merged")
    again = OlaForConditionalGeneration.from_pretrained(tmp_path / "merged").eval()
    assert torch.equal(again(**batch).logits, merged(**batch).logits)


def test_load_adds_an_adapter(trained: Any, tmp_path: Path) -> None:
    adapted, _, processor = trained
    model, _ = tiny.ola(speech=True, sound=True, vision=True)
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    adapted.save_pretrained(tmp_path / "adapter")
    parts = {"listener": FakeListener("a"), "voice": FakeVoice()}
    plain = load(tmp_path / "model", device="cpu", **parts)
    ours = load(tmp_path / "model", device="cpu", adapter=tmp_path / "adapter", **parts)
    options = {"audio": tone(0.5), "max_new_tokens": 8, "temperature": 0}
    assert ours.chat("What?", **options).text != plain.chat("What?", **options).text
    language_model = adapted.merge_and_unload().language_model
    for name, parameter in ours.reader.engine.model.named_parameters():  # type: ignore[attr-defined]
        torch.testing.assert_close(parameter, language_model.get_parameter(name))


def test_mistakes_are_named(trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapted, _, _ = trained
    model, _ = tiny.ola()
    with pytest.raises(ModelConfigError, match="there is no adapter in"):
        merge_adapter(model, tmp_path)
    adapted.save_pretrained(tmp_path)
    config = tiny.ola_config()
    config.text_config.hidden_size = 64
    with pytest.raises(ModelConfigError, match="does not fit"):
        merge_adapter(OlaForConditionalGeneration(config), tmp_path)
    with pytest.raises(ModelConfigError, match="does not fit"):
        load("ola-nano", adapter=tmp_path)
    with pytest.raises(ModelConfigError, match="save the merged model"):
        load(tmp_path, adapter=tmp_path, quantization="int8", device="cpu")
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"peft is not installed.*unisono\[train\]"):
        merge_adapter(model, tmp_path)


def test_encoders_share_layer_names_that_are_not_adapted() -> None:
    """Why the names are whole: "q_proj" alone would also mean the hearing encoder's."""
    model, _ = tiny.ola(speech=True)
    last_names = {name.rpartition(".")[2] for name in lora_targets(model)}
    assert any(
        name.rpartition(".")[2] in last_names
        for name, layer in model.encoders.named_modules()
        if isinstance(layer, nn.Linear)
    )
