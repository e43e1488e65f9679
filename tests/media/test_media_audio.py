import random
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unisono import errors
from unisono.media import Limits, Resampler, Waveform, load_audio, resample

# container, codec, rate, layout, worst error allowed against the tone
FILES = [
    ("wav", "pcm_u8", 8_000, "mono", 0.01),
    ("wav", "pcm_s16le", 16_000, "mono", 1e-4),
    ("wav", "pcm_s16le", 11_025, "stereo", 1e-3),
    ("wav", "pcm_s24le", 96_000, "5.1", 1e-3),
    ("wav", "pcm_s32le", 48_000, "2.1", 1e-3),
    ("wav", "pcm_f32le", 44_100, "stereo", 1e-3),
    ("wav", "pcm_f64le", 22_050, "quad", 1e-3),
    ("wav", "pcm_mulaw", 8_000, "mono", 0.02),
    ("wav", "pcm_s16le", 48_000, "7.1", 1e-3),
    ("aiff", "pcm_s16be", 44_100, "stereo", 1e-3),
    ("flac", "flac", 44_100, "stereo", 1e-3),
    ("ogg", "flac", 16_000, "mono", 1e-3),
    ("ogg", "vorbis", 44_100, "stereo", 0.1),
    ("ogg", "libopus", 48_000, "mono", 0.1),
    ("mp3", "libmp3lame", 22_050, "mono", 0.05),
    ("mp3", "libmp3lame", 44_100, "stereo", 0.05),
    ("mp4", "aac", 44_100, "stereo", 0.05),
    ("mp4", "alac", 48_000, "stereo", 1e-3),
    ("mp4", "alac", 48_000, "7.1(wide)", 1e-3),
    ("mp4", "aac", 48_000, "7.1", 0.15),
    ("flac", "flac", 48_000, "7.1", 1e-3),
    ("wav", "pcm_s16le", 48_000, "hexadecagonal", 1e-3),
    ("matroska", "aac", 48_000, "5.1", 0.15),
    ("webm", "libopus", 48_000, "stereo", 0.1),
    ("avi", "pcm_s16le", 16_000, "mono", 1e-3),
    ("mpegts", "mp2", 48_000, "stereo", 0.05),
    ("adts", "aac", 44_100, "stereo", 0.05),
]
# Formats that give up their encoder's delay as leading samples: no container undoes it.
DELAYED = {("adts", "aac"), ("mpegts", "mp2"), ("matroska", "aac")}


def reference(seconds=1.0, rate_hz=16_000):
    return 0.4 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate_hz)) / rate_hz)


def best_error(sound, expected, reach):
    """The largest error in the middle, at the best shift of up to `reach` samples."""
    middle = expected[4_000:10_000]
    windows = np.lib.stride_tricks.sliding_window_view(
        sound[4_000 - min(reach, 4_000) : 10_000 + reach], len(middle)
    )
    return np.abs(windows - middle).max(axis=1).min()


@pytest.mark.parametrize("file", FILES, ids=lambda file: "-".join(map(str, file[:4])))
def test_containers_and_codecs(make_audio, tmp_path, file):
    form, codec, rate_hz, layout, allowed = file
    data = make_audio(form, codec, rate_hz, layout)
    path = tmp_path / "mislabelled.mp3"
    path.write_bytes(data)
    sound = load_audio(path)
    assert sound.dtype == np.float32
    assert sound.ndim == 1
    assert np.abs(sound).max() <= 1.0
    delayed = (form, codec) in DELAYED
    assert abs(len(sound) - 16_000) < (1_600 if delayed or allowed > 0.01 else 3)
    assert best_error(sound, reference(), 1_200 if delayed else 2) < allowed
    np.testing.assert_array_equal(load_audio(data), sound)


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_the_rate_asked_for(make_audio, rate_hz):
    sound = load_audio(make_audio("wav", "pcm_f32le", 44_100), sample_rate_hz=rate_hz)
    assert abs(len(sound) - rate_hz) <= 1
    expected = reference(1.0, rate_hz)
    middle = slice(rate_hz // 10, -rate_hz // 10)
    assert np.abs(sound[: len(expected)][middle] - expected[middle]).max() < 1e-3


def test_a_rate_that_cannot_be_asked_for(make_audio):
    with pytest.raises(ValueError, match="sample_rate_hz must be"):
        load_audio(make_audio(), sample_rate_hz=0)


def test_raw_g722_is_known_by_its_ending_alone(make_audio, tmp_path):
    path = tmp_path / "prompt.G722"
    path.write_bytes(make_audio("g722", "g722"))
    sound = load_audio(path)
    assert len(sound) == 16_000
    assert best_error(sound, reference(), 60) < 0.05
    wav = tmp_path / "wav.g722"
    wav.write_bytes(make_audio())
    assert len(load_audio(wav)) == 16_000
    assert best_error(load_audio(wav), reference(), 2) < 1e-3


def test_channels_are_averaged():
    left, right = np.full(100, 0.5, np.float32), np.full(100, -0.1, np.float32)
    np.testing.assert_allclose(load_audio(np.stack([left, right])), 0.2, rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "scale", "offset"),
    [
        ("int16", 2**15, 0),
        ("int32", 2**31, 0),
        ("uint8", 128, 128),
        ("float64", 1, 0),
        ("float16", 1, 0),
    ],
)
def test_arrays_are_scaled(dtype, scale, offset):
    array = (np.array([0.0, 0.5, -0.5, -1.0]) * scale + offset).astype(dtype)
    np.testing.assert_allclose(load_audio(array), [0, 0.5, -0.5, -1.0], atol=1e-6)


def test_a_pair_and_a_waveform_carry_their_rate():
    samples = reference(1.0, 48_000).astype(np.float32)
    from_pair = load_audio((samples, 48_000))
    assert len(from_pair) == 16_000
    np.testing.assert_array_equal(from_pair, load_audio(Waveform(samples, 48_000)))
    np.testing.assert_array_equal(load_audio(samples, sample_rate_hz=16_000), samples)


@pytest.mark.parametrize(
    ("source", "fault", "words"),
    [
        (np.array([0.0, np.nan]), errors.MediaDecodeError, "not finite"),
        (np.array([0.0, np.inf]), errors.MediaDecodeError, "not finite"),
        (np.array([0.0, 3000.0]), errors.MediaDecodeError, "within"),
        (np.zeros((100, 3)), errors.MediaDecodeError, "channels, samples"),
        (np.zeros((2, 3, 4)), errors.MediaDecodeError, "channels, samples"),
        (np.zeros(5, complex), errors.MediaDecodeError, "complex128"),
        (np.zeros(5, bool), errors.MediaDecodeError, "bool"),
        (np.zeros(0, np.float32), errors.MediaEmptyError, "no audio samples"),
        ((np.zeros(5), 0), errors.MediaDecodeError, "sample rate"),
        ((np.zeros(5), 44_100.5), errors.MediaDecodeError, "sample rate"),
        ((np.zeros(5), "fast"), errors.MediaDecodeError, "sample rate"),
        ((np.zeros(5), float("nan")), errors.MediaDecodeError, "sample rate"),
        ((44_100, np.zeros(5)), errors.MediaDecodeError, "samples, sample_rate_hz"),
        ((np.zeros(16_000 * 61), 100), errors.MediaTooLargeError, "9,760 s"),
    ],
)
def test_arrays_that_cannot_be_used(source, fault, words):
    with pytest.raises(fault, match=words):
        load_audio(source)


def test_silence_is_no_error(make_audio):
    assert not load_audio(np.zeros(100, np.float32)).any()


def wav(data: bytes, *, rate_hz=16_000, promised=None, channels=1, tag=1, bits=16) -> bytes:
    promised = len(data) if promised is None else promised
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * block & 0xFFFFFFFF, block, bits)
    body = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", promised) + data
    return b"RIFF" + struct.pack("<I", min(28 + promised, 2**32 - 1)) + body


def test_three_hours_are_refused_in_one_line_that_says_both(tmp_path):
    path = tmp_path / "lecture.wav"
    header = wav(b"", rate_hz=8_000, promised=3 * 3600 * 16_000)
    with path.open("wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + 3 * 3600 * 16_000)  # sparse: costs no disk
    with pytest.raises(errors.MediaTooLargeError) as caught:
        load_audio(path)
    assert str(caught.value).endswith("lecture.wav' lasts 10,800 s; the limit is 3,600 s")


def test_the_limit_holds_while_decoding_when_the_header_lies(make_audio):
    flac = bytearray(make_audio("flac", "flac", seconds=3.0))
    flac[8 + 13] &= 0xF0  # the sample count is 36 bits; here "unknown"
    flac[8 + 14 : 8 + 18] = bytes(4)
    with pytest.raises(errors.MediaTooLargeError, match="beyond the limit of 2 s"):
        load_audio(bytes(flac), limits=Limits(max_seconds=2))
    assert len(load_audio(bytes(flac), limits=Limits(max_seconds=3.01))) == 48_000
    piped = wav(bytes(96_000), promised=0xFFFFFFFF)
    with pytest.raises(errors.MediaTooLargeError, match="the limit is 2 s"):
        load_audio(piped, limits=Limits(max_seconds=2))


def test_a_guessed_duration_is_not_trusted_to_refuse(make_audio):
    adts = make_audio("adts", "aac", 44_100, seconds=2.0)
    assert len(load_audio(adts, limits=Limits(max_seconds=2.1))) > 31_000


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        *(("wav", "pcm_s16le"), ("wav", "pcm_f32le"), ("aiff", "pcm_s16be"), ("flac", "flac")),
        *(("ogg", "libopus"), ("ogg", "vorbis"), ("mp4", "aac"), ("matroska", "aac")),
        *(("webm", "libopus"), ("avi", "pcm_s16le")),
    ],
)
@pytest.mark.parametrize("part", [0.35, 0.6, 0.95])
def test_truncation_is_seen(make_audio, form, codec, part):
    data = make_audio(form, codec, 48_000, "stereo")
    with pytest.raises(errors.MediaTruncatedError, match=r"^audio \([\d,]+ bytes\) is cut short: "):
        load_audio(data[: int(len(data) * part)])


def test_an_mp4_without_its_index(make_audio):
    data = make_audio("mp4", "aac")
    with pytest.raises(errors.MediaTruncatedError, match="moov"):
        load_audio(data[: data.rindex(b"moov") - 4])


def test_a_cut_mp3_is_a_shorter_mp3(make_audio):
    data = make_audio("mp3", "libmp3lame", seconds=2.0)
    assert 0.8 * 16_000 < len(load_audio(data[: len(data) // 2])) < 1.2 * 16_000


def test_a_wav_from_a_pipe_promises_nothing():
    for promised in (0xFFFFFFFF, 0x7FFFFFFF, 0x7FFF0000):
        assert len(load_audio(wav(bytes(32_000), promised=promised))) == 16_000


def test_no_audio_stream(make_video, tmp_path):
    path = tmp_path / "silent.mp4"
    path.write_bytes(make_video([0] * 5))
    with pytest.raises(errors.MediaStreamMissingError, match=r"silent.mp4' has no audio stream$"):
        load_audio(path)


def test_the_sound_of_a_video(make_video):
    sound = load_audio(make_video([0] * 25, audio="aac"))
    assert best_error(sound, reference(), 4) < 0.05


def test_headers_without_samples():
    for data in (wav(b""), wav(b"", bits=8)):
        with pytest.raises(errors.MediaEmptyError, match="no audio samples"):
            load_audio(data)


@pytest.mark.parametrize("rate_hz", [1, 99, 2**31 - 1])
def test_absurd_rates(rate_hz):
    with pytest.raises(errors.MediaError):
        load_audio(wav(bytes(200), rate_hz=rate_hz))


def test_samples_that_are_not_numbers():
    data = np.full(1000, np.nan, np.float32).tobytes()
    with pytest.raises(errors.MediaDecodeError, match="not finite"):
        load_audio(wav(data, tag=3, bits=32))


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"These are words and no sound.\n" * 300,
        random.Random(0).randbytes(50_000),
        bytes(50_000),
        b"RIFF" + bytes(100),
        b"OggS" + bytes(100),
        b"fLaC" + bytes(100),
        b"ID3" + bytes(100),
    ],
)
def test_what_is_no_sound(data, tmp_path):
    path = tmp_path / "x.mp3"
    path.write_bytes(data)
    with pytest.raises((errors.MediaDecodeError, errors.MediaTruncatedError)) as caught:
        load_audio(path)
    assert str(caught.value).startswith("audio file '")
    assert "\n" not in str(caught.value)


def test_a_playlist_opens_nothing(make_audio, tmp_path):
    """FFmpeg would follow it to other files, and to addresses inside the house."""
    (tmp_path / "secret.aac").write_bytes(make_audio("adts", "aac"))
    target = tmp_path / "secret.aac"
    for text in (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{target}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{target}'\n",
        f"ffconcat version 1.0\nfile 'file:{target}'\n",
    ):
        for name in ("list.m3u8", "list.ffconcat"):
            (tmp_path / name).write_text(text)
            with pytest.raises(errors.MediaError):
                load_audio(tmp_path / name)


@pytest.mark.parametrize(
    ("form", "codec"),
    [
        *(("wav", "pcm_f32le"), ("flac", "flac"), ("ogg", "libopus"), ("ogg", "vorbis")),
        *(("mp3", "libmp3lame"), ("mp4", "aac"), ("matroska", "aac"), ("adts", "aac")),
    ],
)
def test_damage_raises_media_errors_only(make_audio, form, codec):
    data, rng = make_audio(form, codec, 48_000, "stereo", 0.3), random.Random(form + codec)
    whole = load_audio(data)
    faults = []
    for turn in range(60):
        damaged = bytearray(data[: rng.randrange(1, len(data))] if turn % 3 == 0 else data)
        reach = len(damaged) if turn % 2 else min(len(damaged), 300)
        for _ in range(rng.randrange(1, 8)):
            damaged[rng.randrange(reach)] ^= 1 << rng.randrange(8)
        try:
            sound = load_audio(bytes(damaged), limits=Limits(max_seconds=60))
            assert np.isfinite(sound).all()
            assert np.abs(sound).max() <= 1
        except errors.MediaError as error:
            faults.append(str(error))
    assert faults
    assert not any("\n" in fault for fault in faults)
    np.testing.assert_array_equal(load_audio(data), whole)


def test_ffmpeg_keeps_quiet(make_audio, tmp_path):
    path = tmp_path / "damaged.mp3"
    data = bytearray(make_audio("mp3", "libmp3lame"))
    data[1000:1400] = bytes(400)
    path.write_bytes(data)
    code = "import sys; from unisono.media import load_audio; print(len(load_audio(sys.argv[1])))"
    run = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) > 10_000
    assert run.stderr == ""


RATES = st.sampled_from([8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000])


@given(from_hz=RATES, to_hz=RATES, part=st.floats(0.02, 0.8), phase=st.floats(0, 6.28))
@settings(max_examples=40, deadline=None)
def test_a_sine_below_nyquist_survives(from_hz, to_hz, part, phase):
    pitch_hz = part * min(from_hz, to_hz) / 2

    def sine(rate_hz):
        return np.sin(2 * np.pi * pitch_hz * np.arange(rate_hz) / rate_hz + phase)

    result, expected = resample(sine(from_hz).astype(np.float32), from_hz, to_hz), sine(to_hz)
    middle = slice(to_hz // 5, -to_hz // 5)
    assert len(result) == to_hz
    assert np.abs(result[middle] - expected[middle]).max() < 1e-3  # -60 dB


@given(from_hz=RATES, to_hz=RATES, length=st.integers(1, 30_000))
@settings(max_examples=40, deadline=None)
def test_the_length_follows_the_ratio(from_hz, to_hz, length):
    result = resample(np.ones(length, np.float32), from_hz, to_hz)
    assert abs(len(result) - round(length * to_hz / from_hz)) <= 1


@given(from_hz=RATES, to_hz=RATES, cuts=st.lists(st.integers(0, 5_000), max_size=8))
@settings(max_examples=40, deadline=None)
def test_chunks_equal_the_whole(from_hz, to_hz, cuts):
    noise = np.random.default_rng(len(cuts)).uniform(-1, 1, 5_000).astype(np.float32)
    resampler = Resampler(from_hz, to_hz)
    chunks = [resampler.push(chunk) for chunk in np.split(noise, sorted(cuts))]
    whole = resample(noise, from_hz, to_hz)
    np.testing.assert_allclose(np.concatenate([*chunks, resampler.flush()]), whole, atol=1e-6)
