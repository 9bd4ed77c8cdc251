"""Generates the section of docs/providers.md about the pictures that each provider accepts."""

from __future__ import annotations

from core.models.sent_pictures import NAMES
from core.providers.picture_limits import CAUTIOUS, LIMITS, STB, USUAL, PictureLimit

PICTURES = """\
## Pictures

A picture that is larger than its provider accepts is made smaller for the request, and a line says
so: `photo.jpg was sent as JPEG, 1,568 × 1,176, 410.2 kB: anthropic takes up to 3.9 MB a picture.`
The session and its exports keep the original, and another provider gets it as large as it accepts.
Pictures within the limits are sent unchanged.

"""
PICTURES_AFTER = """\

The sources are in `core/providers/picture_limits.py`. The new picture is upright, and contains
nothing that the camera noted, such as the place. Screenshots and transparent pictures stay PNG if
they fit. Of an animation, only the first picture is drawn. A picture that cannot be made smaller
(damaged, or more than 120 megapixels) is left out with the reason; it stays in the session. A child
process with 768 MB of memory and 20 seconds at most does the work with the package `pillow`.

"""


def pictures_section() -> list[str]:
    rows = [*((name, limit) for name, limit in LIMITS.items() if name != "demo"),
            ("other servers on this computer", STB), ("every other host", CAUTIOUS)]
    table = ["| provider | accepts at most | formats | a larger one is sent with |",
             "|---|---|---|---|",
             *(f"| {name} | {_most(limit)} | {_formats(limit)} | {_target(limit)} |"
               for name, limit in rows)]
    return [*PICTURES.splitlines(), *table, *PICTURES_AFTER.splitlines()]


def _most(limit: PictureLimit) -> str:
    parts = [f"{limit.encoded * 3 / 4e6:.1f} MB" if limit.encoded else "",
             f"{limit.side:,} pixels a side" if limit.side else "",
             f"{limit.area / 1e6:.0f} megapixels" if limit.area else "",
             f"{limit.many_side:,} pixels a side from {limit.many + 1} pictures on"
             if limit.many else "",
             f"{limit.request * 3 / 4e6:.1f} MB together" if limit.request else ""]
    return ", ".join(filter(None, parts)) or "no limit is known"


def _formats(limit: PictureLimit) -> str:
    return ", ".join(sorted(NAMES[kind] for kind in USUAL & limit.formats))


def _target(limit: PictureLimit) -> str:
    return f"{limit.target:,} pixels" if "no limit" not in _most(limit) else ""
