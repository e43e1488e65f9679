"""Notes played on the instruments of a General MIDI soundfont: 16 kHz mono samples.

Pieces are played one after the other from one MIDI file, because a soundfont is read anew for
each; silence between them lets the room's echo die. Equal notes give equal samples.

Knows SoundFont 2 and, by unpacking it, SoundFont 3 (MuseScore's: samples in Ogg Vorbis, their
place in bytes, loops counted from a sample's own start). What is played is melodies.py's affair.
"""

import importlib
import io
import struct
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unisono.errors import DataError, MissingExtraError
from unisono.media import SAMPLE_RATE_HZ, load_audio, resample
from unisono.picturebook.melodies import Piece
from unisono.picturebook.packages import members

Samples = NDArray[np.float32]  # [T], mono, in [-1, 1]

_TICKS_PER_S = 1000
_GAP_S = 1.0
_MELODIC_CHANNEL, _DRUM_CHANNEL = 0, 9
_NOTE_OFF, _NOTE_ON, _CONTROL, _PROGRAM = 0x80, 0x90, 0xB0, 0xC0
_ROOM, _ALL_SOUND_OFF = 91, 120
_COMPRESSED = 0x10  # of a sample's type, SoundFont 3
_SAMPLE_HEADER = struct.Struct("<20s5IBbHH")
_ZEROS_BETWEEN = 46  # 16-bit points after every sample, which SoundFont 2 asks for


@dataclass(frozen=True)
class _SampleHeader:
    name: bytes
    start: int
    end: int
    loop_start: int
    loop_end: int
    rate_hz: int
    pitch: int
    cents: int
    link: int
    type: int

    def packed(self) -> bytes:
        numbers = (self.start, self.end, self.loop_start, self.loop_end, self.rate_hz)
        return _SAMPLE_HEADER.pack(
            self.name, *numbers, self.pitch, self.cents, self.link, self.type
        )


def load_soundfont(part: str) -> bytes:
    """The soundfont in one of the picturebook's packages, as SoundFont 2.

    Raises:
        DataError: the package has none.
        HubError: the package cannot be had.
    """
    suffixes = (".sf2", ".sf3")
    for name, data in members(part, lambda name: name.endswith(suffixes)):
        return unpack_sf3(data) if name.endswith(".sf3") else data
    raise DataError(f"package '{part}' has no soundfont")


def play(soundfont: bytes, pieces: Sequence[Piece]) -> list[Samples]:
    """Play pieces, each from silence.

    Args:
        soundfont: SoundFont 2.

    Returns:
        [T] for each piece, T its duration at 16 kHz.

    Raises:
        MissingExtraError: the synthesizer is not installed.
        DataError: the soundfont is broken.
    """
    sound = _rendered(soundfont, midi(pieces))
    cut, start_s = [], 0.0
    for piece in pieces:
        first = round(start_s * SAMPLE_RATE_HZ)
        cut.append(sound[first : first + round(piece.duration_s * SAMPLE_RATE_HZ)])
        start_s += piece.duration_s + _GAP_S
    return cut


def _rendered(soundfont: bytes, score: bytes) -> Samples:
    try:
        synthesizer: Any = importlib.import_module("midirenderer")
    except ImportError:
        raise MissingExtraError("midirenderer", "picturebook") from None
    try:
        encoded = synthesizer.render_wave_from(soundfont, score)
    except RuntimeError as error:
        raise DataError(f"the soundfont cannot be played: {error}") from None
    with wave.open(io.BytesIO(encoded)) as file:
        frames = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        stereo = frames.reshape(-1, file.getnchannels()).astype(np.float32) / 2**15
        return resample(stereo.mean(axis=1), file.getframerate(), SAMPLE_RATE_HZ)


def midi(pieces: Sequence[Piece]) -> bytes:
    """A standard MIDI file, one track, a second of silence after every piece."""
    track = b"\x00\xff\x51\x03" + (1_000_000).to_bytes(3)  # a quarter note is a second
    last = 0
    for tick, message in _timed(pieces):
        track += _variable_length(tick - last) + message
        last = tick
    track += b"\x00\xff\x2f\x00"
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, _TICKS_PER_S)
    return header + b"MTrk" + struct.pack(">I", len(track)) + track


def _timed(pieces: Sequence[Piece]) -> Iterator[tuple[int, bytes]]:
    start_s = 0.0
    for piece in pieces:
        yield from _messages(piece, start_s)
        start_s += piece.duration_s + _GAP_S
    yield round(start_s * _TICKS_PER_S), bytes((_CONTROL, _ALL_SOUND_OFF, 0))


def _messages(piece: Piece, start_s: float) -> Iterator[tuple[int, bytes]]:
    """What a piece sends, in order; notes end before others begin at the same time."""
    channel = _DRUM_CHANNEL if piece.drums else _MELODIC_CHANNEL
    begin = round(start_s * _TICKS_PER_S)
    yield begin, bytes((_PROGRAM | channel, 0 if piece.drums else piece.program))
    yield begin, bytes((_CONTROL | channel, _ROOM, piece.room))
    events = []
    for note in piece.notes:
        on_s, off_s = start_s + note.start_s, start_s + note.start_s + note.duration_s
        events.append((round(on_s * _TICKS_PER_S), 1, note.pitch, note.velocity))
        events.append((round(off_s * _TICKS_PER_S), 0, note.pitch, 0))
    for tick, on, pitch, velocity in sorted(events):
        yield tick, bytes(((_NOTE_ON if on else _NOTE_OFF) | channel, pitch, velocity))
    end = round((start_s + piece.duration_s) * _TICKS_PER_S)
    yield (
        max([end, *(event[0] for event in events)]),
        bytes((_CONTROL | channel, _ALL_SOUND_OFF, 0)),
    )


def _variable_length(number: int) -> bytes:
    """MIDI's own: seven bits a byte, all but the last marked."""
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(0x80 | number & 0x7F)
    return bytes(reversed(digits))


def unpack_sf3(data: bytes) -> bytes:
    """SoundFont 3 as SoundFont 2: samples decoded, everything else as it was.

    Raises:
        DataError: it is no soundfont.
        MediaError: a sample cannot be decoded.
    """
    if data[:4] != b"RIFF" or data[8:12] != b"sfbk":
        raise DataError("not a soundfont: it does not begin with 'RIFF' and 'sfbk'")
    lists = {body[:4]: dict(_chunks(body[4:])) for _, body in _chunks(data[12:])}
    try:
        info, sounds, hydra = lists[b"INFO"], lists[b"sdta"], lists[b"pdta"]
        points, headers = _decoded(sounds[b"smpl"], hydra[b"shdr"])
    except (KeyError, struct.error) as error:
        raise DataError(f"the soundfont is broken: {error}") from None
    info[b"ifil"] = struct.pack("<HH", 2, 4)
    body = b"".join(
        _chunk(b"LIST", name + b"".join(_chunk(*one) for one in chunks.items()))
        for name, chunks in (
            (b"INFO", info),
            (b"sdta", {b"smpl": points}),
            (b"pdta", hydra | {b"shdr": headers}),
        )
    )
    return _chunk(b"RIFF", b"sfbk" + body)


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size
        yield name, data[at - size : at]
        if size % 2 and data[at : at + 1] == b"\0":  # MuseScore leaves out what evens a chunk
            at += 1


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def _decoded(packed: bytes, headers: bytes) -> tuple[bytes, bytes]:
    """Samples as 16-bit points, and the headers that find them there."""
    points: list[bytes] = []
    found, at = [], 0
    for fields in _SAMPLE_HEADER.iter_unpack(headers):
        old = _SampleHeader(*fields)
        data, loop_from = _points(packed, old)
        if not data:  # the record that ends the list
            found.append(old.packed())
            continue
        found.append(_moved(old, at, len(data) // 2, loop_from).packed())
        points += [data, bytes(2 * _ZEROS_BETWEEN)]
        at += len(data) // 2 + _ZEROS_BETWEEN
    return b"".join(points), b"".join(found)


def _points(packed: bytes, header: _SampleHeader) -> tuple[bytes, int]:
    """A sample's 16-bit points, and what its loop is counted from."""
    if header.end <= header.start:
        return b"", 0
    if not header.type & _COMPRESSED:
        return packed[2 * header.start : 2 * header.end], header.start
    sound = load_audio(packed[header.start : header.end], sample_rate_hz=header.rate_hz)
    return np.round(sound * 32767).astype("<i2").tobytes(), 0


def _moved(old: _SampleHeader, at: int, length: int, loop_from: int) -> _SampleHeader:
    return _SampleHeader(
        name=old.name,
        start=at,
        end=at + length,
        loop_start=at + old.loop_start - loop_from,
        loop_end=at + old.loop_end - loop_from,
        rate_hz=old.rate_hz,
        pitch=old.pitch,
        cents=old.cents,
        link=old.link,
        type=old.type & ~_COMPRESSED,
    )
