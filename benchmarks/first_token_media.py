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
        add_sound(container, "pcm_s16le", samples)


def write_video(path: Path, frames: list[Image.Image]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=FRAME_RATE)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
        add_sound(container, "aac", melody(np.random.default_rng(1), FRAMES / FRAME_RATE))


def add_sound(container: av.container.OutputContainer, codec: str, samples: np.ndarray) -> None:
    stream = container.add_stream(codec, rate=RATE_HZ, layout="mono")
    pcm = (samples * 32767).astype(np.int16)[None]
    frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
    frame.sample_rate = RATE_HZ
    resampler = av.AudioResampler(stream.format, "mono", RATE_HZ, frame_size=1024)
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(stream.encode(piece))
    container.mux(stream.encode())
