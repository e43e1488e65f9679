"""WAV files: what is written can be read by others, and nothing half-written stays."""

import io
import os
import struct
import threading
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from unisono.speech import WavWriter, to_int16, wav_bytes


def read(source: str | io.BytesIO) -> tuple[np.ndarray, int]:
    with wave.open(source, "rb") as file:
        assert file.getsampwidth() == 2
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        return samples.reshape(-1, file.getnchannels()), file.getframerate()


@given(arrays(np.float32, st.integers(0, 400), elements=st.floats(-2, 2, width=32)), st.data())
def test_chunks_make_the_same_file_as_the_whole(pcm: np.ndarray, data: st.DataObject) -> None:
    buffer = io.BytesIO()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(pcm)), max_size=5)))
    with WavWriter(buffer, 22_050) as writer:
        for chunk in np.split(pcm, cuts):
            writer.write(chunk)
        assert writer.duration_s == pytest.approx(len(pcm) / 22_050)
    assert buffer.getvalue() == wav_bytes(pcm, 22_050)
    samples, rate = read(io.BytesIO(buffer.getvalue()))
    assert rate == 22_050
    np.testing.assert_allclose(samples[:, 0] / 32767, pcm.clip(-1, 1), atol=0.51 / 32767)


def test_rounding_is_symmetric_and_clipping_hard() -> None:
    pcm = np.array([0.4, 1.0, 1.7, np.inf, np.nan, 0.00001, 0.00002], np.float32)
    assert (to_int16(-pcm) == -to_int16(pcm)).all()
    assert to_int16(pcm).tolist() == [13107, 32767, 32767, 32767, 0, 0, 1]


def test_stereo_and_wrong_shapes() -> None:
    stereo = np.stack([np.full(10, 0.5), np.full(10, -0.5)], axis=1)
    samples, _ = read(io.BytesIO(wav_bytes(stereo, 8_000)))
    assert samples.shape == (10, 2)
    assert (samples[:, 0] == -samples[:, 1]).all()
    with (
        pytest.raises(ValueError, match=r"shape \[T, 1\], but is \[10, 2\]"),
        WavWriter(io.BytesIO(), 8_000) as writer,
    ):
        writer.write(stereo)
    with pytest.raises(ValueError, match="0 Hz"):
        WavWriter(io.BytesIO(), 0)


def test_a_path_appears_only_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    with WavWriter(path, 16_000) as writer:
        writer.write(np.zeros(100, np.float32))
        assert not path.exists()
    assert len(read(str(path))[0]) == 100
    assert os.listdir(tmp_path) == ["out.wav"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_failure_leaves_nothing_new_and_the_old_file_alone(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")

    def write_and_fail() -> None:
        with WavWriter(path, 16_000) as writer:
            writer.write(np.zeros(100, np.float32))
            raise error

    with pytest.raises(error):
        write_and_fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["out.wav"]


def test_a_pipe_gets_a_header_of_unknown_length_and_the_samples_at_once() -> None:
    out, into = os.pipe()
    heard: list[bytes] = []
    with os.fdopen(out, "rb", buffering=0) as reader, os.fdopen(into, "wb") as pipe:
        listener = threading.Thread(target=lambda: heard.append(_read_exactly(reader, 44 + 200)))
        listener.start()
        with WavWriter(pipe, 16_000) as writer:
            writer.write(np.ones(100, np.float32))
            listener.join(timeout=10)  # the sound arrives before the writer is closed
            assert len(heard[0]) == 244
        assert not pipe.closed
    assert struct.unpack_from("<I", heard[0], 4) == struct.unpack_from("<I", heard[0], 40)
    assert struct.unpack_from("<I", heard[0], 40) == (0xFFFFFFFF,)
    assert heard[0][44:] == b"\xff\x7f" * 100


def _read_exactly(reader: io.RawIOBase, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := reader.read(size - len(data))):
        data += more
    return data


def test_a_file_object_is_written_from_where_it_stands() -> None:
    buffer = io.BytesIO(b"magic")
    buffer.seek(5)
    with WavWriter(buffer, 16_000) as writer:
        writer.write(np.zeros(3, np.float32))
    assert buffer.getvalue()[:5] == b"magic"
    assert len(read(io.BytesIO(buffer.getvalue()[5:]))[0]) == 3
