"""A shipped model with encoders: the parts around the language model make the same model."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recordings
import shipped_nano
import tiny
import torch
from fakes import FakeListener, tone
from peft import LoraConfig, get_peft_model
from PIL import Image

from unisono import Assistant, load, load_assistant, load_embedder
from unisono.engines import TorchEngine
from unisono.engines.llama_engine import LlamaEngine
from unisono.errors import (
    IncompleteFileError,
    ModelConfigError,
    UnknownModelError,
    UnsupportedModalityError,
)
from unisono.evaluation.fingerprint import model_fingerprint
from unisono.models.ola import OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola.lora import lora_targets
from unisono.runtime.late_encoders import LateEncoders

ENGINES = ("llama.cpp", "torch")
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
SOUND = tone(0.8)
FILM = recordings.make_video((30, 90, 150), audio="aac")
ATOL = 2e-2


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _model(**kwargs: Any) -> tuple[OlaForConditionalGeneration, OlaProcessor]:
    """Its weights are what half precision can hold: shipping loses nothing."""
    model, processor = tiny.ola(**{"speech": True, "sound": True, "vision": True, **kwargs})
    state = {key: tensor.half().float() for key, tensor in model.state_dict().items()}
    model.load_state_dict(state)
    return model, processor


@pytest.fixture
def model() -> tuple[OlaForConditionalGeneration, OlaProcessor]:
    return _model(hearing="connector")


def _adapt(model: OlaForConditionalGeneration, folder: Path) -> OlaForConditionalGeneration:
    """Save an adapter that matters; the model with it merged."""
    targets = lora_targets(model)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules=targets))
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.2)
    adapted.save_pretrained(folder)
    merged: OlaForConditionalGeneration = adapted.merge_and_unload()
    return merged


def _question(text: str = "What?") -> list[dict[str, Any]]:
    content = [
        {"type": "image", "image": PICTURE},
        {"type": "audio", "audio": SOUND},
        {"type": "video", "video": FILM},
        {"type": "text", "text": text},
    ]
    return [{"role": "user", "content": content}]


@torch.inference_mode()
def _reference(model: OlaForConditionalGeneration, processor: OlaProcessor) -> torch.Tensor:
    """[V]: the whole model's logits after the question."""
    found: torch.Tensor = model(**processor(_question())).logits[0, -1]
    return found


def _logits(assistant: Assistant) -> torch.Tensor:
    """[V]: the same by the parts."""
    reader = assistant.reader
    embeddings = reader.embed(reader.processor.prompt(_question()))
    return reader.engine.read(embeddings, reader.engine.new_cache())


@pytest.mark.parametrize("engine", ENGINES)
def test_parts_are_the_whole_model(
    engine: Any,
    model: tuple[OlaForConditionalGeneration, OlaProcessor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipped_nano.install_ola(monkeypatch, tmp_path, model[0])
    assistant = load(shipped_nano.NAME, engine=engine)
    kind = LlamaEngine if engine == "llama.cpp" else TorchEngine
    assert isinstance(assistant.reader.engine, kind)
    torch.testing.assert_close(_logits(assistant), _reference(*model), atol=ATOL, rtol=0)
    assert (
        assistant.chat("?", image=PICTURE, video=FILM, max_new_tokens=3).usage.completion_tokens
        == 3
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_adapters_shipped_and_given(
    engine: Any,
    model: tuple[OlaForConditionalGeneration, OlaProcessor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = _reference(*model)
    folder = shipped_nano.install_ola(monkeypatch, tmp_path, model[0])
    adapted = _adapt(model[0], folder / "adapter")
    wanted = _reference(adapted, model[1])
    assert (wanted - plain).abs().max() > 20 * ATOL
    assistant = load(shipped_nano.NAME, engine=engine)
    torch.testing.assert_close(_logits(assistant), wanted, atol=ATOL, rtol=0)
    both = _reference(_adapt(adapted, tmp_path / "user"), model[1])
    assistant = load(shipped_nano.NAME, engine=engine, adapter=tmp_path / "user")
    torch.testing.assert_close(_logits(assistant), both, atol=ATOL, rtol=0)


def test_text_needs_no_encoders(
    model: tuple[OlaForConditionalGeneration, OlaProcessor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipped_nano.install_ola(monkeypatch, tmp_path, model[0])
    assistant = load(shipped_nano.NAME)
    encoders = assistant.reader.encoders
    assert isinstance(encoders, LateEncoders)
    assistant.chat("Hello", max_new_tokens=2)
    assert not encoders.is_loaded
    assert not (tmp_path / "cache" / "parts" / "tiny-speech_encoder").exists()
    assistant.chat("?", image=PICTURE, max_new_tokens=2)
    assert encoders.is_loaded
    assert encoders.loaded is encoders.loaded


@pytest.mark.parametrize("hearing", ["connector", "listener", "both"])
def test_ways_of_hearing(
    hearing: Any,
    model: tuple[OlaForConditionalGeneration, OlaProcessor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipped_nano.install_ola(monkeypatch, tmp_path, model[0])
    listener = FakeListener("what is it")
    assistant = load_assistant(shipped_nano.NAME, hearing=hearing, listener=listener)
    assert assistant.needs_listener == (hearing != "connector")
    reply = assistant.chat(audio=SOUND, max_new_tokens=2)
    assert reply.heard == (() if hearing == "connector" else ("what is it",))
    encoders = assistant.reader.encoders
    assert isinstance(encoders, LateEncoders)
    assert encoders.is_loaded == (hearing != "listener")


def test_hearing_that_the_model_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped_nano.install_ola(monkeypatch, tmp_path, _model(speech=False, sound=False)[0])
    with pytest.raises(ModelConfigError, match="one of connector, listener, both, but is 'ears'"):
        load_assistant(shipped_nano.NAME, hearing="ears")  # type: ignore[arg-type]
    with pytest.raises(ModelConfigError, match="'listener' for a model without a hearing encoder"):
        load_assistant(shipped_nano.NAME, hearing="both")
    assert load_assistant(shipped_nano.NAME, hearing="listener").needs_listener


def test_a_model_of_text_alone_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = _model(speech=False, sound=False, vision=False, hearing="listener")
    folder = shipped_nano.install_ola(monkeypatch, tmp_path, model)
    assert not (folder / "model.safetensors").exists()
    assistant = load(shipped_nano.NAME)
    assert assistant.reader.encoders is None
    assert assistant.chat("Hello", max_new_tokens=2).usage.completion_tokens == 2
    with pytest.raises(UnsupportedModalityError, match="no vision encoder"):
        assistant.chat("?", image=PICTURE)


def test_weights_that_are_missing_cut_or_others(
    model: tuple[OlaForConditionalGeneration, OlaProcessor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = shipped_nano.install_ola(monkeypatch, tmp_path, model[0])
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IncompleteFileError, match="weights of tiny-ola cannot be read"):
        load(shipped_nano.NAME).chat("?", image=PICTURE)
    path.unlink()
    with pytest.raises(IncompleteFileError, match="lacks the weights of tiny-ola"):
        load(shipped_nano.NAME)
    path.write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    config["audio_connector_width"] += 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelConfigError, match="of another shape: encoders.audio_connector"):
        load(shipped_nano.NAME).chat("?", image=PICTURE)


def test_quantization_is_for_folders(
    model: tuple[OlaForConditionalGeneration, OlaProcessor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipped_nano.install_ola(monkeypatch, tmp_path, model[0])
    with pytest.raises(ModelConfigError, match="quantised file already"):
        load(shipped_nano.NAME, quantization="int8")
    with pytest.raises(ModelConfigError, match="no adapter_config"):
        load(shipped_nano.NAME, adapter=tmp_path)


def test_a_shipped_embedder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shipped_nano.install(monkeypatch, tmp_path, {}, kind="onepeace")
    model, processor = tiny.onepeace()
    model.half().save_pretrained(folder)
    processor.save_pretrained(folder)
    texts = ["a dog", "rain on a roof"]
    found = load(shipped_nano.NAME).embed(text=texts)
    again = load_embedder(folder).embed(text=texts)
    assert torch.equal(torch.as_tensor(found), torch.as_tensor(again))
    with pytest.raises(ModelConfigError, match="makes vectors, and answers nothing"):
        load_assistant(shipped_nano.NAME)
    (folder / "model.safetensors").unlink()
    with pytest.raises(UnknownModelError, match="no embedding model can be read from 'tiny-ola'"):
        load_embedder(shipped_nano.NAME)


def test_the_digest_is_of_the_bytes(
    model: tuple[OlaForConditionalGeneration, OlaProcessor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = shipped_nano.install_ola(monkeypatch, tmp_path, model[0])
    before = model_fingerprint(shipped_nano.NAME)
    (folder / "model.safetensors").touch()
    assert model_fingerprint(shipped_nano.NAME) == before
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    assert model_fingerprint(shipped_nano.NAME) != before
