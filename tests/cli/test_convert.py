"""`unisono convert`: one line for every fault, no half files, the same bytes after Ctrl-C."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from official_ola_layout import WHISPER_FILE, Layout, small_config, write_official
from typer.testing import CliRunner, Result

from unisono.cli import app
from unisono.cli.convert import parse_size
from unisono.errors import ModelConfigError
from unisono.models import OlaForConditionalGeneration


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_official(tmp_path / "official", small_config())


def test_convert_says_what_it_did(source: Path, tmp_path: Path) -> None:
    result = run(source, tmp_path / "ours", "--shard-size", "50KB", "--dtype", "float16")
    assert result.exit_code == 0, result.output
    assert not result.stderr  # no bar without a terminal
    done = re.search(
        r"(\d+) tensors, .* in (\d+) files .* (\d+) read back and equal", result.stdout
    )
    assert done is not None
    assert int(done[1]) == int(done[3])
    assert int(done[2]) > 1
    assert f"comes from {WHISPER_FILE}" in result.stdout
    assert OlaForConditionalGeneration.from_pretrained(tmp_path / "ours").dtype == torch.float16


def test_the_hearing_files_are_named(tmp_path: Path) -> None:
    layout = Layout(hearing_inside=False)
    source = write_official(tmp_path / "official", small_config(), layout)
    whisper = (source / WHISPER_FILE).rename(tmp_path / "whisper.pt")
    fault(source, tmp_path / "ours", says="--whisper")
    assert run(source, tmp_path / "ours", "--whisper", whisper).exit_code == 0


def fault(*arguments: str | Path, says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("unisono: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr


def test_faults_are_one_line(source: Path, tmp_path: Path) -> None:
    fault(tmp_path / "nowhere", tmp_path / "ours", says="there is no")
    fault(tmp_path, tmp_path / "ours", says="ola_qwen")
    fault(source, tmp_path / "ours", "--dtype", "int4", says="dtype must be one of")
    fault(source, tmp_path / "ours", "--shard-size", "big", says="the shard size must be")
    fault(source, source / "config.json", says="cannot be written")
    shard = next(source.glob("*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:100])
    fault(source, tmp_path / "ours", says="cannot be read")
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2 * 10**9), ("1.5 mb", 1_500_000), ("7kb", 7000), ("12", 12)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0GB", "GB", "-1GB", "2TB", "1.2.3", "nan"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ModelConfigError, match="shard size"):
        parse_size(text)


@pytest.mark.slow
def test_ctrl_c_leaves_no_half_file(tmp_path: Path) -> None:
    config = small_config(
        hearing=False, vision=False, hidden_size=256, intermediate_size=1024, num_hidden_layers=60
    )
    source, folder = write_official(tmp_path / "official", config), tmp_path / "ours"
    command = [sys.executable, "-m", "unisono.cli", "convert", str(source), str(folder)]
    process = subprocess.Popen([*command, "--shard-size", "1MB"], stderr=subprocess.PIPE)
    while process.poll() is None and not list(folder.glob("*.safetensors")):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert (process.returncode, said.decode().strip()) == (130, "unisono: stopped")
    assert not list(folder.glob("*.part"))
    result = run(source, folder, "--shard-size", "1MB")
    assert result.exit_code == 0, result.output
    assert not re.search(r"\(0 of an earlier run\)", result.stdout)
