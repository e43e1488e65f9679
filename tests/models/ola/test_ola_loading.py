"""Loading: the weights are the checkpoint's, all of them, or there is an error; and no copy."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peak_memory
import pytest
import tiny
import torch
from official_ola_layout import Layout, small_config, write_official
from peak_memory import RESET
from safetensors.torch import load_file, save_file
from torch import Tensor

from unisono.errors import IncompleteFileError, ModelConfigError
from unisono.models import OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola.convert import ConversionOptions, convert
from unisono.models.ola.encoders_only import load_encoders

WEIGHTS = "model.safetensors"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A tiny model that sees and hears, in a folder."""
    tiny.ola(speech=True, sound=True, vision=True)[0].save_pretrained(tmp_path / "ola")
    return tmp_path / "ola"


def changed(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def test_a_missing_tensor(saved: Path) -> None:
    key = "encoders.audio_connector.begin"
    changed(saved, lambda tensors: tensors.pop(key))
    with pytest.raises(ModelConfigError, match=f"do not fit the model; missing: {key}$"):
        OlaForConditionalGeneration.from_pretrained(saved)


def test_many_missing_tensors_are_counted(saved: Path) -> None:
    def deaf(tensors: dict[str, Tensor]) -> None:
        for key in [key for key in tensors if key.startswith("encoders.hearing.")]:
            del tensors[key]

    changed(saved, deaf)
    with pytest.raises(ModelConfigError, match=r"missing: encoders\.hearing\..*… \(\d+ in all\)$"):
        OlaForConditionalGeneration.from_pretrained(saved)


def test_an_unexpected_tensor(saved: Path) -> None:
    changed(saved, lambda tensors: tensors.update({"encoders.nose": torch.zeros(2)}))
    with pytest.raises(ModelConfigError, match=r"unexpected: encoders\.nose$"):
        OlaForConditionalGeneration.from_pretrained(saved)


@pytest.mark.parametrize("ignored", [False, True])
def test_a_tensor_of_another_shape(saved: Path, ignored: bool) -> None:
    key = "encoders.audio_connector.end"
    changed(saved, lambda tensors: tensors.update({key: torch.zeros(2)}))
    with pytest.raises(ModelConfigError, match=rf"of another shape: {key} \[2\] instead of \[32\]"):
        OlaForConditionalGeneration.from_pretrained(saved, ignore_mismatched_sizes=ignored)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_kinds_of_numbers(saved: Path, dtype: torch.dtype) -> None:
    """The sound encoder stays in float32, as BEATs does in the official inference."""
    whole = OlaForConditionalGeneration.from_pretrained(saved, dtype=dtype)
    for encoders in (whole.encoders, load_encoders(saved, dtype=dtype)):
        kinds = {
            kept: {
                p.dtype for n, p in encoders.named_parameters() if ("hearing.sound" in n) == kept
            }
            for kept in (True, False)
        }
        assert kinds == {True: {torch.float32}, False: {dtype}}
    assert {p.dtype for p in whole.language_model.parameters()} == {dtype}


def test_a_sound_encoder_in_float32_leads_into_bfloat16(saved: Path) -> None:
    model = OlaForConditionalGeneration.from_pretrained(saved, dtype=torch.bfloat16)
    processor = OlaProcessor(tiny.byte_tokenizer(), model.config)
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32) / 10
    question = {"role": "user", "content": [{"type": "audio", "audio": (noise, 16_000)}]}
    with torch.no_grad():
        logits = model(**processor([question])).logits
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()


def test_a_torn_file(saved: Path) -> None:
    whole = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IncompleteFileError, match="cannot be read"):
        OlaForConditionalGeneration.from_pretrained(saved)


def test_no_weights_at_all(saved: Path) -> None:
    (saved / WEIGHTS).unlink()
    with pytest.raises(OSError, match=WEIGHTS):
        OlaForConditionalGeneration.from_pretrained(saved)


def test_the_fault_is_told_once(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    changed(saved, lambda tensors: tensors.update({"encoders.nose": torch.zeros(2)}))
    with pytest.raises(ModelConfigError):
        OlaForConditionalGeneration.from_pretrained(saved)
    assert "LOAD REPORT" not in caplog.text


def test_a_whole_checkpoint_loads_and_tells_so(saved: Path) -> None:
    model, info = OlaForConditionalGeneration.from_pretrained(saved, output_loading_info=True)
    stored = load_file(saved / WEIGHTS)
    assert all(torch.equal(model.state_dict()[key], tensor) for key, tensor in stored.items())
    assert not info["missing_keys"]
    assert not model.training


@pytest.mark.parametrize(
    "device_map",
    ["cpu", {"": "cpu"}, {"encoders": "cpu", "language_model": "disk"}],
    ids=["device", "whole", "disk"],
)
def test_accelerate_places_the_parts(
    saved: Path, device_map: str | dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("accelerate")
    folder = tmp_path / "offload"
    placed = OlaForConditionalGeneration.from_pretrained(
        saved, device_map=device_map, offload_folder=folder
    )
    whole = OlaForConditionalGeneration.from_pretrained(saved)
    batch = OlaProcessor(tiny.byte_tokenizer(), whole.config)("Hello")
    with torch.no_grad():
        torch.testing.assert_close(placed(**batch).logits, whole(**batch).logits)


def test_no_layer_and_no_encoder_is_cut_in_two() -> None:
    model = OlaForConditionalGeneration(small_config())
    assert {"OlaEncoders", "Qwen2DecoderLayer"} <= set(model._no_split_modules)


# --- memory ---------------------------------------------------------------------------------

SHARD_BYTES = 60_000_000


@pytest.mark.slow
@pytest.mark.skipif(not RESET.exists(), reason="needs Linux's /proc")
def test_killed_taken_up_again_and_little_memory(tmp_path: Path) -> None:
    config = small_config(
        vocab_size=40_000, hidden_size=512, intermediate_size=2048, num_hidden_layers=24
    )
    source = write_official(tmp_path / "official", config, Layout(shards=4))
    folder = tmp_path / "ours"
    arguments = [sys.executable, peak_memory.__file__, str(source), str(folder), str(SHARD_BYTES)]
    killed = subprocess.Popen(arguments)
    while killed.poll() is None and not list(folder.glob("*.safetensors")):
        time.sleep(0.005)
    killed.kill()
    assert killed.wait() == -9
    left = len(list(folder.glob("*.safetensors")))
    done = json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE).stdout)
    assert done["kept"] == left > 0
    assert done["written"] > 0
    assert done["verified"] == done["tensors"]

    whole = convert(source, tmp_path / "whole", ConversionOptions(shard_size_bytes=SHARD_BYTES))
    for path in whole.folder.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name
    assert {p.name for p in folder.iterdir()} == {p.name for p in whole.folder.iterdir()}

    largest = max(path.stat().st_size for path in source.glob("*.safetensors"))
    assert done["converting_bytes"] <= 1.15 * (largest + SHARD_BYTES), done
    assert done["loading_bytes"] <= 1.15 * whole.size_bytes, done
