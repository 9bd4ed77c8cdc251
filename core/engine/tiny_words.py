"""What the toy model says, and the numbers of its tokens."""

from __future__ import annotations

import re

TALK = """\
I am a tiny toy model and I know nothing.
My words were counted, not learned.
A small model can talk for a while before it stops.
The server sends the words one by one and the reader sees each of them.
This is a test of the engine, not of the answer.
The café is open 🙂 and the tea is warm.
Each word follows the word before it.
I do not know what you asked, but I can say something.
The engine works if you can read this line.
A toy can be useful when the network is away.
Words come and go, but the test stays the same.
If the line is cut, the reader keeps what came before.
Some answers are short and some answers are long.
The reader asked for a tool and the tool gave an answer.
It is fine to stop here.
"""
LIST = "Here is a list:\n- one word\n- two words\n- a test and a toy\n"
VALUES = ("Paris", "tea", "toy", "test", "one", "warm", "open")   # what it puts into JSON strings

CLOSERS = ('"', "]", "}", *"0123456789el")                         # what a JSON value ends with
CONTROL = ("<|none|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>")
MARKS = ("<tools>", "</tools>", "<tool_call>", "</tool_call>", "<think>", "</think>")
END = "<|end|>"

# Hermes' layout for tools and Qwen's for thinking, which engines recognise.


class Vocabulary:
    """Control tokens, marks, the 256 bytes, and the words of TALK with the preceding space.

    Words are only generated: the tokenizer has no merges for them, so a prompt is read byte by
    byte.
    """

    def __init__(self) -> None:
        letters = byte_letters()
        # also with a space before the first word of a sentence
        said = split(TALK + LIST + TALK.replace("\n", " "))
        words = sorted({word for word in said if len(word) > 1} | set(VALUES))
        self.words = tuple(words)
        self.tokens = [
            *CONTROL,
            *MARKS,
            *letters,
            *("".join(letters[byte] for byte in word.encode()) for word in words),
        ]
        self._bytes_at = len(CONTROL) + len(MARKS)
        self._index = {text: number for number, text in enumerate((*CONTROL, *MARKS))}
        self._index.update((chr(code), self._bytes_at + code) for code in range(128))
        self._index.update(
            (word, self._bytes_at + 256 + number) for number, word in enumerate(words)
        )
        self._text = {number: text for text, number in self._index.items()}
        self.tokens += [f"<|spare{number}|>" for number in range(-len(self.tokens) % 32)]

    def __getitem__(self, text: str) -> int:
        return self._index[text]

    @property
    def bytes(self) -> range:
        return range(self._bytes_at, self._bytes_at + 256)

    @property
    def word_numbers(self) -> range:
        return range(self._bytes_at + 256, self._bytes_at + 256 + len(self.words))

    def spoken_at(self, number: int) -> str:
        """The mark, ASCII character or word with that number; "" for other bytes and unused ones.
        """
        return self._text.get(number, "")

    def encode(self, text: str) -> list[int]:
        """The tokens of a text: known words as one token, everything else as bytes."""
        numbers: list[int] = []
        for piece in split(text):
            known = self._index.get(piece)
            numbers += (
                [known] if known is not None else [self._bytes_at + byte for byte in piece.encode()]
            )
        return numbers

    def kinds(self) -> list[int]:
        """GGUF's token types: 3 control, 4 user-defined, 1 normal, 5 unused."""
        used = len(CONTROL) + len(MARKS) + 256 + len(self.words)
        return (
            [3] * len(CONTROL)
            + [4] * len(MARKS)
            + [1] * (256 + len(self.words))
            + [5] * (len(self.tokens) - used)
        )


def byte_letters() -> list[str]:
    """GPT-2's printable character for each of the 256 bytes."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(hidden)) for byte in range(256)]


def split(text: str) -> list[str]:
    """Words with the preceding space, and everything else one character at a time."""
    return re.findall(r" ?[A-Za-z]+|.|\n", text)
