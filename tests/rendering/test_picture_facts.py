"""How large a picture is, read from the first bytes of each format that models accept."""

from __future__ import annotations

import base64
import struct

import pytest

from core.messages import Image
from core.rendering.picture_facts import picture_size, picture_words

PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 1280, 720) + b"\x08\2\0\0\0"
GIF = b"GIF89a" + struct.pack("<HH", 320, 200) + b"\xf7\0\0"
EXIF = b"\xff\xe1" + struct.pack(">H", 60_002) + bytes(60_000)
TABLE = b"\xff\xc4" + struct.pack(">H", 6) + b"\0\1\2\3"
FRAME = struct.pack(">HBHHB", 17, 8, 480, 640, 3)
WEBP = b"RIFF\0\0\0\0WEBP"
LOSSY = WEBP + b"VP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 550 | 1 << 14, 368)
LOSSLESS = WEBP + b"VP8L\0\0\0\0\x2f" + struct.pack("<I", 399 | 300 << 14 | 1 << 28)
EXTENDED = WEBP + b"VP8X\x0a\0\0\0\x10\0\0\0" + b"\x0f\x27\0" + b"\x87\x13\0"


@pytest.mark.parametrize(("data", "size"), [
    (PNG, (1280, 720)), (GIF, (320, 200)), (LOSSY, (550, 368)), (LOSSLESS, (400, 301)),
    (EXTENDED, (10_000, 5_000)),
    *((b"\xff\xd8" + EXIF + TABLE + b"\xff" + bytes([kind]) + FRAME, (640, 480))
      for kind in (0xC0, 0xC1, 0xC2, 0xCA, 0xCF))])
def test_each_format_says_it_in_its_own_place(data: bytes, size: tuple[int, int]) -> None:
    assert picture_size(data) == size and picture_size(data + bytes(100)) == size


@pytest.mark.parametrize("data", [PNG, GIF, LOSSY, LOSSLESS, EXTENDED,
                                  b"\xff\xd8" + TABLE + b"\xff\xc0" + FRAME, b"\xff\xd8\xff\xe1",
                                  b"", b"words", WEBP + b"VP9 " + bytes(20), b"\xff\xd8" * 40])
def test_what_is_cut_or_something_else_has_no_size_and_fails_nowhere(data: bytes) -> None:
    for end in range(len(data)):
        size = picture_size(data[:end])
        assert size is None or all(size)
    assert picture_size(bytes(30)) is None


def test_the_size_of_a_large_photo_is_found_behind_what_the_camera_wrote() -> None:
    photo = b"\xff\xd8" + EXIF * 3 + b"\xff\xc0" + FRAME + bytes(2_000_000)
    picture = Image("image/jpeg", base64.b64encode(photo).decode(), "photo.jpg")
    assert picture_words(picture) == "640 \u00d7 480, 2.2 MB"
    unknown = Image("image/png", base64.b64encode(b"no picture").decode(), "x.png")
    assert picture_words(unknown) == "10 bytes"
    for damaged in ("", "A", "AAAAA", "iVBOR\u00e9", "!!!!"):
        assert picture_words(Image("image/png", damaged, "x.png")).endswith(" bytes")
