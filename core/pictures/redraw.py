"""Draws a picture anew, smaller or in another format, in a limited child process: files may be
hostile.
"""

from __future__ import annotations

import base64
import importlib
import io
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from core.config.installed import install_command
from core.dataclass import dataclass
from core.errors import ChatError, ToolError
from core.messages import Image, image_type
from core.tools.limited_process import Job, LimitedProcess

if TYPE_CHECKING:
    from PIL import Image as Pillow

MOST_SECONDS = 20.0
MOST_MEMORY = 768 << 20      # bytes: a decoded picture of MOST_PIXELS, and a smaller one
MOST_PIXELS = 120_000_000    # of a picture that is decoded at its full size
SMALLEST = 64                # pixels of the longer side: nothing is made smaller than that
# the modules of Pillow that read what people have; the others are not loaded
READERS = ("Png", "Jpeg", "Mpo", "Gif", "WebP", "Bmp", "Tiff", "Avif", "Ico")
QUALITIES = (88, 75, 60)     # of JPEG, tried in this order
SAVE_AGAIN = "Save it again with a program that can open it, as PNG or JPEG."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the new picture must be like: at most `size` bytes and `side` pixels on its longer side
    (0: any), in one of these formats (PNG, JPEG). One of more bytes gets `target` pixels, and less
    if that is not enough.
    """

    size: int = 0
    side: int = 0
    target: int = 2048
    formats: tuple[str, ...] = ("PNG", "JPEG")


@dataclass(frozen=True, slots=True)
class Redrawn:
    """The new picture, its size in pixels, and whether the original contains several (frames,
    pages), of which only the first is drawn.
    """

    image: Image
    width: int
    height: int
    first: bool = False


def is_installed() -> bool:
    """Whether the package that draws pictures is installed."""
    from importlib.util import find_spec
    return find_spec("PIL") is not None


def redrawn(image: Image, wanted: Wanted, stop: threading.Event | None = None) -> Redrawn:
    """Draw a picture anew. Raises ToolError, with a reason and a hint, if that is impossible."""
    if not is_installed():
        raise ToolError("Pictures are made smaller and converted with the package pillow, which "
                        "is not installed.", f"Install it: {install_command('pillow')}")
    arguments = {"size": wanted.size, "side": wanted.side, "target": wanted.target,
                 "formats": wanted.formats}
    try:
        data = base64.b64decode(image.data)
    except ValueError as problem:
        raise ToolError("It is not a picture.", SAVE_AGAIN) from problem
    with LimitedProcess(MOST_MEMORY) as process:
        found = process.call("core.pictures.redraw:redraw", arguments, data, seconds=MOST_SECONDS,
                             stop=stop)
    drawn = Image(str(found["type"]), str(found["data"]), image.name)
    return Redrawn(drawn, int(found["width"]), int(found["height"]), bool(found["first"]))


# ---- in the child

def redraw(job: Job, size: int, side: int, target: int,
           formats: Sequence[str]) -> dict[str, object]:
    """The new picture as JSON. Raises ToolError."""
    picture, first, exact = opened(job.data, side)
    for smaller in _sizes(picture, target):
        for kind, data in _encoded(smaller, formats, exact=exact):
            if not size or len(data) <= size:
                return {"type": f"image/{kind.lower()}", "data": base64.b64encode(data).decode(),
                        "width": smaller.width, "height": smaller.height, "first": first}
    raise ToolError(f"It cannot be made smaller than {size:,} bytes.")


def opened(data: bytes, side: int) -> tuple[Pillow.Image, bool, bool]:
    """(the first frame, upright and at most `side` pixels long; whether there are more; whether the
    file stores exact pixels). Raises ToolError.
    """
    try:
        picture = _read(data)
        first = picture.format != "MPO" and bool(getattr(picture, "is_animated", False))
        exact = picture.format not in ("JPEG", "MPO", "AVIF", "HEIF", "WEBP")
        return _upright(picture, side), first, exact
    except (ChatError, MemoryError):
        raise
    except Exception as problem:     # the readers raise almost anything for a damaged file
        raise ToolError(f"It is damaged or incomplete ({type(problem).__name__}).",
                        SAVE_AGAIN) from problem


def _read(data: bytes) -> Pillow.Image:
    """The picture, of which only the size has been read so far."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError
    Pillow.MAX_IMAGE_PIXELS = None     # checked below, with words
    for name in READERS:
        importlib.import_module(f"PIL.{name}ImagePlugin")
    if image_type(data) == "image/heic":
        _read_heic()
    try:
        return Pillow.open(io.BytesIO(data), formats=tuple(Pillow.OPEN))
    except UnidentifiedImageError as problem:
        raise ToolError("It is damaged, or not a picture of a known format.",
                        SAVE_AGAIN) from problem


def _upright(picture: Pillow.Image, side: int) -> Pillow.Image:
    """The picture decoded as grey, RGB or RGBA, turned as its camera was held, and made smaller."""
    from PIL import ImageOps
    if side:
        picture.draft("RGB", (side, side))    # a JPEG is decoded at a fraction of its size
    if picture.width * picture.height > MOST_PIXELS:
        raise ToolError(f"It has {picture.width:,} \u00d7 {picture.height:,} pixels, which is more "
                        "than can be decoded.", "Make it smaller with another program.")
    plain = _plain(picture)
    if side:
        plain.thumbnail((side, side), reducing_gap=2.0)
    plain.info["exif"] = picture.info.get("exif", b"")
    ImageOps.exif_transpose(plain, in_place=True)
    return plain


def _plain(picture: Pillow.Image) -> Pillow.Image:
    """The picture in a mode that PNG and JPEG share, or RGBA if it is transparent."""
    picture.seek(0)
    picture.load()
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        return _eight_bits(picture)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        return rgba if rgba.getchannel("A").histogram()[255] < rgba.width * rgba.height else (
            rgba.convert("RGB"))
    return picture if picture.mode in ("L", "RGB") else picture.convert(
        "L" if picture.mode == "1" else "RGB")


def _eight_bits(picture: Pillow.Image) -> Pillow.Image:
    """16 or 32 bit grey as 8 bits; beyond 16 bits, from its darkest to its brightest value."""
    low, high = (float(each) for each in picture.getextrema() if not isinstance(each, tuple))
    if low >= 0 and high <= 255:
        return picture.convert("L")
    if low >= 0 and high <= 65535:
        low, high = 0, 65535
    scale = 255.0 / ((high - low) or 1.0)      # of one colour: black
    return picture.convert("F").point(lambda value: value * scale - low * scale).convert("L")


def _sizes(picture: Pillow.Image, target: int) -> Iterator[Pillow.Image]:
    """The picture, then smaller copies of it, the first with `target` pixels on its longer side."""
    yield picture
    longest = min(max(picture.size) * 3 // 4, target)
    while longest >= SMALLEST:
        smaller = picture.copy()
        smaller.thumbnail((longest, longest))
        yield smaller
        longest = longest * 3 // 4


def _encoded(picture: Pillow.Image, formats: Sequence[str], *,
             exact: bool) -> Iterator[tuple[str, bytes]]:
    """(format, bytes): without loss where the original had none or is transparent, then as JPEG."""
    clear = picture.mode == "RGBA"
    if "PNG" in formats and (exact or clear or "JPEG" not in formats):
        yield "PNG", _saved(picture, "PNG")
    if "JPEG" in formats:
        solid = _on_white(picture) if clear else picture
        for quality in QUALITIES:
            yield "JPEG", _saved(solid, "JPEG", quality=quality)


def _on_white(picture: Pillow.Image) -> Pillow.Image:
    from PIL import Image as Pillow
    white = Pillow.new("RGB", picture.size, "white")
    white.paste(picture, mask=picture.getchannel("A"))
    return white


def _saved(picture: Pillow.Image, kind: str, **settings: int) -> bytes:
    """The file, without what cameras note beside the picture, such as the place."""
    file = io.BytesIO()
    picture.info = {}
    picture.save(file, kind, **settings)
    return file.getvalue()


def _read_heic() -> None:
    """Let Pillow read HEIC. Raises ToolError if the package for it is not installed."""
    try:
        import pi_heif  # type: ignore[import-not-found,unused-ignore]  # not required
    except ImportError as problem:
        raise ToolError("HEIC pictures are converted with the package pi-heif, which is not "
                        "installed.", f"Install it: {install_command('pi-heif')} (or save the "
                        "picture as JPEG).") from problem
    pi_heif.register_heif_opener()
