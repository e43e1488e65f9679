"""Converting and loading 8 GB with the shapes of Ola-7b (fewer layers) takes little memory."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import peak_memory
import pytest
from official_ola_layout import Layout, write_official
from transformers import Qwen2Config, WhisperConfig

from unisono.models import OlaConfig
from unisono.models.ola.beats_config import BeatsConfig
from unisono.models.ola.vision import OryxVisionConfig

GB = 10**9
SHARD_BYTES = 2 * GB
pytestmark = pytest.mark.slow


def free_memory_bytes() -> int:
    lines = Path("/proc/meminfo").read_text().splitlines()
    (available,) = (line.split()[1] for line in lines if line.startswith("MemAvailable"))
    return int(available) * 1024


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk with room, emptied at once: pytest would keep the last three."""
    if not peak_memory.RESET.exists():
        pytest.skip("needs Linux's /proc")
    if (free := shutil.disk_usage(tmp_path).free) < 20 * GB:
        pytest.skip(f"needs 20 GB of disk, {free / GB:.0f} GB are free")
    if (free := free_memory_bytes()) < 12 * GB:
        pytest.skip(f"needs 12 GB of RAM, {free / GB:.0f} GB are free")
    yield tmp_path
    shutil.rmtree(tmp_path)


def test_eight_gigabytes(folder: Path) -> None:
    config = OlaConfig(
        text_config=Qwen2Config(
            vocab_size=152_064,
            hidden_size=3584,
            intermediate_size=18_944,
            num_hidden_layers=8,
            num_attention_heads=28,
            num_key_value_heads=4,
        ),
        vision_config=OryxVisionConfig(),
        speech_config=WhisperConfig(
            d_model=1280,
            encoder_layers=32,
            encoder_attention_heads=20,
            encoder_ffn_dim=5120,
            num_mel_bins=128,
            max_source_positions=1500,
        ),
        sound_config=BeatsConfig(),
    )
    source = write_official(folder / "official", config, Layout(shards=4, hearing_inside=False))
    size = sum(path.stat().st_size for path in source.iterdir())
    assert size > 7.9 * GB
    script = [sys.executable, peak_memory.__file__]
    arguments = [str(source), str(folder / "ours"), str(SHARD_BYTES)]
    done = json.loads(
        subprocess.run([*script, *arguments], check=True, stdout=subprocess.PIPE).stdout
    )
    largest = max(path.stat().st_size for path in source.iterdir())
    assert done["verified"] == done["tensors"]
    assert done["converting_bytes"] <= 1.15 * (largest + SHARD_BYTES), done
    assert done["loading_bytes"] <= 1.15 * size, done
