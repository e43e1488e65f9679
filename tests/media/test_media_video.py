import io
import random

import numpy as np
import pytest
from PIL import Image

from unisono import errors
from unisono.media import Limits, load_video
from unisono.media.video import spread

RAMP = [10 + 6 * i for i in range(40)]  # the gray level tells a frame's number


def numbers_of(video):
    """Which frames of RAMP these are, told by their brightness."""
    return np.rint((video.frames.astype(float).mean(axis=(1, 2, 3)) - 10) / 6).tolist()


CODECS = [
    ("mp4", "libx264", {"bf": "3", "g": "12"}),
    ("mp4", "libx264", {"bf": "2", "x264-params": "open-gop=1"}),
    ("matroska", "libx264", {"bf": "3"}),
    ("avi", "mpeg4", {"bf": "2", "qmax": "2"}),
    ("mpegts", "mpeg2video", {"bf": "2", "qmax": "2"}),
    ("webm", "libvpx-vp9", {"auto-alt-ref": "1", "deadline": "realtime", "lag-in-frames": "16"}),
    ("webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16"}),
    ("avi", "mjpeg", {}),
]


@pytest.mark.parametrize(("form", "codec", "options"), CODECS)
@pytest.mark.parametrize("frames", [1, 7, 40, 64])
def test_the_frames_are_the_right_ones(make_video, form, codec, options, frames):
    video = load_video(make_video(RAMP, form=form, codec=codec, options=options), frames=frames)
    wanted = spread(40, frames)
    assert video.frames.dtype == np.uint8
    assert video.frames.shape == (min(frames, 40), 48, 64, 3)
    assert numbers_of(video) == wanted.tolist()
    np.testing.assert_allclose(video.times_s, 0.04 * wanted, atol=0.0011)
    assert video.duration_s == pytest.approx(1.6, abs=0.05)
    assert video.audio is None


def test_variable_frame_rate(make_video):
    times = [0, 10, 500, 520, 521, 3000, 3100, 7000]
    data = make_video(RAMP[:8], times, form="matroska", options={"bf": "2"})
    video = load_video(data, frames=4)
    assert spread(8, 4).tolist() == [0, 2, 4, 7]
    np.testing.assert_allclose(video.times_s, [0, 0.5, 0.521, 7.0], atol=0.002)
    assert numbers_of(video) == [0, 2, 4, 7]
    assert video.duration_s > 7.0


def test_times_begin_at_the_first_frame(make_video):
    times = [5000 + 40 * i for i in range(10)]
    video = load_video(make_video(RAMP[:10], times, form="matroska"), frames=10)
    np.testing.assert_allclose(video.times_s, 0.04 * np.arange(10), atol=0.002)


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_the_display_matrix_is_applied(make_video, rotation):
    def white_top(picture):
        picture[:24] = 255

    data = make_video([0] * 4, rotation=rotation, paint=white_top)
    frame = load_video(data, frames=1).frames[0].astype(float).mean(axis=2)
    upright = np.zeros((48, 64))
    upright[:24] = 255
    expected = np.rot90(upright, rotation // 90)  # counter-clockwise, like FFmpeg's angle
    assert frame.shape == expected.shape
    assert np.abs(frame - expected).mean() < 8


def test_a_frame_without_a_count_in_the_header(make_video):
    data = make_video(RAMP, form="mpegts", codec="mpeg2video")
    assert numbers_of(load_video(data, frames=5)) == [0, 9, 19, 29, 39]


def test_spread_never_repeats():
    for count in range(1, 90):
        for frames in (1, 2, 8, 64):
            picks = spread(count, frames)
            assert len(set(picks.tolist())) == len(picks) == min(count, frames)
            assert picks[0] == 0
            assert frames == 1 or picks[-1] == count - 1


@pytest.mark.parametrize(
    ("form", "codec", "audio"),
    [("mp4", "libx264", "aac"), ("webm", "libvpx", "libopus"), ("matroska", "libx264", "flac")],
)
def test_the_sound_comes_along(make_video, form, codec, audio):
    data = make_video(RAMP[:25], form=form, codec=codec, audio=audio)
    video = load_video(data, frames=3)
    assert video.audio.dtype == np.float32
    assert abs(len(video.audio) - 16_000) < 800
    spectrum = np.abs(np.fft.rfft(video.audio[2_000:14_000]))
    assert np.argmax(spectrum) * 16_000 / 12_000 == pytest.approx(440, abs=3)
    assert load_video(data, frames=3, with_audio=False).audio is None


def test_colours_are_rgb(make_video):
    def red(picture):
        picture[:] = (255, 0, 0)

    mean = load_video(make_video([0] * 3, paint=red)).frames.mean(axis=(0, 1, 2))
    assert np.abs(mean - (255, 0, 0)).max() < 8


def test_limits(make_video):
    data = make_video(RAMP)
    for limits, words in [
        (Limits(max_seconds=0.9), "lasts 1.6 s; the limit is 0.9 s"),
        (Limits(max_frame_pixels=64 * 48 - 1), "64 × 48 = 3,072 pixels"),
        (Limits(max_clip_pixels=64 * 48 * 5), "take fewer frames"),
        (Limits(max_bytes=100), "bytes; the limit is 100"),
    ]:
        with pytest.raises(errors.MediaTooLargeError, match=words):
            load_video(data, frames=6, limits=limits)
    enough = Limits(max_seconds=1.61, max_frame_pixels=64 * 48, max_clip_pixels=64 * 48 * 6)
    assert len(load_video(data, frames=6, limits=enough).frames) == 6


def test_seconds_are_counted_when_the_header_has_none(make_video):
    data = make_video(RAMP, form="mpegts", codec="mpeg2video")
    with pytest.raises(errors.MediaTooLargeError, match=r"beyond the limit of 1\.5 s"):
        load_video(data, limits=Limits(max_seconds=1.5))


def test_no_video_stream(make_audio):
    for form, codec in [("wav", "pcm_s16le"), ("mp4", "aac")]:
        with pytest.raises(errors.MediaStreamMissingError, match="has no video stream"):
            load_video(make_audio(form, codec))


def test_frames_must_be_asked_for(make_video):
    with pytest.raises(ValueError, match="at least 1"):
        load_video(make_video(RAMP[:3]), frames=0)


@pytest.mark.parametrize("form", ["mp4", "matroska", "avi"])
def test_truncation_is_seen(make_video, form):
    data = make_video(RAMP, form=form)
    with pytest.raises(errors.MediaTruncatedError, match="cut short"):
        load_video(data[: int(len(data) * 0.7)])


@pytest.mark.parametrize("data", [b"no video " * 99, random.Random(1).randbytes(9_000)])
def test_what_is_no_video(data):
    with pytest.raises(errors.MediaDecodeError, match=r"^video \("):
        load_video(data)


@pytest.mark.parametrize(
    ("form", "codec"),
    [("mp4", "libx264"), ("webm", "libvpx"), ("mpegts", "mpeg2video"), ("avi", "mpeg4")],
)
def test_damage_raises_media_errors_only(make_video, form, codec):
    data, rng = make_video(RAMP[:20], form=form, codec=codec), random.Random(form)
    faults = []
    for turn in range(40):
        damaged = bytearray(data[: rng.randrange(1, len(data))] if turn % 3 == 0 else data)
        for _ in range(rng.randrange(1, 10)):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        try:
            video = load_video(bytes(damaged), frames=5, limits=Limits(max_seconds=60))
            assert len(video.frames) == len(video.times_s) > 0
            assert np.isfinite(video.times_s).all()
        except errors.MediaError as error:
            faults.append(str(error))
    assert faults
    assert not any("\n" in fault for fault in faults)
    assert len(load_video(data, frames=5).frames) == 5


def picture(shade: int, size: tuple[int, int] = (32, 24)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


def test_a_video_may_be_its_frames():
    video = load_video([picture(10 * i) for i in range(9)], frames=5)
    assert video.frames.shape == (5, 24, 32, 3)
    assert video.frames[:, 0, 0, 0].tolist() == [0, 20, 40, 60, 80]
    assert video.times_s.tolist() == [0, 2, 4, 6, 8]
    assert (video.duration_s, video.audio) == (9.0, None)


def test_frames_of_other_sizes_take_the_first_ones():
    video = load_video([picture(5), picture(200, (64, 64))])
    assert video.frames.shape == (2, 24, 32, 3)
    assert video.frames[1].mean() == pytest.approx(200)


def test_frames_that_are_none():
    with pytest.raises(errors.MediaEmptyError, match="no frames"):
        load_video([])
    with pytest.raises(errors.MediaDecodeError):
        load_video([picture(1), b"no picture"])
    with pytest.raises(errors.MediaTooLargeError, match="take fewer frames"):
        load_video([picture(1)] * 3, limits=Limits(max_clip_pixels=32 * 24 * 2))
