"""Text in any encoding is decoded correctly, and an assumed encoding is reported."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from core.text_encoding import DAMAGED, GUESSED, NotText, read_as_text
from core.tools import ToolContext
from core.tools.fetch_url import as_readable
from core.tools.files import read_file, search_files

SEED = int(os.environ.get("STREAM_CHAT_TEST_SEED", "") or random.randrange(1 << 30))
LETTERS = {"cp1252": "äöüéèàçñ«»€“”", "cp1251": "абвгдежзийклмнопрстуфхцч", "gb18030": "我们讨论量子",
           "shift_jis": "日本語のテキスト愛", "euc-kr": "한국어문장입니다", "big5": "我們討論量子糾纏",
           "cp1253": "αβγδεζηθικ", "iso8859-2": "ąćęłńóśźżčřž"}


def made_up(chance: random.Random, letters: str, share: float) -> str:
    return "".join(chance.choice(letters) if chance.random() < share else chance.choice("abc de")
                   for _ in range(chance.randrange(5, 300)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_what_is_marked_or_utf8_is_read_as_it_is(encoding: str) -> None:
    for text in ("plain", "Grüße, 汉字 😀", "", "x\ufffd"):
        assert read_as_text(text.encode(encoding)) == (text, "")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark(encoding: str) -> None:
    for text in ("hi", "Grüße\r\nund mehr\t!", "caf\u00e9 " * 9_000):
        assert read_as_text(text.encode(encoding)) == (text, f"not UTF-8, read as {encoding}")


def test_binary_data_is_not_taken_for_utf16() -> None:
    numbers = [b"".join(number.to_bytes(2, order) for number in range(1, 200))
               for order in ("little", "big")]  # type: ignore[arg-type]
    for data in (*numbers, bytes(range(256)), b"\x7fELF\0\0\0\1" * 9, b"a\0b", b"\0" * 64):
        with pytest.raises(NotText) as caught:
            read_as_text(data)
        assert caught.value.binary


def test_damaged_utf8_is_still_utf8() -> None:
    """One bad byte does not turn the rest into the letters of another encoding."""
    chance = random.Random(print(f"STREAM_CHAT_TEST_SEED={SEED}") or SEED)
    for letters in LETTERS.values():
        for _ in range(50):
            text = made_up(chance, letters, 0.5) + letters[:3]
            data = bytearray(text.encode() * 3)
            at = chance.randrange(len(data))
            while 0x80 <= data[at] < 0xC0:       # between two characters
                at -= 1
            data[at:at] = chance.choice((b"\xff", b"\xe9", b"\x80", b"\xc0"))
            read, note = read_as_text(bytes(data))
            assert note == DAMAGED and read.replace("\ufffd", "") == text * 3, (text, at)


@pytest.mark.parametrize("encoding", LETTERS)
def test_older_encodings_are_not_taken_for_damaged_utf8(encoding: str) -> None:
    chance = random.Random(print(f"STREAM_CHAT_TEST_SEED={SEED}") or SEED)
    for _ in range(50):
        text = made_up(chance, LETTERS[encoding], 0.3) + LETTERS[encoding][0]
        try:
            read, note = read_as_text(text.encode(encoding))
        except NotText:          # too little for a guess: refused, not garbled
            continue
        assert note != DAMAGED, text


@pytest.mark.parametrize("text", ["é" * GUESSED, "😀" * GUESSED, "汉" * GUESSED])
def test_a_character_that_is_cut_is_no_damage(text: str) -> None:
    data = text.encode()
    for end in range(GUESSED - 4, GUESSED):
        read, note = read_as_text(data[:end], cut=True)
        assert note == "" and text.startswith(read) and "\ufffd" not in read


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16", "utf-8"])
def test_a_model_reads_files_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "old.txt").write_bytes("Le café est très bon.\n".encode(encoding))
    context = ToolContext(roots=(str(tmp_path),))
    assumed = encoding in ("cp1252", "utf-16-le")
    guessed = f", not UTF-8, read as {encoding}" if assumed else ""
    read = read_file(context, str(tmp_path / "old.txt"))
    assert read == f"[1 lines{guessed}]\nLe café est très bon."
    assert "café" in search_files(context, "très", str(tmp_path))


def test_a_page_that_does_not_name_its_encoding() -> None:
    assert as_readable("Le café est très bon.".encode("cp1252"), "text/plain") == (
        "", "Le café est très bon.")
    assert as_readable(b"\xe9\0\1\2\3", "text/plain")[1] == "\ufffd\0\1\2\3"
