"""Notes on a soundfont: the pitch, the time and the length asked for, each from silence."""

import importlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.picturebook import tiny_soundfont as tiny
from unisono.errors import DataError, MissingExtraError
from unisono.media import SAMPLE_RATE_HZ
from unisono.picturebook import soundfont
from unisono.picturebook.melodies import Note, Piece
from unisono.picturebook.soundfont import midi, play, unpack_sf3


def _piece(*notes: Note, duration_s: float = 2.0) -> Piece:
    return Piece(program=0, drums=False, notes=notes, duration_s=duration_s, room=0)


def _loudest_hz(sound: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE_HZ)[spectrum.argmax()])


def _loud(sound: np.ndarray, from_s: float, to_s: float) -> float:
    return float(np.abs(sound[int(from_s * SAMPLE_RATE_HZ) : int(to_s * SAMPLE_RATE_HZ)]).max())


@pytest.mark.parametrize("compressed", [False, True])
def test_pieces_sound_at_their_pitch_in_their_time_and_not_in_the_next(compressed: bool) -> None:
    pytest.importorskip("midirenderer")
    font = tiny.tiny_soundfont(compressed=compressed)
    font = unpack_sf3(font) if compressed else font
    pieces = [
        _piece(Note(0.5, 1.0, tiny.ROOT_PITCH, 110)),
        _piece(Note(0.2, 2.6, tiny.ROOT_PITCH + 12, 110), duration_s=3.0),
        _piece(duration_s=2.5),
    ]
    low, high, nothing = play(font, pieces)
    assert [len(sound) for sound in (low, high, nothing)] == [32_000, 48_000, 40_000]
    assert _loudest_hz(low) == pytest.approx(tiny.SAMPLE_HZ, rel=0.02)
    assert _loudest_hz(high) == pytest.approx(2 * tiny.SAMPLE_HZ, rel=0.02)
    assert _loud(low, 0.0, 0.45) < 0.01 * _loud(low, 0.6, 1.4)
    assert _loud(high, 2.0, 2.7) > 0.5 * _loud(high, 0.3, 1.0)  # it loops: 0.4 s is all there is
    assert _loud(nothing, 0.0, 2.5) < 0.01 * _loud(high, 0.3, 1.0)


def test_the_same_pieces_sound_the_same_again_and_alone() -> None:
    pytest.importorskip("midirenderer")
    font = tiny.tiny_soundfont()
    pieces = [_piece(Note(0.1, 1.0, pitch, 100)) for pitch in (60, 67)]
    both, again = play(font, pieces), play(font, pieces)
    np.testing.assert_array_equal(both[1], again[1])
    np.testing.assert_allclose(both[0], play(font, pieces[:1])[0], atol=1e-4)


def test_unpacked_samples_loops_and_ends_are_where_they_were() -> None:
    unpacked, plain = unpack_sf3(tiny.tiny_soundfont(compressed=True)), tiny.tiny_soundfont()
    for name in (b"phdr", b"pbag", b"pgen", b"inst", b"igen", b"shdr"):
        assert _chunk_of(unpacked, name) == _chunk_of(plain, name)
    points = np.frombuffer(_chunk_of(unpacked, b"smpl"), "<i2")[: tiny.POINTS].astype(int)
    assert np.abs(points - tiny.sine()).max() <= 1
    assert _chunk_of(unpacked, b"ifil")[:2] == b"\x02\x00"


def test_a_list_of_odd_length_may_lack_what_evens_it() -> None:
    """As in MuseScore's files."""
    whole = tiny.tiny_soundfont(compressed=True)
    samples = _chunk_of(whole, b"smpl")
    # FLAC decoders pass over what follows the last frame.
    packed = samples + b"\x00" * (1 - len(samples) % 2)
    old = b"LIST" + struct.pack("<I", 4 + 8 + len(samples) + len(samples) % 2) + b"sdtasmpl"
    start = whole.index(old)
    after = start + 8 + 4 + 8 + len(samples) + len(samples) % 2
    new = b"LIST" + struct.pack("<I", 12 + len(packed)) + b"sdtasmpl"
    bare = whole[:start] + new + struct.pack("<I", len(packed)) + packed + whole[after:]
    assert _chunk_of(unpack_sf3(bare), b"shdr") == _chunk_of(unpack_sf3(whole), b"shdr")


@pytest.mark.parametrize("data", [b"", b"RIFF\x04\0\0\0WAVE", b"RIFF\x04\0\0\0sfbk"])
def test_what_is_no_soundfont_is_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="soundfont"):
        unpack_sf3(data)


def test_a_broken_soundfont_is_refused_by_the_player() -> None:
    pytest.importorskip("midirenderer")
    with pytest.raises(DataError, match="cannot be played"):
        play(tiny.tiny_soundfont()[:100], [_piece(Note(0.1, 1.0, 60, 100))])


def test_without_the_synthesizer_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"unisono\[picturebook\]"):
        play(tiny.tiny_soundfont(), [_piece(Note(0.1, 1.0, 60, 100))])


def test_a_score_in_midi_says_when_and_what() -> None:
    """Read back by hand: 1000 ticks a second."""
    piece = Piece(56, False, (Note(0.25, 0.5, 60, 90), Note(0.75, 0.5, 64, 80)), 2.0, room=33)
    track = midi([piece, Piece(9, True, (Note(0.0, 0.1, 38, 70),), 2.0)])[22:]
    timed, at, now = [], 0, 0
    while at < len(track):
        delta = 0
        while True:
            delta, more, at = delta << 7 | track[at] & 127, track[at] & 128, at + 1
            if not more:
                break
        now += delta
        size = {0xFF: 3 + track[at + 2], 0xC0: 2}.get(
            track[at] & (0xFF if track[at] > 0xF0 else 0xF0), 3
        )
        timed.append((now, tuple(track[at : at + size])))
        at += size
    assert timed[1:] == [
        (0, (0xC0, 56)), (0, (0xB0, 91, 33)),
        (250, (0x90, 60, 90)), (750, (0x80, 60, 0)), (750, (0x90, 64, 80)), (1250, (0x80, 64, 0)),
        (2000, (0xB0, 120, 0)),
        (3000, (0xC9, 0)), (3000, (0xB9, 91, 40)),
        (3000, (0x99, 38, 70)), (3100, (0x89, 38, 0)), (5000, (0xB9, 120, 0)),
        (6000, (0xB0, 120, 0)), (6000, (0xFF, 0x2F, 0)),
    ]  # fmt: skip


@given(st.integers(0, 2**28 - 1))
def test_numbers_of_variable_length_read_back(number: int) -> None:
    digits = soundfont._variable_length(number)
    assert [digit >> 7 for digit in digits] == [1] * (len(digits) - 1) + [0]
    assert sum((digit & 127) << 7 * place for place, digit in enumerate(digits[::-1])) == number


def _chunk_of(data: bytes, name: bytes) -> bytes:
    at = data.index(name) + 4
    return data[at + 4 : at + 4 + int.from_bytes(data[at : at + 4], "little")]
