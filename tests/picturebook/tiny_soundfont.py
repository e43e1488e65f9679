"""A soundfont with one sound, a sine that loops, on program 0: SoundFont 2 or 3."""

import io
import struct

import av
import numpy as np

RATE_HZ = 32_000
SAMPLE_HZ = 500.0  # 64 points a period
POINTS = 12_800
LOOP = (6_400, 12_736)
ROOT_PITCH = 71  # B4, 493.9 Hz; near enough to 500
_SAMPLE_ID, _SAMPLE_MODES, _INSTRUMENT = 53, 54, 41
_COMPRESSED = 0x10


def sine() -> np.ndarray:
    """[T] int16, half of full scale."""
    return np.round(16_384 * np.sin(2 * np.pi * SAMPLE_HZ * np.arange(POINTS) / RATE_HZ)).astype(
        "<i2"
    )


def tiny_soundfont(*, compressed: bool = False) -> bytes:
    """The file's bytes; compressed samples are FLAC, which loses nothing (MuseScore's: Vorbis)."""
    points = _flac(sine()) if compressed else sine().tobytes() + bytes(2 * 46)
    end = len(points) if compressed else POINTS
    shape = (0, end, *LOOP, RATE_HZ, ROOT_PITCH, 0, 0, 1 | (_COMPRESSED if compressed else 0))
    chunks = {
        b"phdr": _header(b"sine", 0, 0, 0) + _header(b"EOP", 0, 0, 1),
        b"pbag": struct.pack("<4H", 0, 0, 1, 0),
        b"pmod": bytes(10),
        b"pgen": struct.pack("<2H", _INSTRUMENT, 0) + bytes(4),
        b"inst": struct.pack("<20sH", b"sine", 0) + struct.pack("<20sH", b"EOI", 1),
        b"ibag": struct.pack("<4H", 0, 0, 2, 0),
        b"imod": bytes(10),
        b"igen": struct.pack("<4H", _SAMPLE_MODES, 1, _SAMPLE_ID, 0) + bytes(4),
        b"shdr": struct.pack("<20s5IBbHH", b"sine", *shape) + struct.pack("<20s26x", b"EOS"),
    }
    info = _chunk(b"ifil", struct.pack("<2H", 3 if compressed else 2, 1))
    info += _chunk(b"isng", b"EMU8000\0") + _chunk(b"INAM", b"tiny")
    body = _chunk(b"LIST", b"INFO" + info)
    body += _chunk(b"LIST", b"sdta" + _chunk(b"smpl", points))
    hydra = b"".join(_chunk(name, data) for name, data in chunks.items())
    return _chunk(b"RIFF", b"sfbk" + body + _chunk(b"LIST", b"pdta" + hydra))


def _header(name: bytes, program: int, bank: int, bag: int) -> bytes:
    return struct.pack("<20s3H12x", name, program, bank, bag)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _flac(points: np.ndarray) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=RATE_HZ, layout="mono", format="s16")
        frame = av.AudioFrame.from_ndarray(points[None], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
