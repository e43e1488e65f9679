"""A LoRA adapter in llama.cpp is the adapter that PEFT trained; without it, the model is itself."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedConfig, Qwen2Config

from unisono.engines.adapter_file import merge_adapter, read_adapter
from unisono.engines.gguf_export import write_gguf
from unisono.engines.gguf_file import TokenEmbeddings, describe
from unisono.engines.gguf_tensors import Checkpoint
from unisono.engines.llama_adapter import adapter_gguf
from unisono.engines.llama_engine import LlamaEngine
from unisono.errors import ModelConfigError
from unisono.hub import QuietProgress

SHAPE: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
LLAMA = LlamaConfig(**SHAPE)
IDS = [3, 141, 59, 26, 53, 58, 97, 93, 238, 46]
ATOL = 2e-2
"""llama.cpp keeps keys and values in half precision; the adapter moves logits by far more."""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cache of this test's own, and one thread."""
    monkeypatch.setenv("UNISONO_CACHE", str(tmp_path / "cache"))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _language_model(config: PreTrainedConfig, folder: Path) -> Any:
    """A random one, and its GGUF file in `folder`."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.1)
    state = {f"language_model.{name}": t.contiguous() for name, t in model.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    path = folder / "model.gguf"
    write_gguf(path, Checkpoint(folder), config, "float32", QuietProgress())
    describe(path, folder)
    return model


def _engine(folder: Path, *adapters: Path) -> LlamaEngine:
    path = folder / "model.gguf"
    table = TokenEmbeddings(path, folder)
    return LlamaEngine(path, table, stop_ids=frozenset(), adapters=adapters)


def _adapted(model: Any, folder: Path, **changes: Any) -> Any:
    """A PEFT model whose adapter does something, saved in `folder`."""
    fields: dict[str, Any] = {"r": 4, "lora_alpha": 16, "target_modules": "all-linear"}
    adapted = get_peft_model(model, LoraConfig(**fields | changes)).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.1)
    adapted.save_pretrained(folder)
    return adapted


@torch.inference_mode()
def _logits(model: Any) -> Tensor:
    """[T, V]."""
    found: Tensor = model(torch.tensor([IDS])).logits[0]
    return found


def _stepped(engine: LlamaEngine) -> Tensor:
    """[T, V]: the logits after every token."""
    cache = engine.new_cache()
    return torch.stack([engine.step(token, cache) for token in IDS])


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        (LLAMA, {}),
        (LLAMA, {"target_modules": ["q_proj", "k_proj"]}),
        (LLAMA, {"use_rslora": True, "target_modules": ["v_proj", "o_proj", "up_proj"]}),
        (LLAMA, {"rank_pattern": {"q_proj": 8}, "alpha_pattern": {"layers.1.mlp.up_proj": 40}}),
        (Qwen2Config(**SHAPE), {}),
    ],
    ids=["all", "rotated", "rslora", "patterns", "qwen2"],
)
def test_logits_are_peft_s_and_come_and_go(
    config: PreTrainedConfig, changes: dict[str, Any], tmp_path: Path
) -> None:
    model = _language_model(config, tmp_path)
    plain = _logits(model)
    wanted = _logits(_adapted(model, tmp_path / "adapter", **changes))
    assert (wanted - plain).abs().max() > 20 * ATOL
    engine = _engine(tmp_path, adapter_gguf(tmp_path / "adapter", config))
    torch.testing.assert_close(_stepped(engine), wanted, atol=ATOL, rtol=0)
    read = engine.read(engine.embed(IDS), engine.new_cache())
    torch.testing.assert_close(read, wanted[-1], atol=ATOL, rtol=0)
    engine.use_adapters(())
    torch.testing.assert_close(_stepped(engine), plain, atol=ATOL, rtol=0)
    engine.use_adapters([adapter_gguf(tmp_path / "adapter", config)])
    torch.testing.assert_close(_stepped(engine), wanted, atol=ATOL, rtol=0)


def test_two_adapters_add_up(tmp_path: Path) -> None:
    """As when a user trains one on a model that was shipped with another."""
    first = _adapted(_language_model(LLAMA, tmp_path), tmp_path / "first")
    merged = first.merge_and_unload()
    wanted = _logits(_adapted(merged, tmp_path / "second", r=2, target_modules=["q_proj"]))
    files = [adapter_gguf(tmp_path / name, LLAMA) for name in ("first", "second")]
    torch.testing.assert_close(_stepped(_engine(tmp_path, *files)), wanted, atol=ATOL, rtol=0)
    alone = _stepped(_engine(tmp_path, files[0]))
    assert (alone - wanted).abs().max() > 20 * ATOL


def test_merged_in_torch_it_is_peft_s(tmp_path: Path) -> None:
    model = _language_model(LLAMA, tmp_path)
    wanted = _logits(_adapted(copy.deepcopy(model), tmp_path / "adapter", use_rslora=True))
    merge_adapter(model, tmp_path / "adapter")
    torch.testing.assert_close(_logits(model), wanted, atol=1e-4, rtol=0)
    small = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE | {"intermediate_size": 64}))
    with pytest.raises(ModelConfigError, match=r"does not fit the model: model\.layers"):
        merge_adapter(small, tmp_path / "adapter")


def test_a_conversation_under_way_goes_on_as_it_began(tmp_path: Path) -> None:
    model = _language_model(LLAMA, tmp_path)
    plain = _logits(model)
    _adapted(model, tmp_path / "adapter")
    engine = _engine(tmp_path)
    cache = engine.new_cache()
    before = [engine.step(token, cache) for token in IDS[:5]]
    engine.use_adapters([adapter_gguf(tmp_path / "adapter", LLAMA)])
    logits = torch.stack([*before, *(engine.step(token, cache) for token in IDS[5:])])
    torch.testing.assert_close(logits, plain, atol=ATOL, rtol=0)


def test_the_file_is_written_once_and_anew_for_other_weights(tmp_path: Path) -> None:
    model = _language_model(LLAMA, tmp_path)
    adapted = _adapted(model, tmp_path / "adapter")
    first = adapter_gguf(tmp_path / "adapter", LLAMA)
    written = first.stat().st_mtime_ns
    assert adapter_gguf(tmp_path / "adapter", LLAMA) == first
    assert first.stat().st_mtime_ns == written
    with torch.no_grad():
        next(p for n, p in adapted.named_parameters() if ".lora_B" in n).add_(1.0)
    adapted.save_pretrained(tmp_path / "adapter")
    assert adapter_gguf(tmp_path / "adapter", LLAMA) != first


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"bias": "all"}, "biases"),
        ({"peft_type": "LOHA"}, "must be LORA, but is LOHA"),
        ({"init_lora_weights": "pissa"}, "pissa"),
    ],
)
def test_what_is_not_plain_lora_is_refused(
    changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    _adapted(_language_model(LLAMA, tmp_path), tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ModelConfigError, match=told):
        adapter_gguf(tmp_path / "adapter", LLAMA)


def test_an_adapter_for_another_model_is_refused(tmp_path: Path) -> None:
    _adapted(_language_model(LLAMA, tmp_path), tmp_path / "adapter")
    small = LlamaConfig(**SHAPE | {"num_hidden_layers": 1})
    with pytest.raises(ModelConfigError, match=r"layers\.1"):
        adapter_gguf(tmp_path / "adapter", small)
    narrow = LlamaConfig(**SHAPE | {"intermediate_size": 64})
    other = tmp_path / "other"
    other.mkdir()
    _language_model(narrow, other)
    with pytest.raises(ModelConfigError, match="does not fit the model"):
        _engine(other, adapter_gguf(tmp_path / "adapter", LLAMA))


def test_no_adapter_and_a_broken_one(tmp_path: Path) -> None:
    with pytest.raises(ModelConfigError, match=r"no adapter in .*: no adapter_config\.json"):
        adapter_gguf(tmp_path, LLAMA)
    _adapted(_language_model(LLAMA, tmp_path), tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = load_file(path)
    del weights[next(iter(weights))]
    save_file(weights, path)
    with pytest.raises(ModelConfigError, match=r"must have an A \[R, I\] and a B \[O, R\]"):
        read_adapter(tmp_path / "adapter")
    path.write_bytes(b"nothing")
    with pytest.raises(ModelConfigError, match="no adapter can be read"):
        read_adapter(tmp_path / "adapter")
