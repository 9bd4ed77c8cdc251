"""Bytes from a file, a pipe or a page as text, with a note where their encoding had to be guessed.
"""

from __future__ import annotations

import codecs

HEAD = 8_192         # bytes that tell text from other things
GUESSED = 65_536     # bytes from which an encoding is guessed
SHORT = 200          # bytes above ASCII: fewer say too little for a guess by statistics
# Letters and punctuation that Western texts have in cp1252 (of which Latin-1 is a part).
WESTERN = frozenset(
    b"\x80\x82\x84\x85\x8a\x8c\x8e\x91\x92\x93\x94\x95\x96\x97\x99\x9a\x9c\x9e\x9f\xa0\xa1\xa3"
    b"\xa7\xa9\xaa\xab\xae\xb0\xb1\xb2\xb3\xb4\xb5\xb7\xba\xbb\xbc\xbd\xbe\xbf"
    + bytes(range(0xC0, 0x100)))
MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
         (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
UTF8 = "utf-8-sig"    # with or without a mark
DAMAGED = "damaged UTF-8: what could not be read was replaced by \ufffd"


class NotText(ValueError):
    """Says what the bytes are instead; `binary` where they are no text in any encoding."""

    def __init__(self, said: str, *, binary: bool) -> None:
        super().__init__(said)
        self.binary = binary


def read_as_text(data: bytes, *, cut: bool = False) -> tuple[str, str]:
    """The text, and a note on its encoding where that is not plainly known.

    `cut` says that more bytes follow: the last character may be incomplete. Raises NotText.
    """
    _, text, note = _read(data, cut=cut)
    return text, note


def encoding_of(data: bytes, *, cut: bool = False) -> tuple[str, str]:
    """The name of a codec for it, and the note. Raises NotText."""
    encoding, _, note = _read(data, cut=cut)
    return encoding, note


def _read(data: bytes, *, cut: bool) -> tuple[str, str, str]:
    """Codec, text and note."""
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
    """The encoding that the byte order mark names; "" without one, or with that of UTF-8."""
    return next((name for mark, name in MARKS if data.startswith(mark)), "")


def _without_mark(data: bytes) -> str:
    """UTF-16 without a mark, as some programs on Windows write it; "" for binary data."""
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
    """Whether more characters beyond ASCII are whole than not: UTF-8 with damaged places."""
    text = part.decode("utf-8", "replace")
    damaged = text.count("\ufffd")
    return sum(letter > "\x7f" for letter in text) >= max(1, damaged) + damaged


def _guess(data: bytes) -> str:
    """The encoding of text that is not UTF-8; empty for none.

    Statistics fail on short Western texts, so those come first.
    """
    high = [byte for byte in data if byte > 127]
    if (len(high) < SHORT and sum(byte >= 0xC0 for byte in high) <= 0.3 * len(data)
        and all(byte in WESTERN for byte in high)):
        return "cp1252"
    from charset_normalizer import from_bytes
    best = from_bytes(data).best()
    return best.encoding if best is not None else ""
