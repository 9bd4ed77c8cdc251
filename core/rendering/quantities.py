"""Formats sizes and times with units."""

from __future__ import annotations

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def duration(seconds: float) -> str:
    """A time such as "12 ms", "2.1 s", "48 s" or "3 min 20 s"."""
    if seconds < 0.05:
        return f"{max(seconds * 1000, 1):.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def size_words(count: float, unit: str = "") -> str:
    """A number of bytes such as "812 bytes", "5.0 kB" or "3.2 GB"; with a `unit`, in that unit and
    without its name.
    """
    power = _UNITS.index(unit) if unit else 0
    while not unit and power < len(_UNITS) - 1 and round(count / 1000 ** power, 1) >= 1000:
        power += 1
    digits = f"{count / 1000 ** power:.1f}" if power else f"{count:.0f}"
    return digits if unit else f"{digits} {_UNITS[power]}"
