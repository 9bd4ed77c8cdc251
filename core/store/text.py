"""A reversible encoding of characters that a database cannot store: NUL and lone surrogates."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.store.query import Term

ESCAPE = "\x1a"  # precedes the four hexadecimal digits of an encoded character, and of itself
_SURROGATES = range(0xD800, 0xE000)


def to_database(text: str) -> str:
    """Encode NUL and lone surrogates; other text stays unchanged."""
    if "\0" not in text and ESCAPE not in text:
        if text.isascii():
            return text
        try:
            text.encode()
            return text
        except UnicodeEncodeError:
            pass
    return "".join(f"{ESCAPE}{ord(c):04X}" if c in ("\0", ESCAPE) or ord(c) in _SURROGATES else c
                   for c in text)


def from_database(text: str) -> str:
    """Reverse to_database()."""
    if ESCAPE not in text:
        return text
    import re
    return re.sub(ESCAPE + "([0-9A-F]{4})", lambda match: chr(int(match[1], 16)), text)


def like_words(term: Term) -> str:
    """Return a LIKE pattern for text that has a space before and after each word."""
    return f"% {' '.join(term.words)}{'' if term.begins else ' '}%"


def like_pattern(text: str) -> str:
    """Escape text so that LIKE ... ESCAPE '!' finds it literally."""
    return text.replace("!", "!!").replace("%", "!%").replace("_", "!_")
