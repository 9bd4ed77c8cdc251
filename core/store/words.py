"""Splits text into search words, the same for both databases, so that they find the same."""

from __future__ import annotations

import re
import unicodedata

from core.messages import Message, Text, Thinking, ToolCall, ToolResult
from core.regex import regex
from core.store.message_json import dump

MOST_BYTES = 700_000      # search words of one message: PostgreSQL's index takes at most 1 MB
LONGEST_WORD = 64
BREAK = "\ue001"          # between two parts, so that no phrase spans them
# the expression that PostgreSQL's index covers
POSTGRES_WORDS = "array_to_tsvector(array_remove(string_to_array(words || ' ' || tools, ' '), ''))"
_SYMBOLS = "+#@$%&=<>~^|/\\_"
# Scripts without spaces between words: each character is a word, and a run of them a phrase.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u3130-\u318f\u31a0-\u9fff"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff")
_UNSPACED = regex(f"([{UNSPACED}])")
_ACCENTS = regex(
    "[\u0300-\u036f\u0591-\u05c7\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff"
    "\u20d0-\u20ff\ufe20-\ufe2f]")
# vowel signs
_MARKS = ("\u0900-\u0903\u093a-\u094f\u0981-\u09cd\u0a01-\u0acd\u0b01-\u0bcd"
          "\u0c00-\u0ccd\u0d00-\u0dcf")
_ESCAPED = re.escape(_SYMBOLS)
# Words; symbols beside a letter or digit (C++, a/b, @name); dots and colons within a word (3.11,
# std::vector, .env).
_GLUED = rf"[{_ESCAPED}](?:(?=\S)|(?<=\S.))|[.:](?=[.:]?[^\W_])"
_ASCII = regex(rf"[a-z0-9]+|{_GLUED}")
_WORDS = regex(rf"(?:[^\W_]|[{_MARKS}])+|{_GLUED}|[\u2190-\u2bff\U0001f000-\U0001faff]")
_APOSTROPHES = str.maketrans("", "", "'\u2019\u02bc")
# private-use characters
_SYMBOL_WORDS = {ord(symbol): chr(0xE100 + ord(symbol)) for symbol in _SYMBOLS + ".:"}


def words_of(text: str) -> list[str]:
    """Split text into words without case and accents. The symbols in names such as C++ are words
    too.
    """
    plain = text.lower() if text.isascii() else _folded(text)
    pattern = _ASCII if plain.isascii() else _WORDS
    return [word[:LONGEST_WORD] if word.isalnum() else _symbol(word)
            for word in pattern.findall(plain.translate(_APOSTROPHES))]


def _folded(text: str) -> str:
    # Decompose, drop accents, compose again: Korean syllables and voiced kana are letters, not
    # accents.
    plain = unicodedata.normalize("NFC",
                                  _ACCENTS.sub("", unicodedata.normalize("NFKD", text).casefold()))
    return _UNSPACED.sub(r" \1 ", plain)


def _symbol(word: str) -> str:
    """Encode a symbol as a character that both databases treat as a letter."""
    if len(word) > 1:
        return word[:LONGEST_WORD]
    code = ord(word)
    return _SYMBOL_WORDS.get(code) or f"\ue002{code:x}"


def message_words(message: Message) -> tuple[str, str]:
    """Return the words of text and thinking, and the words of tools (names, calls, results),
    separated by spaces.
    """
    said: list[str] = []
    tools: list[str] = []
    for part in message.parts:
        match part:
            case Text(text) | Thinking(text):
                said += [*words_of(text), BREAK]
            case ToolCall(name=name, arguments=arguments, invalid=invalid):
                tools += [*words_of(name), BREAK,
                          *words_of(dump(arguments) if invalid is None else invalid), BREAK]
            case ToolResult(name=name, content=content):
                tools += [*words_of(name), BREAK, *words_of(content), BREAK]
    return _bounded(said), _bounded(tools)


def _bounded(words: list[str]) -> str:
    text = " ".join(words[:-1])
    if len(text) * 4 <= MOST_BYTES:
        return text
    return text.encode("utf-8", "replace")[:MOST_BYTES // 2].decode("utf-8",
                                                                    "ignore").rpartition(" ")[0]
