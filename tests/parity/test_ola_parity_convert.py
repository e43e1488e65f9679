"""The golden Ola, official -> ours -> official, is the same to the last bit."""

from pathlib import Path

import pytest
import torch
from golden import Golden
from official_ola import BEATS, WHISPER, write_official_folder
from safetensors.torch import load_file
from torch import Tensor

from unisono.models.ola.convert import ConversionOptions, ConversionReport, convert
from unisono.models.ola.convert_keys import is_ignored, to_official
from unisono.models.ola.convert_plan import same_bits


@pytest.fixture(scope="module")
def report(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> ConversionReport:
    """The conversion, into more than one shard."""
    folder = tmp_path_factory.mktemp("convert")
    heads = golden.facts("ola_tiny")["vision"]["heads"]
    options = ConversionOptions(vision_heads=heads, shard_size_bytes=300_000)
    return convert(write_official_folder(golden, folder / "official"), folder / "ours", options)


def stored(folder: Path) -> dict[str, Tensor]:
    return {k: v for path in folder.glob("*.safetensors") for k, v in load_file(path).items()}


def test_there_and_back(golden: Golden, report: ConversionReport) -> None:
    official = golden.file("ola_tiny").under("")
    back = to_official(stored(report.folder))
    assert back.keys() == {key for key in official if not is_ignored(key)}
    assert not [key for key, tensor in back.items() if not same_bits(tensor, official[key])]
    assert report.verified == report.tensors


def test_a_changed_hearing_file_is_heard(
    golden: Golden, tmp_path: Path, report: ConversionReport
) -> None:
    """As in the official loader, the files win over the checkpoint's own tensors."""
    facts = golden.facts("ola_tiny")
    source = write_official_folder(golden, tmp_path / "official")
    for name, part in (("speech_encoder", "model_state_dict"), ("music_encoder", "model")):
        path = source / facts["config"][name]
        content = torch.load(path, weights_only=True)
        content[part] = {key: value * 0.5 for key, value in content[part].items()}
        torch.save(content, path)
    heads = facts["vision"]["heads"]
    ours = convert(source, tmp_path / "ours", ConversionOptions(vision_heads=heads))
    before, after = (to_official(stored(r.folder)) for r in (report, ours))
    for key, tensor in before.items():
        scale = 0.5 if key.startswith((WHISPER, BEATS)) else 1.0
        assert torch.equal(after[key], tensor * scale), key
