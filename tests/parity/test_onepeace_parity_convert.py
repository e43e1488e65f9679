"""Official checkpoints, as files: read safely, converted strictly, and written back."""

import argparse
import io as bytes_io
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from golden import Golden
from torch import Tensor

from unisono.errors import ModelConfigError
from unisono.models.onepeace import OnePeaceBackbone, OnePeaceForPretraining, OnePeaceModel
from unisono.models.onepeace.convert import at_grid, convert, from_official, to_official_state
from unisono.models.onepeace.convert_keys import to_ours

NAMES = [
    "",
    "_classify_vqa",
    "_classify_grounding",
    "_classify_vggsound",
    "_classify_aqa",
    "_classify_nlvr2",
]


@pytest.mark.parametrize("name", NAMES)
def test_official_to_ours_to_official(golden: Golden, name: str) -> None:
    state = golden.file(f"onepeace_tiny{name}").under("")
    there_and_back = to_official_state(from_official(state))
    assert sorted(there_and_back) == sorted(to_ours(state))
    for key, value in there_and_back.items():
        assert torch.equal(value, state[key].float()), key


def test_the_vision_branch_to_ours_to_official(golden: Golden) -> None:
    state = golden.file("onepeace_vision").under("pretrained.")
    back = to_official_state(from_official(state))
    assert set(to_ours(back).values()) == set(to_ours(state).values())


@pytest.fixture
def foreign_cfg(golden: Golden) -> Any:
    """The config as objects of classes that are gone when the file is read."""
    module = types.ModuleType("omegaconf_of_another_machine")

    class DictConfig:
        def __init__(self, content: dict[str, Any]) -> None:
            self._content = content

    DictConfig.__module__, DictConfig.__qualname__ = module.__name__, "DictConfig"
    module.DictConfig = DictConfig  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module
    cfg = golden.facts("onepeace_tiny")["pretrain_cfg"]
    yield {"model": DictConfig({**cfg, "encoder": DictConfig(cfg["encoder"])})}
    sys.modules.pop(module.__name__, None)


def test_a_fairseq_file(golden: Golden, tmp_path: Path, foreign_cfg: Any) -> None:
    state = golden.file("onepeace_tiny").under("")
    args = argparse.Namespace(arch="one_peace_pretrain")
    torch.save({"args": args, "cfg": foreign_cfg, "model": state}, tmp_path / "one-peace.pt")
    sys.modules.pop("omegaconf_of_another_machine")
    convert(tmp_path / "one-peace.pt", tmp_path / "ours")
    model = OnePeaceForPretraining.from_pretrained(tmp_path / "ours")
    expected = golden.facts("onepeace_tiny")["pretrain_cfg"]
    assert model.config.drop_path_rate == expected["encoder"]["drop_path_rate"]
    assert model.config.decoder_config.num_attention_heads == expected["decoder"]["attention_heads"]
    images = golden.file("onepeace_tiny_io").read("in.src_images")
    with torch.no_grad():
        found = model.onepeace(pixel_values=images).embeddings["image"]
    golden.file("onepeace_tiny_io").check("retrieval.image.features", found, "normalised")


def test_a_retrieval_file_without_cfg(golden: Golden, tmp_path: Path) -> None:
    state = golden.file("onepeace_tiny").under("")
    state = {k: v for k, v in state.items() if "decoder" not in k and "_mask_" not in k}
    torch.save({"model": state}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    convert(tmp_path / "old.pt", tmp_path / "ours")
    model = OnePeaceModel.from_pretrained(tmp_path / "ours")
    assert (
        model.config.audio_config.conv_layers
        == from_official(state).config.audio_config.conv_layers
    )
    ids = golden.file("onepeace_tiny_io").read("in.src_tokens")
    with torch.no_grad():
        found = model(input_ids=ids).embeddings["text"]
    golden.file("onepeace_tiny_io").check("retrieval.text.features", found, "normalised")


def test_a_vision_pickle(golden: Golden, tmp_path: Path) -> None:
    state = golden.file("onepeace_vision").under("pretrained.")
    content = {"model": state, "__author__": "ofa", "matching_heuristics": True}
    (tmp_path / "vision.pkl").write_bytes(pickle.dumps(content))
    model = convert(tmp_path / "vision.pkl", tmp_path / "ours")
    again = OnePeaceBackbone.from_pretrained(tmp_path / "ours")
    assert isinstance(model, OnePeaceBackbone)
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, ("import builtins; builtins.bomb_went_off = True",)


@pytest.mark.parametrize("form", ["torch", "torch_old", "pickle", "inside_storage"])
def test_a_file_runs_nothing(golden: Golden, tmp_path: Path, form: str) -> None:
    state = golden.file("onepeace_vision").under("pretrained.")
    content: dict[str, Any] = {"model": state, "cfg": Bomb()}
    path = tmp_path / "bomb.pt"
    if form == "inside_storage":
        content["extra"] = Nested(pickle.dumps(Bomb(), protocol=2))
    if form.startswith("torch"):
        torch.save(content, path, _use_new_zipfile_serialization=form == "torch")
    else:
        path.write_bytes(pickle.dumps(content))
    if form == "inside_storage":
        with pytest.raises(ModelConfigError, match="not a checkpoint"):
            convert(path, tmp_path / "ours")
    else:
        convert(path, tmp_path / "ours")
    import builtins

    assert not hasattr(builtins, "bomb_went_off")


class Nested:
    """Hands its bytes to torch's own function for storages."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return torch.storage._load_from_bytes, (self.data,)


def test_faults_are_named(golden: Golden) -> None:
    state = golden.file("onepeace_tiny").under("")
    missing = {k: v for k, v in state.items() if k != "text_proj.weight"}
    with pytest.raises(ModelConfigError, match=r"lacks onepeace\.projections\.text\.weight"):
        from_official(missing)
    key = "encoder_wrapper.fusion_model.layers.0.text_ffn.0.wi_7.weight"
    with pytest.raises(ModelConfigError, match=r"unexpected keys: .*\.wi_7\.weight"):
        from_official({**state, key: torch.zeros(1)})
    with pytest.raises(ModelConfigError, match=r"another shape .*projections\.image\.bias"):
        from_official({**state, "image_proj.bias": torch.zeros(3)})


def test_a_table_for_another_image_size_can_be_kept(golden: Golden) -> None:
    io = golden.file("onepeace_tiny_io")
    name = next(n for n in io.names if n.startswith("in.src_images_"))
    images = io.read(name)
    model = from_official(golden.file("onepeace_tiny").under(""))
    at_grid(model, images.shape[-1] // 16)
    size = name.rsplit("_", 1)[1]
    table: Tensor = model.onepeace.adapters["image"].relative_bias[0]
    io.check(f"retrieval.image_{size}.rel_pos_table", table, "normalised")
    assert model.config.image_config.bias_grid == images.shape[-1] // 16
    with torch.no_grad():
        found = model.onepeace(pixel_values=images).embeddings["image"]
    io.check(f"retrieval.image_{size}.features", found, "normalised")


def test_garbage_is_no_checkpoint(tmp_path: Path) -> None:
    for data in (b"", b"PK\x03\x04nothing", pickle.dumps([1, 2]), pickle.dumps({"model": {}})):
        (tmp_path / "x.pt").write_bytes(bytes_io.BytesIO(data).getvalue())
        with pytest.raises(ModelConfigError):
            convert(tmp_path / "x.pt", tmp_path / "ours")
