"""The encoder out of CTranslate2's file hears exactly what CTranslate2 hears."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import torch
from ctranslate2.converters.transformers import WhisperLoader
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from unisono.errors import (
    DownloadError,
    IncompleteFileError,
    ModelConfigError,
    UnknownModelError,
)
from unisono.media import load_audio
from unisono.models.ctranslate2_file import Ctranslate2File
from unisono.models.whisper_weights import (
    convert_whisper_encoder,
    whisper_encoder_folder,
    whisper_encoder_weights,
)

QUESTION = Path(__file__).parents[2] / "examples" / "questions" / "01-sky.ogg"


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tiny() -> WhisperForConditionalGeneration:
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=64,
        d_model=32,
        encoder_layers=2,
        encoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=48,
        max_source_positions=40,
        max_target_positions=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
        suppress_tokens=[],
        begin_suppress_tokens=[],
    )
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" not in name:
                parameter.normal_(std=0.2)
    return model


Written = Callable[[str], Path]


@pytest.fixture
def written(tiny: WhisperForConditionalGeneration, tmp_path: Path) -> Written:
    """A function: the tiny model in CTranslate2's own writing, its numbers of some type."""

    def write(kind: str) -> Path:
        spec = WhisperLoader().get_model_spec(tiny)
        spec.register_vocabulary([f"<{index}>" for index in range(64)])
        spec.validate()
        spec.optimize(quantization=None if kind == "float32" else kind)
        folder = tmp_path / kind
        folder.mkdir()
        spec.save(str(folder))
        return folder / "model.bin"

    return write


def _encoded(folder: Path, mels: Tensor) -> Tensor:
    encoder = WhisperEncoder.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        found: Tensor = encoder(mels).last_hidden_state
    return found


def _by_ctranslate2(folder: Path, mels: Tensor) -> Tensor:
    model = ctranslate2.models.Whisper(str(folder), compute_type="float32", intra_threads=1)
    found = model.encode(ctranslate2.StorageView.from_array(mels.numpy()))
    return torch.from_numpy(np.array(found))


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "int8", "int16"])
def test_every_type_of_number(
    kind: str, tiny: WhisperForConditionalGeneration, written: Written, tmp_path: Path
) -> None:
    source = written(kind)
    folder = tmp_path / "converted"
    folder.mkdir()
    convert_whisper_encoder(source, folder)
    mels = torch.randn(2, 80, 80, generator=torch.Generator().manual_seed(1))
    found = _encoded(folder, mels)
    torch.testing.assert_close(found, _by_ctranslate2(source.parent, mels), atol=2e-4, rtol=1e-4)
    with torch.inference_mode():
        original = tiny.model.encoder(mels).last_hidden_state
    most = {"float32": 1e-5, "float16": 5e-3, "int16": 5e-3}.get(kind, 0.1)
    assert (found - original).abs().mean() < most
    stored = load_file(folder / "model.safetensors")["layers.0.fc1.weight"].dtype
    assert stored == getattr(torch, kind if "float" in kind else "float32")


def test_sizes_are_those_of_the_model(
    tiny: WhisperForConditionalGeneration, written: Written, tmp_path: Path
) -> None:
    convert_whisper_encoder(written("float32"), tmp_path)
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, WhisperConfig)
    for name in ("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"):
        assert getattr(config, name) == getattr(tiny.config, name)
    for name in ("max_source_positions", "num_mel_bins", "vocab_size", "decoder_layers"):
        assert getattr(config, name) == getattr(tiny.config, name)


@pytest.fixture(scope="module")
def base() -> Path:
    """The real Whisper-base's encoder."""
    try:
        return whisper_encoder_folder()
    except DownloadError as error:
        pytest.skip(f"needs the part whisper-base-ct2: {error}")


def test_the_real_one_on_a_real_recording(base: Path) -> None:
    from unisono.hub import fetch_part

    extractor = WhisperFeatureExtractor()
    samples = load_audio(QUESTION)
    mels = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features
    found = _encoded(base, mels)
    expected = _by_ctranslate2(fetch_part("whisper-base-ct2"), mels)
    assert found.shape == (1, 1500, 512)
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=1e-3)
    assert expected.std() > 0.5  # the tolerance is small beside what is heard


def test_a_shorter_window_has_the_first_positions(base: Path) -> None:
    config = AutoConfig.from_pretrained(base)
    whole = whisper_encoder_weights(config)
    config.max_source_positions = 250
    part = whisper_encoder_weights(config)
    encoder = WhisperEncoder(config)
    encoder.load_state_dict(part)
    assert torch.equal(part["embed_positions.weight"], whole["embed_positions.weight"][:250])
    sinusoids = WhisperEncoder(config).embed_positions.weight
    torch.testing.assert_close(part["embed_positions.weight"], sinusoids, atol=1e-3, rtol=0)
    assert part["layers.0.fc1.weight"].dtype == torch.float32
    config.max_source_positions = 2000
    with pytest.raises(ModelConfigError, match="max_source_positions must be at most 1500"):
        whisper_encoder_weights(config)
    config.d_model = 384
    with pytest.raises(ModelConfigError, match="d_model must be 512 for 'whisper-base-ct2'"):
        whisper_encoder_weights(config)


def test_the_part_is_converted_once(base: Path) -> None:
    before = (base / "model.safetensors").stat().st_mtime_ns
    assert whisper_encoder_folder("whisper-base-ct2") == base
    assert (base / "model.safetensors").stat().st_mtime_ns == before


def test_other_parts_are_refused() -> None:
    with pytest.raises(ModelConfigError, match="no Whisper"):
        whisper_encoder_folder("piper-en-us-joe-medium")
    with pytest.raises(UnknownModelError):
        whisper_encoder_folder("whisper-bass-ct2")


def test_a_file_cut_anywhere_is_noticed(written: Written, tmp_path: Path) -> None:
    whole = written("float16").read_bytes()
    cut = tmp_path / "model.bin"
    generator = np.random.default_rng(0)
    for size in (0, 3, 4, 7, 30, len(whole) - 1, *generator.integers(0, len(whole), 60).tolist()):
        cut.write_bytes(whole[:size])
        with pytest.raises(IncompleteFileError, match=r"'model\.bin'"):
            Ctranslate2File(cut)
    cut.write_bytes(whole + b"\0")
    with pytest.raises(ModelConfigError, match="goes on"):
        Ctranslate2File(cut)


def test_changed_headers_never_read_past_the_file(written: Written, tmp_path: Path) -> None:
    """Any byte of the first headers may be wrong: an error of ours, or other names and shapes."""
    whole = bytearray(written("int8").read_bytes())
    changed = tmp_path / "model.bin"
    refused = 0
    for place in range(200):
        original = whole[place]
        whole[place] ^= 0xFF
        changed.write_bytes(whole)
        try:
            file = Ctranslate2File(changed)
            assert all(file.tensor(name).shape == file.shape(name) for name in file.keys())  # noqa: SIM118
        except (IncompleteFileError, ModelConfigError):
            refused += 1
        whole[place] = original
    assert refused > 50


def test_another_kind_or_version(written: Written, tmp_path: Path) -> None:
    whole = written("float32").read_bytes()
    other = tmp_path / "model.bin"
    other.write_bytes(whole.replace(b"WhisperSpec", b"WhosperSpec", 1))
    with pytest.raises(ModelConfigError, match="must be a WhisperSpec, but is a WhosperSpec"):
        convert_whisper_encoder(other, tmp_path)
    other.write_bytes(struct.pack("<I", 5) + whole[4:])
    with pytest.raises(ModelConfigError, match="version 6, but says 5"):
        Ctranslate2File(other)
    with pytest.raises(ModelConfigError, match="has no array 'encoder/conv9/weight'"):
        Ctranslate2File(written("float16")).tensor("encoder/conv9/weight")


def test_an_alias_is_the_array_it_names(written: Written) -> None:
    file = Ctranslate2File(written("float32"))
    name, alias = "decoder/embeddings/weight", "decoder/projection/weight"
    assert torch.equal(file.tensor(alias), file.tensor(name))
