"""What first_token.py asks about: a picture, a video with sound, ten minutes of sound."""

from pathlib import Path

import av
import numpy as np
from PIL import Image

RATE_HZ = 16_000
FRAMES, FRAME_RATE = 64, 8


def make(folder: Path) -> dict[str, Path]:
    """Write the files; the same every time."""
    random = np.random.default_rng(0)
    paths = {
        "image": folder / "image.jpg",
        "video": folder / "video.mp4",
        "audio": folder / "audio.wav",
    }
    scene(random, (640, 480)).save(paths["image"], quality=90)
    write_video(paths["video"], [scene(random, (320, 240)) for _ in range(FRAMES)])
    write_sound(paths["audio"], melody(random, 600.0))
    return paths


def scene(random: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Soft blots of colour."""
    blots = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    return blots.resize(size, Image.Resampling.BICUBIC)


def melody(random: np.random.Generator, seconds: float) -> np.ndarray:
    """[T] float32: a new tone each half second, over noise."""
    tones = random.uniform(100, 2000, int(2 * seconds))
    phase = np.cumsum(np.repeat(tones, RATE_HZ // 2)) / RATE_HZ
    noise = random.normal(0, 0.02, len(phase))
    return (0.3 * np.sin(2 * np.pi * phase) + noise).astype(np.float32)


def write_sound(path: Path, samples: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        encode_sound(container, container.add_stream("pcm_s16le", RATE_HZ, layout="mono"), samples)


def write_video(path: Path, frames: list[Image.Image]) -> None:
    with av.open(str(path), "w") as container:
        moving = container.add_stream("h264", rate=FRAME_RATE)
        sounding = container.add_stream("aac", RATE_HZ, layout="mono")
        moving.width, moving.height = frames[0].size
        moving.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(moving.encode(av.VideoFrame.from_image(frame)))
        container.mux(moving.encode())
        sound = melody(np.random.default_rng(1), FRAMES / FRAME_RATE)
        encode_sound(container, sounding, sound)


def encode_sound(
    container: av.container.OutputContainer, stream: av.AudioStream, samples: np.ndarray
) -> None:
    stream.codec_context.open(strict=False)
    frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate, frame.pts = RATE_HZ, 0
    resampler = av.AudioResampler(
        stream.codec_context.format.name, "mono", RATE_HZ, stream.codec_context.frame_size or 1024
    )
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode())
