"""Makes text from outside safe to show in a terminal without hiding any of it."""

from __future__ import annotations


def _visible() -> dict[int, str]:
    """{code point: replacement}.

    C0 controls and DEL become their Unicode pictures; C1 controls and invisible characters that
    control a terminal or reorder text become their code points in angle brackets.
    """
    table = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\n\t"}
    table[0x7F] = "\u2421"
    hidden = [
        *range(0x80, 0xA0),        # C1 controls: 8-bit CSI, OSC, DCS ...
        0x61C, 0x200E, 0x200F,     # Arabic letter mark, left-to-right and right-to-left marks
        0x180E,                    # Mongolian vowel separator, which has no width
        *range(0x1BCA0, 0x1BCA4), *range(0x1D173, 0x1D17B),   # shorthand and musical formatting
        0x2028, 0x2029,            # line and paragraph separator
        *range(0x202A, 0x202F),    # bidirectional embeddings and overrides
        *range(0x2060, 0x2065),    # word joiner, invisible operators
        *range(0x2066, 0x2070),    # bidirectional isolates, deprecated format characters
        0xFEFF,                    # zero-width no-break space
        *range(0xFFF9, 0xFFFC),    # interlinear annotation
        *range(0xD800, 0xE000),    # lone surrogates, which cannot be encoded
        *range(0xE0000, 0xE0080),  # tag characters: invisible text
    ]
    table.update({code: f"<U+{code:04X}>" for code in hidden})
    return table


_TABLE: dict[int, str] = {}


def safe_text(text: str) -> str:
    """Return `text` with only newline, tab and visible characters.

    Works character by character, so a stream may be split anywhere:
    safe_text(a + b) == safe_text(a) + safe_text(b).
    """
    if text.isprintable():   # no character in the table is printable
        return text
    if not _TABLE:
        _TABLE.update(_visible())
    return text.translate(_TABLE)


def without_surrogates(text: str) -> str:
    """Text that UTF-8 can encode: surrogate pairs are joined, lone surrogates become U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def safe_line(text: str, limit: int = 0) -> str:
    """safe_text() for a single line: newlines are shown as a symbol, tabs as spaces.

    With `limit` > 0, longer lines are cut to `limit` characters, ending with an ellipsis.
    """
    line = safe_text(text).replace("\n", "\u2424").replace("\t", " ")
    return line[: limit - 1] + "\u2026" if 0 < limit < len(line) else line
