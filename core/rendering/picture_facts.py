"""What is known of a picture without drawing it: its size in pixels and in bytes."""

from __future__ import annotations

import base64
from collections.abc import Callable
from io import BytesIO

from core.messages import Image
from core.rendering.quantities import size_words

# characters of the data (base64) that hold the size: a camera writes much before it
HEAD = 400_000


def picture_words(picture: Image) -> str:
    """Such as "1,280 × 720, 212.0 kB"; without the pixels where they are not known."""
    size = size_words(len(picture.data) * 3 // 4 - picture.data.count("="))
    try:
        pixels = picture_size(base64.b64decode(picture.data[:HEAD]))
    except ValueError:      # what another program has written
        pixels = None
    return f"{pixels[0]:,} \u00d7 {pixels[1]:,}, {size}" if pixels else size


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels, as the first bytes of a PNG, JPEG, GIF or WebP say."""
    for beginning, reader in _READERS:
        if data.startswith(beginning):
            size = reader(data)
            return size if size is not None and all(size) else None
    return None


def _png(data: bytes) -> tuple[int, int] | None:
    return (_big(data[16:20]), _big(data[20:24])) if data[12:16] == b"IHDR" else None


def _gif(data: bytes) -> tuple[int, int]:
    return _little(data[6:8]), _little(data[8:10])


def _webp(data: bytes) -> tuple[int, int] | None:
    """Lossy, lossless and extended files each say it in their own place (RFC 9649)."""
    match data[12:16]:
        case b"VP8 ":
            return _little(data[26:28]) & 0x3FFF, _little(data[28:30]) & 0x3FFF
        case b"VP8L":
            bits = _little(data[21:25])
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8X":
            return _little(data[24:27]) + 1, _little(data[27:30]) + 1
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """In the segment that begins a frame (SOF0 to SOF15, but for DHT, JPG and DAC)."""
    file = BytesIO(data[2:])
    while (mark := file.read(2)) and mark[0] == 0xFF and len(mark) == 2:
        length = _big(file.read(2))
        if 0xC0 <= mark[1] <= 0xCF and mark[1] not in (0xC4, 0xC8, 0xCC):
            frame = file.read(5)
            return _big(frame[3:5]), _big(frame[1:3])
        file.seek(max(length - 2, 0), 1)
    return None


def _big(data: bytes) -> int:
    return int.from_bytes(data, "big")


def _little(data: bytes) -> int:
    return int.from_bytes(data, "little")


_READERS: tuple[tuple[bytes, Callable[[bytes], tuple[int, int] | None]], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png), (b"\xff\xd8", _jpeg), (b"GIF8", _gif), (b"RIFF", _webp))
