"""Pictures drawn anew: every kind that cameras, scanners and attackers make."""

from __future__ import annotations

import base64
import io
import struct
import threading
import time
import zlib
from typing import Any

import pytest
from PIL import Image as Pillow

from core.errors import ToolError
from core.messages import Image
from core.pictures.redraw import Redrawn, Wanted, redraw, redrawn
from core.tools.limited_process import Job

RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(data: bytes) -> Image:
    return Image("image/png", base64.b64encode(data).decode(), "x")


def here(data: bytes, wanted: Wanted) -> Redrawn:
    """As redrawn(), but in this process, which takes less time."""
    found = redraw(Job(data), wanted.size, wanted.side, wanted.target, wanted.formats)
    return Redrawn(Image(str(found["type"]), str(found["data"])), int(str(found["width"])),
                   int(str(found["height"])), bool(found["first"]))


def saved(drawn: Pillow.Image, kind: str, **settings: Any) -> bytes:
    file = io.BytesIO()
    drawn.save(file, kind, **settings)
    return file.getvalue()


def halves(mode: str = "RGB", size: tuple[int, int] = (300, 200)) -> Pillow.Image:
    """A picture whose upper half is red and whose lower half is blue."""
    drawn = Pillow.new("RGB", size, BLUE)
    drawn.paste(RED, (0, 0, size[0], size[1] // 2))
    return drawn.convert(mode)


def again(new: Redrawn) -> Pillow.Image:
    """The new picture, decoded; its size and format are those that were reported."""
    read = Pillow.open(io.BytesIO(base64.b64decode(new.image.data)))
    assert read.size == (new.width, new.height)
    assert new.image.media_type == f"image/{str(read.format).lower()}"
    return read.convert("RGB")


def is_near(found: Any, wanted: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 40 for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_png_is_drawn(mode: str) -> None:
    drawn = Pillow.new("I;16", (300, 200), 40_000) if mode == "I;16" else halves(mode)
    new = here(saved(drawn, "PNG"), Wanted(0, 150))
    assert again(new).size == (150, 100)
    if mode in ("P", "RGB", "RGBA"):
        assert is_near(again(new).getpixel((75, 10)), RED)
        assert is_near(again(new).getpixel((75, 90)), BLUE)
    if mode == "I;16":
        assert is_near(again(new).getpixel((75, 10)), (156, 156, 156))


def test_a_picture_of_one_value_beyond_the_usual_ones_is_drawn() -> None:
    new = here(saved(Pillow.new("F", (40, 30), 70_000.0), "TIFF"), Wanted())
    assert again(new).size == (40, 30)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "AVIF", "GIF", "WEBP", "ICO", "JPEG"])
def test_other_formats_are_converted(kind: str) -> None:
    settings = {"sizes": [(128, 128)]} if kind == "ICO" else {}
    drawn = halves(size=(128, 128))
    new = here(saved(drawn, kind, **settings), Wanted())
    assert is_near(again(new).getpixel((64, 10)), RED), kind
    assert is_near(again(new).getpixel((64, 118)), BLUE), kind


@pytest.mark.processes
def test_a_photo_is_turned_as_the_camera_was_held() -> None:
    exif = Pillow.Exif()
    exif[0x0112] = 6         # the camera was turned: the picture's first row is its right side
    exif[0x010F] = "A camera"
    new = redrawn(picture(saved(halves(size=(3000, 2000)), "JPEG", exif=exif)), Wanted(0, 1500))
    upright = again(new)
    assert upright.size == (1000, 1500)
    assert is_near(upright.getpixel((990, 750)), RED)
    assert is_near(upright.getpixel((10, 750)), BLUE)
    assert b"camera" not in base64.b64decode(new.image.data)


def test_the_size_limit_holds_for_what_compresses_badly() -> None:
    noise = Pillow.effect_noise((700, 700), 90).convert("RGB")
    new = here(saved(noise, "PNG"), Wanted(60_000, 1568))
    assert len(base64.b64decode(new.image.data)) <= 60_000
    assert new.image.media_type == "image/jpeg" and again(new).width > 200


def test_a_screenshot_keeps_its_pixels() -> None:
    exact = halves(size=(4000, 400))
    new = here(saved(exact, "BMP"), Wanted())
    assert new.image.media_type == "image/png" and again(new).tobytes() == exact.tobytes()


def test_transparency_is_kept_or_becomes_white() -> None:
    clear = Pillow.new("RGBA", (100, 100), (0, 0, 0, 0))
    data = saved(clear, "PNG")
    new = here(data, Wanted())
    kept = Pillow.open(io.BytesIO(base64.b64decode(new.image.data)))
    assert kept.mode == "RGBA"
    white = here(data, Wanted(formats=("JPEG",)))
    assert is_near(again(white).getpixel((50, 50)), (255, 255, 255))


def test_print_colours_become_screen_colours() -> None:
    new = here(saved(halves("CMYK"), "JPEG"), Wanted())
    assert again(new).getpixel((10, 10))[0] > 180


def test_only_the_first_picture_of_several_is_drawn() -> None:
    frames = [halves(), Pillow.new("RGB", (300, 200), "green")]
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
        new = here(data, Wanted())
        assert new.first and is_near(again(new).getpixel((150, 10)), RED), kind


def giant(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to be very large."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return (struct.pack(">I", len(data)) + name + data
                + struct.pack(">I", zlib.crc32(name + data)))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99)))
            + chunk(b"IEND", b""))


PHOTO = saved(halves(size=(800, 600)), "JPEG")
BROKEN = {
    "bomb.png": giant(50_000, 50_000),
    "bomb.gif": b"GIF89a" + struct.pack("<HH", 65_000, 65_000) + b"\x80\0\0" + bytes(9)
                + b"," + struct.pack("<HHHH", 0, 0, 65_000, 65_000) + b"\0\x08\x01\0\0;",
    "cut.jpg": PHOTO[:len(PHOTO) // 2],
    "cut.png": saved(halves(), "PNG")[:120],
    "chunks.png": saved(halves(), "PNG").replace(b"IDAT", b"IDAX"),
    "empty": b"", "text": b"hello", "only-a-name.webp": b"RIFF\0\0\0\0WEBPVP8 ",
    "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "photo.heic": b"\0\0\0\x18ftypheic" + bytes(99)}


@pytest.mark.processes
@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_cannot_be_drawn_says_why_and_what_to_do(name: str) -> None:
    with pytest.raises(ToolError) as raised:
        redrawn(picture(BROKEN[name]), Wanted(0, 1000))
    assert raised.value.message.startswith(("It ", "HEIC ")) and raised.value.hint
    assert "Traceback" not in raised.value.message and len(raised.value.message) < 200


def test_what_is_not_base64() -> None:
    with pytest.raises(ToolError, match="not a picture"):
        redrawn(Image("image/png", "A", "x"), Wanted())


@pytest.mark.processes
def test_it_stops_when_it_is_no_longer_wanted() -> None:
    stop = threading.Event()
    stop.set()
    started = time.monotonic()
    with pytest.raises(ToolError):
        redrawn(picture(saved(halves(size=(5000, 5000)), "PNG")), Wanted(0, 1000), stop)
    assert time.monotonic() - started < 20
