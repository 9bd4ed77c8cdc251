"""A screen reader hears every character of a reply exactly once, in order, in whole sentences."""

from __future__ import annotations

import random
import re

import pytest

from core.rendering.parser.code_blocks import CodeBlock
from core.rendering.spoken import SpokenStream

ANSWER = """## Processes and threads

A **process** has its own memory. A *thread* shares it; see [the docs](https://example.org/t) now.

* start a thread for `waiting`
* [x] measure
  1. first
  2. second

> Shared state is hard.

| Property | Process | Thread |
|---|---|---|
| Memory | separate | shared |
| Start | 30 ms | 0.1 ms |

```python
def f():
    return 1
```

The speed-up is $S = 1/2$."""

SPOKEN = """Heading 2: Processes and threads

A process has its own memory. A thread shares it; see the docs (https://example.org/t) now.

- start a thread for waiting
- Done: measure
  1. first
  2. second

Quote: Shared state is hard.

Table, 2 rows.
Property Memory; Process separate; Thread shared.
Property Start; Process 30 ms; Thread 0.1 ms.

Code 1, python:
def f():
    return 1
End of code 1.

The speed-up is $S = 1/2$.
"""


def hear(pieces: list[str]) -> list[str]:
    heard: list[str] = []
    stream = SpokenStream(heard.append)
    for piece in pieces:
        stream.feed(piece)
        stream.status("No text for 10 s")
    stream.finish()
    return heard


def test_what_is_heard() -> None:
    assert "".join(hear([ANSWER])) == SPOKEN


def test_however_it_is_cut() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(200):
        cuts = sorted(chance.sample(range(len(ANSWER)), chance.randrange(1, 60)))
        pieces = [ANSWER[start:end] for start, end in zip([0, *cuts], [*cuts, len(ANSWER)])]
        heard = hear(pieces)
        assert "".join(heard) == SPOKEN
        assert not any("\x1b" in piece or "\r" in piece or "\b" in piece for piece in heard)


def test_words_come_in_whole_sentences_and_lines() -> None:
    for piece in hear(list(ANSWER)):
        assert piece.endswith((".", ";", ":", "\n")) or piece in ("def f():", "    return 1"), piece


@pytest.mark.parametrize("text",
                         ["", "\n\n", "**", "```", "| a |", "> ", "- ", "# ", "\x1b[2Jred", "[a](",
                          "- ```\n  x"])
def test_fragments_end_with_one_newline_and_are_safe(text: str) -> None:
    heard = "".join(hear([text]))
    assert "\x1b" not in heard and not heard.endswith("\n\n") or not heard.strip()
    for word in re.findall(r"\w+", text.replace("\x1b", "")):
        assert heard.count(word) >= 1


def test_code_is_numbered_through_a_chat() -> None:
    codes = [CodeBlock("", "one\n")]
    heard: list[str] = []
    stream = SpokenStream(heard.append, codes=codes)
    stream.feed("```\ntwo\n```\n")
    stream.finish()
    assert "".join(heard) == "Code 2:\ntwo\nEnd of code 2.\n" and codes[1].source == "two\n"
