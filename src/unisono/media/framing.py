"""What a file's outermost framing promises about its length.

FFmpeg and Pillow often read a file that was cut short without a word. These few formats say
how long they are meant to be, so the cut can be seen from their outermost sizes alone.
A stream without such a promise (MP3, ADTS, MPEG-TS, G.722, a WAV written to a pipe, an Ogg
file cut exactly between two pages) cannot be told from a shorter recording.
"""

from typing import BinaryIO

_OPEN_ENDED = 0x7FFF0000  # writers to a pipe put 0x7FFFFFFF, 0xFFFFFFFF or near: "unknown"
_OGG_PAGE_MAX = 27 + 255 + 255 * 255
_MP4_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide")
_MATROSKA_SEGMENT = b"\x18\x53\x80\x67"


def cut_short(stream: BinaryIO, size_bytes: int) -> str | None:
    """Why the file is known to end too early ("…"), or None. Leaves `stream` at its start."""
    stream.seek(0)
    head = stream.read(64)
    reason = None
    if head[:4] in (b"RIFF", b"FORM"):
        reason = _riff(stream, head, size_bytes)
    elif head[:4] == b"OggS":
        reason = _ogg(stream, size_bytes)
    elif head[4:8] in _MP4_FIRST_BOXES:
        reason = _mp4(stream, size_bytes)
    elif head[:4] == b"\x1aE\xdf\xa3":
        reason = _matroska(head, size_bytes)
    elif head[:8] == b"\x89PNG\r\n\x1a\n" and b"IEND" not in _tail(stream, size_bytes, 4096):
        reason = "its end mark (IEND) is missing"
    elif head[:3] == b"\xff\xd8\xff" and b"\xff\xd9" not in _tail(stream, size_bytes, 4096):
        reason = "its end mark (EOI) is missing"
    stream.seek(0)
    return reason


def _promise(promised: int, size_bytes: int) -> str | None:
    if promised <= size_bytes:
        return None
    return f"it says it has {promised:,} bytes, but {size_bytes:,} are there"


def _tail(stream: BinaryIO, size_bytes: int, count: int) -> bytes:
    stream.seek(max(0, size_bytes - count))
    return stream.read(count)


def _riff(stream: BinaryIO, head: bytes, size_bytes: int) -> str | None:
    """WAV and AVI (little-endian sizes), AIFF (`FORM`, big-endian), WebP."""
    order = "big" if head[:4] == b"FORM" else "little"
    whole = int.from_bytes(head[4:8], order)  # type: ignore[arg-type]
    if head[8:12] == b"WAVE":
        # Some writers get the outer size wrong, none the data chunk's.
        position, length = _wave_data(stream, size_bytes)
        if position:
            return None if length >= _OPEN_ENDED else _promise(position + length, size_bytes)
    return None if whole >= _OPEN_ENDED else _promise(8 + whole, size_bytes)


def _wave_data(stream: BinaryIO, size_bytes: int) -> tuple[int, int]:
    """(position, length) of the samples in a WAV file; (0, 0) when there is no data chunk."""
    position = 12
    while position + 8 <= size_bytes:
        stream.seek(position)
        header = stream.read(8)
        length = int.from_bytes(header[4:8], "little")
        if header[:4] == b"data":
            return position + 8, length
        position += 8 + length + length % 2
    return 0, 0


def _ogg(stream: BinaryIO, size_bytes: int) -> str | None:
    """The last page's header lists its segments' sizes: they must fit into the file."""
    tail = _tail(stream, size_bytes, _OGG_PAGE_MAX)
    page = tail[tail.rfind(b"OggS") :] if b"OggS" in tail else b""
    if not page:
        return None
    lacing = page[27 : 27 + page[26]] if len(page) > 26 else b""
    if len(page) < 27 or len(lacing) < page[26] or len(page) < 27 + len(lacing) + sum(lacing):
        return "its last page is incomplete"
    return None


def _mp4(stream: BinaryIO, size_bytes: int) -> str | None:
    """ISO base media: the top-level boxes must fit into the file, an index among them."""
    position, has_index = 0, False
    while position + 8 <= size_bytes:
        stream.seek(position)
        header = stream.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        has_index |= header[4:8] in (b"moov", b"meta")
        if length == 0:  # "to the end of the file"
            break
        if length < 8:
            return None  # not boxes after all; the decoder will say what is wrong
        position += length
    if position > size_bytes:
        return _promise(position, size_bytes)
    return None if has_index else "its index (the 'moov' box) is missing"


def _matroska(head: bytes, size_bytes: int) -> str | None:
    """MKV and WebM: an EBML header, then one segment of known or unknown length."""
    length, width = _vint(head, 4)
    segment = 4 + width + length
    if head[segment : segment + 4] != _MATROSKA_SEGMENT or len(head) < segment + 12:
        return None
    length, width = _vint(head, segment + 4)
    if length == (1 << 7 * width) - 1:  # all ones: live, length unknown
        return None
    return _promise(segment + 4 + width + length, size_bytes)


def _vint(data: bytes, position: int) -> tuple[int, int]:
    """(value, width in bytes) of EBML's variable-length integer (RFC 8794, section 4)."""
    first = data[position]
    width = 9 - first.bit_length()
    if width > 8:
        return 0, 8
    value = int.from_bytes(data[position : position + width], "big")
    return value & ((1 << 7 * width) - 1), width
