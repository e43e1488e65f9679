"""A language model written as GGUF is the same model in llama.cpp; quantised, nearly so."""

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from fakes import FakeListener, FakeVoice, tone
from safetensors.torch import load_file, save_file
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
from unisono.engines import TorchEngine, gguf_export, gguf_tensors, llama_api
from unisono.engines.gguf_export import exported, gguf_path, write_gguf
from unisono.engines.gguf_file import TokenEmbeddings, describe
from unisono.engines.gguf_tensors import Checkpoint
from unisono.engines.llama_engine import LlamaEngine
from unisono.errors import CacheError, ModelConfigError, UnknownModelError
from unisono.hub import QuietProgress
from unisono.models.ola import OlaForConditionalGeneration
from unisono.models.ola.encoders_only import load_encoders

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


ATOL = 0.05


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads gain nothing here, and cost seconds where another program has the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _random(config: PreTrainedConfig, std: float = 0.1) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=std)
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
    monkeypatch.setattr(gguf_tensors, "_VALUES_AT_ONCE", 128 * 100)  # a tensor in several blocks
    model = _random(config)
    _save(model, tmp_path)
    engine = _engine(tmp_path, config, "float32")
    ids = torch.randint(0, config.vocab_size, (1, 60), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = model(ids).logits[0]
        table = model.get_input_embeddings()(ids[0])
    found = _stepped(engine, ids[0].tolist())
    assert expected.std() > 20 * ATOL
    # What is left is the KV cache, which llama.cpp keeps in float16.
    torch.testing.assert_close(found, expected, atol=ATOL, rtol=0)
    assert torch.equal(engine.embed(ids[0].tolist()), table)
    read = engine.read(engine.embed(ids[0].tolist()), engine.new_cache())
    torch.testing.assert_close(read, expected[-1], atol=ATOL, rtol=0)
    assert engine.context_length == config.max_position_embeddings
    assert engine.vocabulary_size == config.vocab_size


def test_llama_without_the_reordering_is_another_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards the test above: its tolerance is far below what a wrong order does."""
    config = LlamaConfig(**SHAPE)
    model = _random(config)
    _save(model, tmp_path)
    monkeypatch.setattr(gguf_tensors, "interleave", lambda rows, _width: rows)
    ids = list(range(40))
    with torch.inference_mode():
        expected = model(torch.tensor([ids])).logits[0]
    found = _stepped(_engine(tmp_path, config, "float32"), ids)
    assert (found - expected).abs().max() > 20 * ATOL


@dataclass(frozen=True)
class Teller:
    """A language model and a text that it wrote itself, so that it knows it well."""

    folder: Path
    config: PreTrainedConfig
    ids: list[int]
    logits: Tensor


@pytest.fixture(scope="module", params=[Qwen2Config, LlamaConfig], ids=["qwen2", "llama"])
def teller(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Teller:
    config = request.param(**SHAPE)
    model = _random(config, std=0.06)
    with torch.no_grad():
        model.lm_head.weight.mul_(4)  # clear choices
        model.model.embed_tokens.weight.mul_(8)  # as in trained models, layers refine
    folder = tmp_path_factory.mktemp("teller")
    _save(model, folder)
    options = {"max_new_tokens": 300, "do_sample": True, "top_k": 0, "eos_token_id": -1}
    torch.manual_seed(0)
    ids = model.generate(torch.tensor([[1, 2, 3]]), pad_token_id=0, **options)
    with torch.inference_mode():
        return Teller(folder, config, ids[0].tolist(), model(ids).logits[0])


def _perplexity(logits: Tensor, ids: list[int]) -> float:
    return math.exp(torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(ids[1:])))


@pytest.mark.parametrize(
    ("precision", "most_perplexity", "least_agreement"),
    [("float32", 1.002, 0.99), ("int8", 1.01, 0.95), ("int4", 1.3, 0.7)],
)
def test_quantised_it_still_knows_its_text(
    teller: Teller,
    precision: str,
    most_perplexity: float,
    least_agreement: float,
    record_property: Callable[[str, object], None],
) -> None:
    """Perplexity and greedy choices beside those of transformers in float32."""
    logits = _stepped(_engine(teller.folder, teller.config, precision), teller.ids)
    plain = _perplexity(teller.logits, teller.ids)
    assert plain < SHAPE["vocab_size"] / 4, "it must know its text, or this says nothing"
    ratio = _perplexity(logits, teller.ids) / plain
    agreement = (logits.argmax(-1) == teller.logits.argmax(-1)).float().mean().item()
    record_property("perplexity", {"float32": plain, precision: ratio * plain})
    record_property("greedy_agreement", agreement)
    print(f"{precision}: perplexity x {ratio:.4f} of {plain:.2f}, agreement {agreement:.3f}")
    assert 1 / most_perplexity < ratio < most_perplexity
    assert agreement > least_agreement
    shuffled = torch.tensor(teller.ids)[torch.randperm(len(teller.ids))].tolist()
    assert _perplexity(logits, shuffled) > 3 * plain


@pytest.mark.parametrize(("precision", "most"), [("int8", 0.55), ("int4", 0.35)])
@pytest.mark.parametrize("kind", [Qwen2Config, LlamaConfig])
def test_files_are_small(kind: Any, precision: Any, most: float, tmp_path: Path) -> None:
    """Beside bfloat16, two bytes a weight."""
    config = kind(**SHAPE | {"hidden_size": 256, "intermediate_size": 768})
    model = _random(config).to(torch.bfloat16)
    _save(model, tmp_path)
    plain = 2 * sum(parameter.numel() for parameter in model.parameters())
    engine = _engine(tmp_path, config, precision)
    size = (tmp_path / precision / "model.gguf").stat().st_size
    print(f"{precision}: {size / plain:.3f} of bfloat16")
    assert size < most * plain
    assert engine.name == f"llama.cpp {'Q8_0' if precision == 'int8' else 'Q4_0'} on cpu"


_MEASURE = """
import sys, torch
from pathlib import Path
from unisono.engines.gguf_file import TokenEmbeddings
from unisono.engines.gguf_tensors import Checkpoint
from unisono.engines.llama_engine import LlamaEngine
from unisono.engines import TorchEngine
from transformers import AutoModelForCausalLM

def resident_mb():
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

torch.set_num_threads(1)
folder, precision = Path(sys.argv[1]), sys.argv[2]
before = resident_mb()
if precision == "bfloat16":
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    engine = TorchEngine(model)
else:
    path = folder / precision / "model.gguf"
    engine = LlamaEngine(
        path, TokenEmbeddings(path, path.parent), context_length=256, stop_ids=frozenset()
    )
cache = engine.new_cache()
engine.read(engine.embed([1, 2, 3]), cache)
engine.step(4, cache)
print(resident_mb() - before)
"""


@pytest.mark.slow
def test_resident_memory_is_small(tmp_path: Path) -> None:
    """1.1B weights, each engine in a process of its own; what it adds once all are imported.

    Of a small model, llama.cpp's fixed buffers (some 20 MB) would be a good part.
    """
    config = Qwen2Config(
        **SHAPE
        | {
            "vocab_size": 32_768,
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
        },
        tie_word_embeddings=True,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.to_empty(device="cpu")
    for parameter in model.parameters():
        parameter.data.normal_(std=0.02)
    model.save_pretrained(tmp_path)
    source = tmp_path / "ola"
    source.mkdir()
    _save(model, source)
    del model
    added = {}
    for precision in ("bfloat16", "int8", "int4"):
        if precision != "bfloat16":
            (tmp_path / precision).mkdir()
            path = tmp_path / precision / "model.gguf"
            write_gguf(path, Checkpoint(source), config, precision, QuietProgress())  # type: ignore[arg-type]
            describe(path, path.parent)
        command = [sys.executable, "-c", _MEASURE, str(tmp_path), precision]
        added[precision] = float(subprocess.run(command, check=True, capture_output=True).stdout)
    print(added)
    assert added["int8"] <= 0.55 * added["bfloat16"]
    assert added["int4"] <= 0.35 * added["bfloat16"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny Ola that hears, saved in several shards; the cache is empty."""
    monkeypatch.setenv("UNISONO_CACHE", str(tmp_path / "cache"))
    model, processor = tiny.ola(speech=True)
    model.save_pretrained(tmp_path / "ola", max_shard_size="40KB")
    processor.save_pretrained(tmp_path / "ola")
    assert len(list((tmp_path / "ola").glob("*.safetensors"))) > 1
    return tmp_path / "ola"


def _load(folder: Path, **kwargs: Any) -> Any:
    return load(folder, listener=FakeListener("a"), voice=FakeVoice(), device="cpu", **kwargs)


@pytest.mark.parametrize("quantization", ["int8", "int4"])
def test_a_quantised_folder_answers(folder: Path, quantization: Any) -> None:
    ours = _load(folder, quantization=quantization, context_length=512)
    engine = ours.reader.engine
    assert isinstance(engine, LlamaEngine)
    plain = _load(folder)
    assert isinstance(plain.reader.engine, TorchEngine)
    assert engine.stop_ids == plain.reader.engine.stop_ids
    assert engine.context_length == 512
    question = "Where is the sea?"
    prompt = ours.reader.processor.prompt(question)
    logits = [
        r.engine.read(r.embed(prompt), r.engine.new_cache()) for r in (ours.reader, plain.reader)
    ]
    similarity = torch.cosine_similarity(logits[0], logits[1], dim=0)
    assert similarity > {"int8": 0.99, "int4": 0.7}[quantization]
    expected, state = plain.reader.encoders.state_dict(), ours.reader.encoders.state_dict()
    assert set(state) == set(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    heard = ours.chat("What?", audio=tone(0.5), max_new_tokens=6)
    assert heard.usage.completion_tokens > 0


def test_the_language_model_is_never_in_torch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("the language model was made in torch")

    monkeypatch.setattr(AutoModelForCausalLM, "from_config", forbidden)
    with pytest.raises(AssertionError):
        _load(folder)
    assert isinstance(_load(folder, quantization="int8").reader.engine, LlamaEngine)


@pytest.mark.parametrize("quantization", [None, "int8"])
def test_the_generation_config_names_what_ends_an_answer(
    folder: Path, quantization: str | None
) -> None:
    GenerationConfig(eos_token_id=[7, 9]).save_pretrained(folder)
    assert _load(folder, quantization=quantization).reader.engine.stop_ids == {7, 9}


def test_the_file_is_used_again_until_the_weights_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(folder)
    first = exported(folder, config, "int8")
    assert exported(folder, config, "int4") != first
    stamp = gguf_path(first).stat().st_mtime_ns
    assert exported(folder, config, "int8") == first
    assert gguf_path(first).stat().st_mtime_ns == stamp
    shard = next(folder.glob("*.safetensors"))
    os.utime(shard, ns=(1, 1))
    assert exported(folder, config, "int8") != first
    config.rms_norm_eps = 0.5
    assert exported(folder, config, "int4") != exported(folder, load_config(folder), "int4")


def load_config(folder: Path) -> PreTrainedConfig:
    config: PreTrainedConfig = OlaForConditionalGeneration.config_class.from_pretrained(
        folder
    ).text_config
    return config


def test_what_an_interrupted_export_left_is_no_model(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(folder)
    derived = folder.parent / "cache" / "derived"
    with monkeypatch.context() as patched:
        patched.setattr(gguf_export, "describe", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            exported(folder, config, "int8")
    assert [path.name for path in derived.iterdir() if path.is_dir()] == []
    done = exported(folder, config, "int8")
    # Killed, a process cleans nothing up; the next one does.
    unfinished = done.with_name(f".unfinished-{done.name}")
    shutil.move(done, unfinished)
    gguf_path(unfinished).write_bytes(b"GGUF half")
    assert exported(folder, config, "int8") == done
    assert not unfinished.exists()
    assert gguf_path(done).stat().st_size > 1000


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_full_disk_is_said_before_anything_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(folder)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(CacheError, match=r"needs .* GB, but the disk of .* has 0\.0 GB free"):
        exported(folder, load_config(folder), "int8")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (MistralConfig(**SHAPE), "type qwen2 or llama can be quantised.*'mistral'"),
        (
            Qwen2Config(**SHAPE, rope_parameters=LLAMA3),
            "rope_type must be default to quantise a qwen2, but is 'llama3'",
        ),
        (LlamaConfig(**SHAPE, hidden_act="gelu"), "hidden_act must be 'silu', but is 'gelu'"),
        (
            Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=64, max_window_layers=1),
            "sliding attention",
        ),
    ],
    ids=["mistral", "rope", "gelu", "sliding"],
)
def test_what_cannot_be_converted_is_refused(
    config: PreTrainedConfig, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelConfigError, match=message):
        exported(tmp_path, config, "int8")


def test_weights_that_are_not_as_the_config_says(tmp_path: Path) -> None:
    config = Qwen2Config(**SHAPE)
    with pytest.raises(ModelConfigError, match="cannot be read"):
        exported(tmp_path, config, "int8")
    state = {f"language_model.{k}": v for k, v in _random(config).state_dict().items()}
    lost = {k: v for k, v in state.items() if "layers.1.mlp.up_proj" not in k}
    wide = {**state, "language_model.model.embed_tokens.weight": torch.zeros(300, 128)}
    strange = {**state, "language_model.model.layers.0.experts.weight": torch.zeros(4)}
    for broken, message in (
        (lost, r"lack blk\.1\.ffn_up\.weight"),
        (wide, r"must be \(256, 128\), but are \(300, 128\)"),
        (strange, r"'qwen2' has no place for 'language_model.*experts\.weight'"),
    ):
        save_file(broken, tmp_path / "model.safetensors")
        with pytest.raises(ModelConfigError, match=message):
            _engine(tmp_path, config, "int8")


def test_choices_that_exclude_each_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelConfigError, match="must be int8 or int4, but is 'int2'"):
        _load(folder, quantization="int2")
    with pytest.raises(ModelConfigError, match="runs on a CPU"):
        load(folder, quantization="int8", device="cuda")
    with pytest.raises(ModelConfigError, match="runs on a CPU"):
        _load(folder, quantization="int8", engine="torch")
    with pytest.raises(ModelConfigError, match="already"):
        load("ola-nano", quantization="int8")
    with pytest.raises(UnknownModelError, match="must be a folder"):
        load("some/repository", quantization="int8", device="cpu")
    monkeypatch.setattr(llama_api, "version", lambda _name: "9.9.9")
    with pytest.raises(ModelConfigError, match="needs llama.cpp, and xllamacpp must be"):
        _load(folder, quantization="int8")


def test_a_checkpoint_without_its_encoders_is_refused(folder: Path) -> None:
    for shard in folder.glob("*.safetensors"):
        state = load_file(shard)
        state.pop("encoders.audio_connector.begin", None)
        save_file(state, shard, metadata={"format": "pt"})
    with pytest.raises(ModelConfigError, match="missing: encoders.audio_connector.begin"):
        load_encoders(folder)


def test_encoders_of_a_model_that_only_reads(tmp_path: Path) -> None:
    model, _ = tiny.ola()
    model.save_pretrained(tmp_path)
    assert dict(load_encoders(tmp_path).state_dict()) == {}


def test_interleave() -> None:
    rows = np.arange(8.0).reshape(8, 1)
    assert gguf_tensors.interleave(rows, 4).ravel().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
