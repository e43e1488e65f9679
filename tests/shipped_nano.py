"""A catalog of tests' own, whose tiny model is shipped as ola-nano is: its parts lie beside."""

import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import tiny
from ctranslate2.converters.transformers import WhisperLoader
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig, WhisperForConditionalGeneration
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from unisono.engines.gguf_export import write_gguf
from unisono.engines.gguf_file import describe
from unisono.engines.gguf_tensors import Checkpoint
from unisono.hub import Catalog, QuietProgress
from unisono.models.ola import OlaForConditionalGeneration

NAME = "tiny-ola"
SPEECH = "encoders.hearing.speech."
_LOOK_UP = (
    *("hub.resolve", "models.whisper_weights"),
    *("runtime.load", "runtime.load_catalog", "runtime.load_embedder"),
    *("evaluation.fingerprint", "training.model_config", "training.start"),
)


def install(
    monkeypatch: pytest.MonkeyPatch, place: Path, parts: dict[str, Path], kind: str = "ola"
) -> Path:
    """Make `NAME` the only model of the catalog.

    Args:
        monkeypatch: undoes it.
        place: gets the cache and the weights.
        parts: role -> its one file.
        kind: of the model.

    Returns:
        The folder of what is shipped with it.
    """
    monkeypatch.setenv("UNISONO_CACHE", str(place / "cache"))
    catalog = Catalog.model_validate(
        {
            "models": {NAME: _entry(kind, parts)},
            "parts": {f"tiny-{role}": _part(f"tiny-{role}", path) for role, path in parts.items()},
        }
    )
    for name in _LOOK_UP:
        # `unisono.runtime.load` the name is the function; import_module finds the module.
        monkeypatch.setattr(import_module(f"unisono.{name}"), "load_catalog", lambda: catalog)
    module = import_module("unisono.runtime.load_catalog")
    monkeypatch.setattr(module, "files", lambda _: place / "package")
    folder = place / "package" / "weights" / NAME
    folder.mkdir(parents=True)
    return folder


def _entry(kind: str, parts: dict[str, Path]) -> dict[str, Any]:
    told = {"name": NAME, "kind": kind, "summary": "s", "licence": "MIT", "card": "c"}
    return told | {"parts": {role: f"tiny-{role}" for role in parts}}


def _part(name: str, path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    file = {
        "name": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
        "sources": [{"kind": "local", "path": str(path)}],
    }
    told = {"name": name, "summary": "s", "licence": "MIT", "attribution": "a", "home": "h"}
    return told | {"files": [file]}


def language_model_part(folder: Path, config: PreTrainedConfig, place: Path) -> Path:
    """The language model of an Ola folder as a GGUF file, and what the cache derives from it."""
    path = place / "tiny.gguf"
    write_gguf(path, Checkpoint(folder), config, "float32", QuietProgress())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    # Our exporter writes no vocabulary; the tokenizer would come out of the file.
    derived = place / "cache" / "derived" / digest
    derived.mkdir(parents=True)
    tiny.byte_tokenizer().save_pretrained(derived)
    describe(path, derived)
    return path


def speech_part(encoder: WhisperEncoder, place: Path) -> Path:
    """An encoder in a Whisper of CTranslate2."""
    sizes = {"vocab_size": 64, "decoder_layers": 1, "decoder_attention_heads": 2}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    fields = {**encoder.config.to_dict(), **sizes, **tokens, "decoder_ffn_dim": 32}
    config = type(encoder.config)(**fields)
    whole = WhisperForConditionalGeneration(config)
    whole.model.encoder.load_state_dict(encoder.state_dict())
    spec = WhisperLoader().get_model_spec(whole)
    spec.register_vocabulary([f"<{index}>" for index in range(64)])
    spec.validate()
    spec.optimize(quantization=None)
    spec.save(str(place))
    return place / "model.bin"


def install_ola(
    monkeypatch: pytest.MonkeyPatch, place: Path, model: OlaForConditionalGeneration
) -> Path:
    """Ship a model's encoders and connectors; its language model and Whisper become parts.

    Returns:
        The folder of what is shipped.
    """
    whole, parts = place / "whole", place / "parts"
    parts.mkdir()
    model.save_pretrained(whole)
    files = {"language_model": language_model_part(whole, model.config.text_config, place)}
    speech = model.encoders.hearing and model.encoders.hearing.speech
    if speech is not None:
        files["speech_encoder"] = speech_part(speech, parts)
    for role in ("listener", "voice"):
        files[role] = parts / f"{role}.onnx"
        files[role].write_bytes(role.encode())
    folder = install(monkeypatch, place, files)
    model.config.save_pretrained(folder)
    state = load_file(whole / "model.safetensors")
    ours = {
        key: tensor.half()
        for key, tensor in state.items()
        if key.startswith("encoders.") and not key.startswith(SPEECH)
    }
    if ours:
        save_file(ours, folder / "model.safetensors")
    return folder
