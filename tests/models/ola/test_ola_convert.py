"""Official checkpoints come in whole, bit by bit, or not at all."""

import json
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from official_ola_layout import (
    BEATS_FILE,
    WHISPER_FILE,
    Layout,
    official_shapes,
    small_config,
    values,
    write_official,
)
from safetensors.torch import load_file, save_file
from torch import Tensor

from unisono.errors import (
    HubError,
    IncompleteFileError,
    ModelConfigError,
    UnisonoError,
    UnknownModelError,
)
from unisono.models import OlaConfig, OlaForConditionalGeneration, OlaProcessor
from unisono.models.key_table import rename
from unisono.models.ola import convert as conversion
from unisono.models.ola.convert import (
    ConversionOptions,
    ConversionReport,
    convert,
    is_official_ola,
)
from unisono.models.ola.convert_beats import BEATS_PREFIX
from unisono.models.ola.convert_keys import (
    AUDIO_CONNECTOR_PREFIX,
    OLA_KEYS,
    SPEECH_PREFIX,
    rules_for,
    to_official,
)
from unisono.models.ola.convert_plan import expected_shapes, same_bits

INSIDE = Layout(hearing_files=False)
TEXT_ONLY = {"hearing": False, "vision": False}
HEARING = (SPEECH_PREFIX, BEATS_PREFIX)


def converted(
    tmp_path: Path,
    config: OlaConfig,
    layout: Layout | None = None,
    options: ConversionOptions | None = None,
) -> ConversionReport:
    """Write a random checkpoint under `tmp_path` and convert it."""
    source = write_official(tmp_path / "official", config, layout)
    return convert(source, tmp_path / "ours", options)


def stored(folder: Path) -> dict[str, Tensor]:
    """Every tensor of all shards."""
    return {k: v for path in folder.glob("*.safetensors") for k, v in load_file(path).items()}


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- the table ------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
def test_every_official_key_has_one_row(tied: bool) -> None:
    ours = {rename(rules_for(tied_head=tied), key) for key in official_shapes(small_config())}
    config = small_config(tie_word_embeddings=tied)
    assert {found[0] for found in ours if found} == set(expected_shapes(config))


def test_no_row_is_dead() -> None:
    config = small_config()
    config.sound_config.patch_bias = True
    keys = official_shapes(config)
    assert not [rule for rule in OLA_KEYS if not any(rule.renamed(key) for key in keys)]


def test_a_foreign_key_has_no_way_back() -> None:
    with pytest.raises(ModelConfigError, match=r"encoders\.smell"):
        to_official({"encoders.smell.weight": torch.zeros(1)})


# --- what comes out is what went in ---------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "layout"),
    [
        ({}, Layout(hearing_files=False)),
        ({}, Layout(hearing_files=False, pickled=True)),
        ({"hearing": False}, Layout(shards=1)),
        ({"vision": False}, Layout(hearing_files=False, shards=1, pickled=True)),
        (TEXT_ONLY, Layout(shards=3)),
    ],
)
def test_there_and_back_is_the_same_to_the_last_bit(
    tmp_path: Path, parts: dict[str, Any], layout: Layout
) -> None:
    config = small_config(**parts)
    report = converted(tmp_path, config, layout, ConversionOptions(shard_size_bytes=100_000))
    ours = stored(report.folder)
    assert report.tensors == report.verified == len(ours)
    back = to_official(ours)
    assert back.keys() == official_shapes(config).keys()
    assert all(same_bits(back[k], values(k, tuple(back[k].shape))) for k in back)


def test_the_files_of_the_hearing_encoders_win(tmp_path: Path) -> None:
    report = converted(tmp_path, small_config())
    back = to_official(stored(report.folder))
    for key, tensor in back.items():
        if key.startswith(HEARING):
            kind = torch.float16 if key.startswith(SPEECH_PREFIX) else torch.float32
            assert same_bits(tensor, values(f"file {key}", tuple(tensor.shape), kind)), key
        else:
            assert same_bits(tensor, values(key, tuple(tensor.shape))), key
    assert any(WHISPER_FILE in note and "not from the checkpoint" in note for note in report.notes)
    config = OlaConfig.from_pretrained(report.folder)
    assert config.sound_config.max_distance == 777  # as the file says


def test_without_files_the_checkpoint_itself_serves_and_a_note_says_so(tmp_path: Path) -> None:
    report = converted(tmp_path, small_config(), INSIDE)
    config = OlaConfig.from_pretrained(report.folder)
    assert config.speech_config.encoder_attention_heads == 1
    assert config.sound_config.max_distance == 800
    assert any("BEATs is read off" in note for note in report.notes)
    assert any("Whisper is read off" in note for note in report.notes)


def test_the_config_is_that_of_the_checkpoint(tmp_path: Path) -> None:
    wanted = small_config()
    found = OlaConfig.from_pretrained(converted(tmp_path, wanted).folder)
    assert found.vision_config.to_dict() == wanted.vision_config.to_dict()
    for name in ("hidden_size", "vocab_size", "num_key_value_heads", "rms_norm_eps"):
        assert getattr(found.text_config, name) == getattr(wanted.text_config, name)
    for name in ("audio_chunk_s", "audio_stack", "audio_connector_width", "placeholder_ids"):
        assert getattr(found, name) == getattr(wanted, name)
    assert found.speech_config.encoder_ffn_dim == wanted.speech_config.encoder_ffn_dim
    assert found.text_config.rope_parameters["rope_theta"] == 1e6
    assert found.system_prompt == "You are a helpful assistant."
    assert found.dtype == torch.bfloat16


def test_files_elsewhere_are_named(tmp_path: Path) -> None:
    source = write_official(tmp_path / "official", small_config(), Layout(hearing_inside=False))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in (WHISPER_FILE, BEATS_FILE):
        (source / name).rename(elsewhere / name)
    with pytest.raises(ModelConfigError, match=rf"speech_encoder 'elsewhere/{WHISPER_FILE}'.*--wh"):
        convert(source, tmp_path / "ours")
    options = ConversionOptions(whisper=elsewhere / WHISPER_FILE, beats=elsewhere / BEATS_FILE)
    assert convert(source, tmp_path / "ours", options).verified
    with pytest.raises(UnknownModelError, match=r"no\.pt.*--beats"):
        convert(source, tmp_path / "two", ConversionOptions(beats=tmp_path / "no.pt"))


def test_a_file_for_a_deaf_model_is_refused(tmp_path: Path) -> None:
    hearing = write_official(tmp_path / "hearing", small_config())
    source = write_official(tmp_path / "deaf", small_config(hearing=False))
    with pytest.raises(ModelConfigError, match="--whisper was given, but"):
        convert(source, tmp_path / "ours", ConversionOptions(whisper=hearing / WHISPER_FILE))


@pytest.mark.parametrize("prefix", ["", "base_model.model.model.speech_projector."])
def test_a_connector_of_its_own_file_wins(tmp_path: Path, prefix: str) -> None:
    config = small_config()
    source = write_official(tmp_path / "official", config)
    own = {
        key.replace(AUDIO_CONNECTOR_PREFIX, prefix): values("own", shape)
        for key, shape in official_shapes(config).items()
        if key.startswith(AUDIO_CONNECTOR_PREFIX)
    }
    torch.save(own, source / "speech_projector.bin")
    ours = stored(convert(source, tmp_path / "ours").folder)
    connector = {k: v for k, v in ours.items() if k.startswith("encoders.audio_connector.")}
    assert len(connector) == len(own)
    assert all(same_bits(v, values("own", tuple(v.shape))) for v in connector.values())


def test_more_rows_than_the_config_says_are_kept(tmp_path: Path) -> None:
    source = write_official(tmp_path / "official", small_config(**TEXT_ONLY))
    said = json.loads((source / "config.json").read_text())
    rows = said["vocab_size"]
    (source / "config.json").write_text(json.dumps(said | {"vocab_size": rows - 3}))
    config = OlaConfig.from_pretrained(convert(source, tmp_path / "ours").folder)
    assert config.text_config.vocab_size == rows
    assert min(config.placeholder_ids) == rows


def test_another_kind_of_number(tmp_path: Path) -> None:
    config = small_config()
    report = converted(tmp_path, config, INSIDE, ConversionOptions(dtype=torch.float16))
    back = to_official(stored(report.folder))
    assert all(same_bits(v, values(k, tuple(v.shape)).half()) for k, v in back.items())
    assert OlaConfig.from_pretrained(report.folder).dtype == torch.float16


def test_shards_are_of_the_size_asked_for(tmp_path: Path) -> None:
    limit = 30_000
    options = ConversionOptions(shard_size_bytes=limit)
    report = converted(tmp_path, small_config(), options=options)
    shards = {path.name: load_file(path) for path in report.folder.glob("*.safetensors")}
    assert len(shards) == report.written > 3
    for tensors in shards.values():
        assert len(tensors) == 1 or sum(t.nbytes for t in tensors.values()) <= limit
    index = json.loads((report.folder / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {key: name for name, held in shards.items() for key in held}
    assert index["metadata"]["total_size"] == report.size_bytes


def test_a_tied_head_is_stored_once(tmp_path: Path) -> None:
    head = {"lm_head.weight": values("model.embed_tokens.weight", _embedding_shape())}
    config = small_config(**TEXT_ONLY, tie_word_embeddings=True)
    report = converted(tmp_path, config, Layout(extra=head))
    assert "language_model.lm_head.weight" not in stored(report.folder)
    model = OlaForConditionalGeneration.from_pretrained(report.folder)
    assert model.language_model.lm_head.weight is model.get_input_embeddings().weight


def _embedding_shape() -> tuple[int, int]:
    text = small_config().text_config
    return text.vocab_size, text.hidden_size


# --- and it works ---------------------------------------------------------------------------


def test_the_result_answers(tmp_path: Path) -> None:
    folder = converted(tmp_path, small_config()).folder
    processor = OlaProcessor.from_pretrained(folder)
    model = OlaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    sound = torch.zeros(16_000).numpy()
    picture = torch.zeros(64, 64, 3, dtype=torch.uint8).numpy()
    from PIL import Image

    parts = [
        {"type": "image", "image": Image.fromarray(picture)},
        {"type": "audio", "audio": sound},
        {"type": "text", "text": "What is this?"},
    ]
    batch = processor([{"role": "user", "content": parts}])
    assert model(**batch).logits.isfinite().all()
    text = processor.tokenizer.decode(processor("Hi")["input_ids"][0])
    assert text.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n")
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    ends = processor.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert model.generation_config.eos_token_id == ends


def test_olas_template_takes_the_place_of_the_tokenizers(tmp_path: Path) -> None:
    source = write_official(tmp_path / "official", small_config(**TEXT_ONLY))
    (source / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((source / "tokenizer_config.json").read_text())
    settings["chat_template"] = "I am Qwen."
    (source / "tokenizer_config.json").write_text(json.dumps(settings))
    (source / "generation_config.json").write_text('{"eos_token_id": 7, "temperature": 0.2}')
    folder = convert(source, tmp_path / "ours").folder
    tokenizer = OlaProcessor.from_pretrained(folder).tokenizer
    told = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert told.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n")
    settings = json.loads((folder / "generation_config.json").read_text())
    assert (settings["eos_token_id"], settings["temperature"]) == (7, 0.2)


def test_tokens_without_an_embedding_are_told(tmp_path: Path) -> None:
    config = small_config(hearing=False, vision=False, vocab_size=len(tiny.byte_tokenizer()) - 2)
    assert any("2 tokens" in note for note in converted(tmp_path, config).notes)


# --- what does not fit is refused, and nothing is written -----------------------------------


def refuse(tmp_path: Path, fault: type[UnisonoError], match: str, **layout: Any) -> None:
    source = tmp_path / "official"
    if not source.exists():
        write_official(source, small_config(**TEXT_ONLY), Layout(**layout))
    with pytest.raises(fault, match=match) as caught:
        convert(source, tmp_path / "ours")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "ours").glob("*.safetensors*"))


def test_a_missing_key(tmp_path: Path) -> None:
    key = "model.layers.1.mlp.up_proj.weight"
    refuse(tmp_path, ModelConfigError, rf"missing: language_model\.{key}", without=(key,))


def test_an_unknown_key(tmp_path: Path) -> None:
    extra = {f"model.nose.{n}.weight": torch.zeros(1) for n in range(9)}
    refuse(
        tmp_path, ModelConfigError, r"not in the key table: .*nose\.0.*\(9 in all\)", extra=extra
    )


def test_a_key_of_a_part_that_the_config_does_not_name(tmp_path: Path) -> None:
    extra = {"model.layers.7.mlp.up_proj.weight": torch.zeros(1)}
    refuse(tmp_path, ModelConfigError, r"without a place in the model: model\.lay.*7", extra=extra)


def test_a_tensor_of_another_shape(tmp_path: Path) -> None:
    extra = {"model.norm.weight": torch.zeros(5)}
    refuse(tmp_path, ModelConfigError, r"norm\.weight \[5\] instead of \[32\]", extra=extra)


def test_what_old_versions_wrote_besides_is_ignored(tmp_path: Path) -> None:
    extra = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}
    config = small_config(**TEXT_ONLY)
    report = converted(tmp_path, config, Layout(extra=extra))
    assert report.tensors == len(expected_shapes(config))


@pytest.mark.parametrize("shared", ["table", "head"])
def test_copies_that_differ(tmp_path: Path, shared: str) -> None:
    key, config = "lm_head.weight", small_config(tie_word_embeddings=True)
    layout = Layout(hearing_files=False, extra={key: values("other", _embedding_shape())})
    if shared == "table":
        layer = f"{BEATS_PREFIX}encoder.layers.1.self_attn."
        key, config = f"{layer}relative_attention_bias.weight", small_config()
        layout = Layout(hearing_files=False, extra={key: torch.zeros(320, 2)})
    with pytest.raises(ModelConfigError, match="must equal .* both become"):
        converted(tmp_path, config, layout)
    assert not list((tmp_path / "ours").glob("*.safetensors*"))


def test_a_missing_or_torn_shard(tmp_path: Path) -> None:
    source = write_official(tmp_path / "official", small_config(**TEXT_ONLY))
    shard = source / "model-00002-of-00002.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    refuse(tmp_path, IncompleteFileError, f"{shard.name} cannot be read")
    shard.unlink()
    refuse(tmp_path, IncompleteFileError, f"no {shard.name}")
    save_file({"one": torch.zeros(1)}, shard)
    refuse(tmp_path, IncompleteFileError, f"{shard.name} lacks .* such tensors")


def test_an_index_that_leads_out_of_the_folder(tmp_path: Path) -> None:
    source = write_official(tmp_path / "official", small_config(**TEXT_ONLY))
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    index = {"weight_map": {"a": "../a.safetensors"}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    refuse(tmp_path, IncompleteFileError, "no ../a.safetensors")


class Trap:
    """Leaves a trace if the pickle is executed."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.trace,))


def test_pickles_are_not_executed(tmp_path: Path) -> None:
    source = write_official(tmp_path / "official", small_config())
    torch.save({"cfg": Trap(tmp_path / "trace"), "model": {}}, source / BEATS_FILE)
    refuse(tmp_path, ModelConfigError, f"{BEATS_FILE} must hold tensors and plain values only")
    assert not (tmp_path / "trace").exists()
    (source / BEATS_FILE).write_bytes(b"torn")
    refuse(tmp_path, UnisonoError, BEATS_FILE)


def test_a_whisper_file_that_is_none(tmp_path: Path) -> None:
    source = write_official(tmp_path / "official", small_config())
    torch.save({"state": {}}, source / WHISPER_FILE)
    refuse(tmp_path, ModelConfigError, f"{WHISPER_FILE} must have a dict of tensors")
    torch.save({"model_state_dict": {}}, source / WHISPER_FILE)
    refuse(tmp_path, ModelConfigError, f"{WHISPER_FILE} must have a dict 'dims'")


def test_no_tokenizer(tmp_path: Path) -> None:
    source = write_official(tmp_path / "official", small_config(**TEXT_ONLY))
    (source / "tokenizer.json").unlink()
    refuse(tmp_path, IncompleteFileError, "no tokenizer")


def test_no_weights_no_config_no_folder(tmp_path: Path) -> None:
    source = write_official(tmp_path / "official", small_config(**TEXT_ONLY))
    assert is_official_ola(source)
    for path in source.glob("model*"):
        path.unlink()
    refuse(tmp_path, IncompleteFileError, "no weights")
    (source / "config.json").write_text('{"model_type": "llama"}')
    refuse(tmp_path, ModelConfigError, "but is llama instead")
    assert not is_official_ola(source)
    (source / "config.json").write_text("{")
    refuse(tmp_path, IncompleteFileError, "not JSON")
    assert not is_official_ola(source)
    with pytest.raises(UnknownModelError, match="no folder"):
        convert(tmp_path / "nowhere", tmp_path / "ours")


def test_no_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = conversion.shutil._ntuple_diskusage(1, 1, 1000)
    monkeypatch.setattr(conversion.shutil, "disk_usage", lambda _: full)
    refuse(tmp_path, HubError, "GB free")


# --- interrupted, damaged, repeated ---------------------------------------------------------

SMALL_SHARDS = ConversionOptions(shard_size_bytes=15_000)


class Interrupting:
    """A progress that presses Ctrl-C after so many bytes of writing."""

    def __init__(self, after_bytes: int) -> None:
        self.left_bytes = after_bytes

    def start(self, name: str, total_bytes: int | None, done_bytes: int) -> None:
        """Nothing."""

    def advance(self, count_bytes: int) -> None:
        self.left_bytes -= count_bytes
        if self.left_bytes < 0:
            raise KeyboardInterrupt

    def finish(self) -> None:
        """Nothing."""

    def note(self, message: str) -> None:
        """Nothing."""


def test_an_interrupted_run_is_taken_up_again(tmp_path: Path) -> None:
    source = write_official(tmp_path / "official", small_config(**TEXT_ONLY))
    whole = convert(source, tmp_path / "whole", SMALL_SHARDS)
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "conversion.json.part").write_text("{")  # a run that was killed at once
    with pytest.raises(KeyboardInterrupt):
        convert(source, folder, SMALL_SHARDS, progress=Interrupting(40_000))
    assert not list(folder.glob("*.part"))
    left = {path.name for path in folder.glob("*.safetensors")}
    assert 0 < len(left) < whole.written
    assert all(files(folder)[name] == files(whole.folder)[name] for name in left)
    again = convert(source, folder, SMALL_SHARDS)
    assert (again.kept, again.written) == (len(left), whole.written - len(left))
    assert again.verified == whole.tensors
    assert files(folder) == files(whole.folder)


def test_a_flipped_bit_is_found_and_mended(tmp_path: Path) -> None:
    source = write_official(tmp_path / "official", small_config(**TEXT_ONLY))
    report = convert(source, tmp_path / "ours", SMALL_SHARDS)
    good = files(report.folder)
    path = sorted(report.folder.glob("*.safetensors"))[1]
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(IncompleteFileError, match=f"{path.name} differs .* run again"):
        convert(source, report.folder, SMALL_SHARDS)
    assert convert(source, report.folder, SMALL_SHARDS).written == 1
    assert files(report.folder) == good


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    source = write_official(tmp_path / "official", small_config())
    folder = convert(source, tmp_path / "ours").folder
    before = files(folder)
    with pytest.raises(ModelConfigError, match="with other options"):
        convert(source, folder, ConversionOptions(dtype=torch.float32))
    write_official(source, small_config(), Layout(hearing_inside=False))
    with pytest.raises(ModelConfigError, match="of other files"):
        convert(source, folder)
    assert files(folder) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("!")
    with pytest.raises(ModelConfigError, match="must be empty"):
        convert(source, tmp_path / "mine")


@pytest.mark.parametrize(
    "wrong", [{"shard_size_bytes": 0}, {"dtype": torch.int8}], ids=["size", "dtype"]
)
def test_options_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelConfigError, match="must be"):
        ConversionOptions(**wrong)
