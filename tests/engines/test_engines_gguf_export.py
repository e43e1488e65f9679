"""A language model written as GGUF is the same model in llama.cpp; quantised, nearly so."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from fakes import FakeListener, FakeVoice, tone
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    Qwen2Config,
)

from unisono import load
from unisono.engines import GenerationSettings, TorchEngine, gguf_export, llama_api
from unisono.engines.gguf_export import Checkpoint, exported, gguf_path, write_gguf
from unisono.engines.gguf_file import TokenEmbeddings, describe
from unisono.engines.llama_engine import LlamaEngine
from unisono.errors import CacheError, ModelConfigError, UnknownModelError
from unisono.hub import QuietProgress
from unisono.models.ola import OlaForConditionalGeneration
from unisono.models.ola.encoders_only import load_encoders

TEXT = (Path(__file__).parents[2] / "LICENSE").read_bytes()
SHAPE: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 128,
    "intermediate_size": 224,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}


def _random(config: PreTrainedConfig) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.12)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def _save(model: Any, folder: Path) -> None:
    """The language model's tensors, as they lie in an Ola folder."""
    tied = model.config.tie_word_embeddings
    save_file(
        {
            f"language_model.{name}": tensor.contiguous()
            for name, tensor in model.state_dict().items()
            if not (tied and name == "lm_head.weight")
        },
        folder / "model.safetensors",
    )


def _engine(folder: Path, config: PreTrainedConfig, precision: Any, **kwargs: Any) -> LlamaEngine:
    target = folder / precision
    target.mkdir(exist_ok=True)
    path = target / "model.gguf"
    write_gguf(path, Checkpoint(folder), config, precision, QuietProgress())
    describe(path, target)
    return LlamaEngine(path, TokenEmbeddings(path, target), stop_ids=frozenset(), **kwargs)


def _stepped(engine: LlamaEngine, ids: list[int]) -> Tensor:
    """[T, V]: the logits after every token."""
    cache = engine.new_cache()
    return torch.stack([engine.step(token, cache) for token in ids])


@pytest.mark.parametrize(
    "config",
    [
        Qwen2Config(**SHAPE, rope_parameters={"rope_type": "default", "rope_theta": 1e6}),
        Qwen2Config(**SHAPE | {"num_key_value_heads": 4}, tie_word_embeddings=True),
        LlamaConfig(**SHAPE),
        LlamaConfig(**SHAPE, head_dim=64, attention_bias=True, mlp_bias=True),
        LlamaConfig(**SHAPE | {"num_key_value_heads": 1}, tie_word_embeddings=True),
        LlamaConfig(**SHAPE, rope_parameters=LLAMA3, rms_norm_eps=1e-2),
    ],
    ids=["qwen2", "qwen2 tied", "llama", "llama biases", "llama tied", "llama3"],
)
def test_unquantised_it_is_the_same_model(
    config: PreTrainedConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names, permutation, biases, rotation: any of them wrong moves logits by their own size."""
    monkeypatch.setattr(gguf_export, "_VALUES_AT_ONCE", 128 * 100)  # a tensor in several blocks
    model = _random(config)
    _save(model, tmp_path)
    engine = _engine(tmp_path, config, "float32")
    ids = torch.randint(0, config.vocab_size, (1, 60), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = model(ids).logits[0]
        table = model.get_input_embeddings()(ids[0])
    found = _stepped(engine, ids[0].tolist())
    assert expected.std() > 1
    # What is left is the KV cache, which llama.cpp keeps in float16.
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)
    assert torch.equal(engine.embed(ids[0].tolist()), table)
    read = engine.read(engine.embed(ids[0].tolist()), engine.new_cache())
    torch.testing.assert_close(read, expected[-1], atol=0.02, rtol=0)
    assert engine.context_length == config.max_position_embeddings
    assert engine.vocabulary_size == config.vocab_size


@dataclass(frozen=True)
class Trained:
    """A language model that knows a text, and what it makes of it."""

    folder: Path
    config: PreTrainedConfig
    ids: list[int]
    logits: Tensor


@pytest.fixture(scope="module", params=[Qwen2Config, LlamaConfig], ids=["qwen2", "llama"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Trained on bytes of a licence: random weights would amplify every rounding."""
    config = request.param(**SHAPE)
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=4e-3)
    text = torch.tensor(list(TEXT[:4096]))
    for _ in range(60):
        starts = torch.randint(0, len(text) - 128, (8,))
        batch = torch.stack([text[start : start + 128] for start in starts])
        loss = model(batch, labels=batch).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    folder = tmp_path_factory.mktemp("trained")
    _save(model, folder)
    ids = text[1000:1400].tolist()
    with torch.inference_mode():
        logits = model.eval()(torch.tensor([ids])).logits[0]
    return Trained(folder, config, ids, logits)


def _perplexity(logits: Tensor, ids: list[int]) -> float:
    return math.exp(torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])))


@pytest.mark.parametrize(
    ("precision", "most_perplexity", "least_agreement"),
    [("float32", 1.001, 0.99), ("int8", 1.01, 0.96), ("int4", 1.15, 0.85)],
)
def test_quantised_it_still_knows_its_text(
    trained: Trained,
    precision: str,
    most_perplexity: float,
    least_agreement: float,
    record_property: Callable[[str, object], None],
) -> None:
    """Greedy choices and perplexity beside those of transformers, in float32."""
    logits = _stepped(_engine(trained.folder, trained.config, precision), trained.ids)
    plain = _perplexity(trained.logits, trained.ids)
    assert plain < 16, "the model must have learned, or the comparison says nothing"
    ratio = _perplexity(logits, trained.ids) / plain
    agreement = (logits.argmax(-1) == trained.logits.argmax(-1)).float().mean().item()
    record_property("perplexity", {"float32": plain, precision: ratio * plain})
    record_property("greedy_agreement", agreement)
    print(f"{precision}: perplexity x {ratio:.4f} of {plain:.2f}, agreement {agreement:.3f}")
    assert 1 / most_perplexity < ratio < most_perplexity
    assert agreement > least_agreement
