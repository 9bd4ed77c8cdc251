"""Decodes text from files, pipes and pages, and notes when the encoding had to be guessed."""

from __future__ import annotations

import codecs

HEAD = 8_192         # bytes examined to distinguish text from binary data
GUESSED = 65_536     # bytes used to guess an encoding
SHORT = 200          # non-ASCII bytes; with fewer, statistics cannot determine an encoding
# Letters and punctuation that Western texts use in cp1252, a superset of Latin-1.
WESTERN = frozenset(
    b"\x80\x82\x84\x85\x8a\x8c\x8e\x91\x92\x93\x94\x95\x96\x97\x99\x9a\x9c\x9e\x9f\xa0\xa1\xa3"
    b"\xa7\xa9\xaa\xab\xae\xb0\xb1\xb2\xb3\xb4\xb5\xb7\xba\xbb\xbc\xbd\xbe\xbf"
    + bytes(range(0xC0, 0x100)))
MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
         (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
UTF8 = "utf-8-sig"    # with or without a mark
DAMAGED = "damaged UTF-8: unreadable bytes were replaced by \ufffd"


class NotText(ValueError):
    """The bytes are not text; the message says what they are. `binary`: not text in any encoding.
    """

    def __init__(self, said: str, *, binary: bool) -> None:
        super().__init__(said)
        self.binary = binary


def read_as_text(data: bytes, *, cut: bool = False) -> tuple[str, str]:
    """(text, note on its encoding); the note is "" unless the encoding was guessed.

    `cut`: more bytes follow, so the last character may be incomplete. Raises NotText.
    """
    _, text, note = _read(data, cut=cut)
    return text, note


def encoding_of(data: bytes, *, cut: bool = False) -> tuple[str, str]:
    """(codec name, note) for these bytes, as for read_as_text(). Raises NotText."""
    encoding, _, note = _read(data, cut=cut)
    return encoding, note


def _read(data: bytes, *, cut: bool) -> tuple[str, str, str]:
    """(codec name, text, note)."""
    marked = by_mark(data)
    if marked:
        return marked, data.decode(marked, "replace"), ""
    if b"\0" in data[:HEAD]:
        wide = _without_mark(data)
        if not wide:
            raise NotText("holds binary data, not text", binary=True)
        return wide, data.decode(wide, "replace"), f"not UTF-8, read as {wide}"
    try:
        return UTF8, data.decode(UTF8), ""
    except UnicodeDecodeError as problem:
        if cut and problem.start > len(data) - 4:
            return UTF8, data[:problem.start].decode(UTF8), ""
        if _mostly_utf8(data[max(0, problem.start - GUESSED // 2):problem.start + GUESSED // 2]):
            return UTF8, data.decode(UTF8, "replace"), DAMAGED
    guessed = _guess(data[:GUESSED])
    if not guessed:
        raise NotText("is not text in any known encoding", binary=False)
    return guessed, data.decode(guessed, "replace"), f"not UTF-8, read as {guessed}"


def by_mark(data: bytes) -> str:
    """The encoding given by a byte order mark; "" without one, and for UTF-8."""
    return next((name for mark, name in MARKS if data.startswith(mark)), "")


def _without_mark(data: bytes) -> str:
    """The codec of UTF-16 without a byte order mark (common on Windows); "" for binary data."""
    head = data[:HEAD]
    half = len(head) // 2
    even, odd = head[0:2 * half:2].count(0), head[1:2 * half:2].count(0)
    name = ("utf-16-le" if odd > 0.4 * half and even <= 0.02 * half else
            "utf-16-be" if even > 0.4 * half and odd <= 0.02 * half else "")
    if not name or len(data) < HEAD and len(data) % 2:
        return ""
    text = head[:2 * half].decode(name, "replace")
    plain = sum(letter.isprintable() or letter in "\t\r\n" for letter in text)
    return name if plain >= 0.98 * len(text) else ""


def _mostly_utf8(part: bytes) -> bool:
    """Whether most non-ASCII characters decode as UTF-8: then it is UTF-8 with damaged places."""
    text = part.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    return sum(letter > "\x7f" for letter in text) >= max(1, damaged) + damaged


def _guess(data: bytes) -> str:
    """The encoding of text that is not UTF-8; "" if there is none.

    Short Western texts are checked first because statistics fail on them.
    """
    high = [byte for byte in data if byte > 127]
    if (len(high) < SHORT and sum(byte >= 0xC0 for byte in high) <= 0.3 * len(data)
        and all(byte in WESTERN for byte in high)):
        return "cp1252"
    from charset_normalizer import from_bytes
    best = from_bytes(data).best()
    return best.encoding if best is not None else ""
