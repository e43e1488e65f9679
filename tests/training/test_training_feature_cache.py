"""Cached = uncached to the last bit; no crash, damage or full disk stops a run."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import olas
import pytest
import torch
from torch import Tensor

from unisono.conversation import AudioPart, ImagePart
from unisono.models.ola import OlaForConditionalGeneration
from unisono.training import goals
from unisono.training.feature_cache import EncoderCache, FeatureStore, fingerprint
from unisono.training.objectives.next_token import NextToken

KEYS = [f"{index:02x}" * 32 for index in range(40)]


@pytest.fixture
def model_and_work(tmp_path: Path) -> tuple[OlaForConditionalGeneration, NextToken]:
    model, processor = olas.ola(speech=True, sound=True, vision=True)
    model.encoders.hearing.requires_grad_(False)
    model.encoders.vision.requires_grad_(False)
    return model, cached_work(model, processor, tmp_path)


def cached_work(model: OlaForConditionalGeneration, processor: Any, folder: Path) -> NextToken:
    cache = EncoderCache(model.encoders, FeatureStore(folder, 10**8))
    return NextToken(processor, goals.NextToken(), cache=cache)


def step(model: OlaForConditionalGeneration, work: NextToken, inputs: Mapping[str, Any]) -> Any:
    model.zero_grad(set_to_none=True)
    loss = work.loss(model, inputs, draw=0).loss
    loss.backward()
    named = model.named_parameters()
    return loss.detach(), {n: p.grad.clone() for n, p in named if p.grad is not None}


def watched(model: OlaForConditionalGeneration) -> dict[str, Mock]:
    """The encoders' forward passes, counted."""
    hearing, vision = model.encoders.hearing, model.encoders.vision
    hearing.forward = Mock(wraps=hearing.forward)
    vision.forward = Mock(wraps=vision.forward)
    return {"audio": hearing.forward, "vision": vision.forward}


def test_cached_is_uncached_to_the_last_bit(model_and_work: Any) -> None:
    model, work = model_and_work
    examples = [work.prepare(one) for one in olas.rows()]
    calls = watched(model)
    first, weight = work.collate(examples)
    uncached = step(model, work, first)
    assert {kind: call.call_count for kind, call in calls.items()} == {"audio": 2, "vision": 2}
    second, same = work.collate(examples)
    assert same == weight
    assert not {"audio_mels", "audio_samples", "pixel_patches"} & second.keys()
    cached = step(model, work, second)
    assert {kind: call.call_count for kind, call in calls.items()} == {"audio": 2, "vision": 2}
    torch.testing.assert_close(cached, uncached, rtol=0.0, atol=0.0)
    plain = NextToken(work.processor, goals.NextToken())
    without = step(model, plain, plain.collate(examples)[0])
    torch.testing.assert_close(without, uncached, rtol=1e-3, atol=1e-5)


def test_features_do_not_depend_on_the_company(model_and_work: Any, tmp_path: Path) -> None:
    """A run resumed in the middle finds other media kept than one that was never stopped."""
    model, work = model_and_work
    examples = [work.prepare(one) for one in olas.rows()]
    together = step(model, work, work.collate(examples)[0])
    for one in examples:
        other = cached_work(model, work.processor, tmp_path / "other")
        step(model, other, other.collate([one])[0])
    apart = step(model, work, other.collate(examples)[0])
    torch.testing.assert_close(apart, together, rtol=0.0, atol=0.0)


def test_some_known_some_not(model_and_work: Any) -> None:
    model, work = model_and_work
    examples = [work.prepare(one) for one in olas.rows()]
    step(model, work, work.collate([examples[3]])[0])
    inputs, _ = work.collate(examples)
    assert inputs["vision_known"].tolist() == inputs["audio_known"].tolist() == [False, True]
    mixed = step(model, work, inputs)
    torch.testing.assert_close(mixed, step(model, work, work.collate(examples)[0]), rtol=0, atol=0)


def test_only_frozen_encoders_are_kept(model_and_work: Any, tmp_path: Path) -> None:
    model, work = model_and_work
    model.encoders.vision.requires_grad_(True)
    work = cached_work(model, work.processor, tmp_path)
    examples = [work.prepare(one) for one in olas.rows()]
    for _ in range(2):
        inputs, _ = work.collate(examples)
        _, gradients = step(model, work, inputs)
    assert "audio_features" in inputs
    assert "vision_features" not in inputs
    assert gradients["encoders.vision.patch_embedding.weight"].any()


def test_other_weights_config_or_precision_are_other_features(model_and_work: Any) -> None:
    model, work = model_and_work
    store = work.cache.store
    before = work.cache.fingerprints
    assert EncoderCache(model.encoders, store).fingerprints == before
    other = EncoderCache(model.encoders, store, "bf16").fingerprints
    assert all(other[kind] != before[kind] for kind in before)
    model.encoders.config.audio_chunk_s = 2.0
    changed = EncoderCache(model.encoders, store).fingerprints
    assert changed["audio"] != before["audio"]
    assert changed["vision"] == before["vision"]
    model.encoders.config.audio_chunk_s = 1.0
    with torch.no_grad():
        next(model.encoders.vision.parameters()).view(-1)[0] += 1
    changed = EncoderCache(model.encoders, store).fingerprints
    assert changed["vision"] != before["vision"]
    assert changed["audio"] == before["audio"]


def test_fingerprints_tell_shapes_apart() -> None:
    assert fingerprint(torch.nn.Linear(2, 3), "") != fingerprint(torch.nn.Linear(3, 2), "")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_kept_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    store = FeatureStore(tmp_path, 10**6)
    tensor = torch.randn(3, 4, 5).to(dtype)
    assert store.get(KEYS[0]) is None
    store.put(KEYS[0], tensor.transpose(0, 1))
    found = FeatureStore(tmp_path, 10**6).get(KEYS[0])
    assert found is not None
    assert found.dtype == dtype
    assert found.equal(tensor.transpose(0, 1))


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    changed = {
        "cut": content[:-7],
        "empty": b"",
        "a bit": content[:-5] + bytes([content[-5] ^ 4]) + content[-4:],
        "header": b"\xff" * 16 + content[16:],
        "no checksum": content.replace(b"crc32", b"other"),
    }
    path.write_bytes(changed[how])


@pytest.mark.parametrize("how", ["cut", "empty", "a bit", "header", "no checksum"])
def test_damage_is_repaired(model_and_work: Any, tmp_path: Path, how: str) -> None:
    model, work = model_and_work
    examples = [work.prepare(one) for one in olas.rows()[:1]]
    expected = step(model, work, work.collate(examples)[0])
    (path,) = tmp_path.glob("??/*")
    intact = path.read_bytes()
    damage(path, how)
    inputs, _ = work.collate(examples)
    assert inputs["vision_known"].tolist() == [False]
    torch.testing.assert_close(step(model, work, inputs), expected, rtol=0.0, atol=0.0)
    assert path.read_bytes() == intact


def test_the_least_recently_used_make_room(tmp_path: Path) -> None:
    one = torch.zeros(1000)
    nbytes = 4 * 1000 + 100
    store = FeatureStore(tmp_path, 16 * nbytes)
    for number, key in enumerate(KEYS[:10]):
        store.put(key, one + number)
        past = time.time() - 1000 + number
        os.utime(next(tmp_path.glob(f"??/{key}*")), (past, past))
    assert store.get(KEYS[0]) is not None
    for key in KEYS[10:24]:
        store.put(key, one)
        assert sum(path.stat().st_size for path in tmp_path.glob("??/*")) <= 16 * nbytes
    assert store.get(KEYS[0]) is not None, "used a moment ago"
    assert store.get(KEYS[1]) is None, "not used for a long time"
    assert store.get(KEYS[23]) is not None


def test_what_is_larger_than_the_whole_store_is_left_out(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path, 1000)
    store.put(KEYS[0], torch.zeros(1000))
    assert store.get(KEYS[0]) is None
    assert store.notice is None


def test_a_full_disk_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = FeatureStore(tmp_path, 10**6)
    store.put(KEYS[0], torch.ones(3))

    def full(path: Path, content: bytes) -> int:
        path.open("wb").write(content[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    for key in KEYS[1:4]:
        store.put(key, torch.ones(3))
        assert store.get(key) is None
    assert store.notice is not None
    assert "No space left on device" in store.notice
    assert len(caplog.records) == 1
    found = store.get(KEYS[0])
    assert found is not None, "what is there is still used"
    assert len(list(tmp_path.glob("??/*"))) == 1, "nothing half-written is left"


@pytest.mark.slow
def test_killed_writers_leave_whole_files_only(tmp_path: Path) -> None:
    """Two processes write into one folder until they are killed, again and again."""
    script = Path(__file__).with_name("feature_writer.py")
    writers = [subprocess.Popen([sys.executable, script, tmp_path]) for _ in range(2)]
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("??/*.safetensors"))) < 12 and time.monotonic() < deadline:
        time.sleep(0.02)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
    store = FeatureStore(tmp_path, 10**9)
    files = {path.stem for path in tmp_path.glob("??/*.safetensors")}
    assert len(files) >= 12
    for key in files:
        tensor = store.get(key)
        assert tensor is not None, "damaged"
        assert tensor.unique().tolist() == [int(key[:2], 16)]
    leftover = tmp_path / "00" / "x.1-1.part"
    leftover.parent.mkdir(exist_ok=True)
    leftover.write_bytes(b"half")
    os.utime(leftover, (0, 0))
    FeatureStore(tmp_path, 10**9)
    assert not leftover.exists()


def test_inputs_are_tensors_that_a_loop_can_move(model_and_work: Any) -> None:
    _, work = model_and_work
    sound, picture = AudioPart(audio=olas.tone(0.3)), ImagePart(image=olas.image())
    inputs, _ = work.collate([work.prepare(olas.row("?", "!", sound, picture))])
    assert all(isinstance(value, Tensor) for value in inputs.values()), json.dumps(list(inputs))
