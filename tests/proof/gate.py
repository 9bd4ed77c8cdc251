"""Control sequences of every kind, split at every character, shown in every way.

The judge knows no sequence by name: the program's own (styles, erasing, moving up and along its own
rows) are taken away from what is written, and then no character may be left that a terminal obeys.
What was sent as Q…Z may not come out as it was, so that a foreign one is not taken for our own.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from core.events import (
    Event, ModelChanged, Notice, Resuming, Retrying, ToolFinished, ToolRequested)
from core.messages import Message, Text, Thinking, ToolCall, ToolResult
from core.rendering.markdown import MarkdownStream
from core.rendering.plain import PlainStream
from core.rendering.thinking import ThinkingStream
from core.rendering.event_lines import EventLines
from core.rendering.spoken import SpokenStream
from core.safe_text import safe_line
from core.sessions.html_page import html_pieces
from core.store.rows import SessionRow, StoredMessage
from core.tools.call_text import call_text

OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[[0-9]*[ACJK]")
OBEYED = frozenset(map(chr, (
    *(code for code in range(0x20) if chr(code) not in "\n\t"), *range(0x7F, 0xA0), 0x61C, 0x200E,
    0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A),
    *range(0xE0000, 0xE0080), *range(0xD800, 0xE000))))
FRAMES = ("{}\n\n", "# {}\n\n", "- {}\n\n", "> {}\n\n", "```\n{}\n```\n\n",
          "`{}` **{}**\n\n", "| {} | b |\n|---|---|\n| c | {} |\n\n",
          "[{}](http://{}.example)\n\n", "```{}\nx\n```\n\n", "$${}$$\n\n", "{}")
A_STREAM = 40       # sequences that are shown in one stream


def sequences() -> list[str]:
    """Control sequences: each single control character, and members of each longer kind (ECMA-48,
    xterm) with every possible start and end.
    """
    made = [chr(code) for code in sorted(map(ord, OBEYED)) if not 0xD800 <= code < 0xE000]
    finals = [chr(code) for code in range(0x40, 0x7F)]
    given = ("", "2", "1;1", "?25", "?1049", ">0", "=1", "38;5;1", "2 ", "!", "4:3", "?1;2",
             "0;0;0")
    for opens, numbers, final in itertools.product(("\x1b[", "\x9b"), given, finals):
        made.append(f"{opens}{numbers}{final}")
    ends = ("\x07", "\x1b\\", "\x9c", "")
    for opens, number, end in itertools.product(("\x1b]", "\x9d"), range(140), ends):
        made.append(f"{opens}{number};x{end}")
    for opens, text, end in itertools.product(
            ("\x1bP", "\x90", "\x1b_", "\x9f", "\x1b^", "\x9e", "\x1bX", "\x98", "\x1bk"),
            ("", "x", "+q544e", "$qm", "1;1|17/17", "Gf=24;AA=="), ends):
        made.append(f"{opens}{text}{end}")
    made += [f"\x1b{between}{final}" for between in ("", *" #%()*+-./")
             for final in map(chr, range(0x30, 0x7F))]
    return made


@dataclass(slots=True)
class Tally:
    sequences: int = 0
    shown: int = 0
    faults: list[str] = field(default_factory=list)


def show_sequences(seed: int, count: int) -> Tally:
    """So many sequences, each cut at each of its characters, through each way; in an order, a frame
    and a width that chance gives.
    """
    chance, tally = random.Random(seed), Tally()
    known = sequences()
    while tally.sequences < count:
        chosen = chance.sample(known, len(known))[:count - tally.sequences]
        for start in range(0, len(chosen), A_STREAM):
            _show(chosen[start:start + A_STREAM], chance, tally, seed)
        tally.sequences += len(chosen)
    return tally


def _show(batch: Sequence[str], chance: random.Random, tally: Tally, seed: int) -> None:
    wrapped = [f"Q{each}Z" for each in batch]
    frame, width = chance.choice(FRAMES), chance.choice((1, 20, 80, 200))
    for way, stream in STREAMS.items():
        for cut in range(1, max(map(len, wrapped)) + 1):
            written: list[str] = []
            sink = stream(written.append, width)
            for each in wrapped:
                framed = frame.replace("{}", each)
                sink.feed(framed[:cut])
                sink.feed(framed[cut:])
            sink.finish()
            where = f"seed {seed}, {way}, {frame!r}, {width} columns, cut after {cut}"
            judge("".join(written), wrapped, where, tally)
    for way, show in PLACES.items():
        judge("\n".join(map(show, wrapped)), wrapped, f"seed {seed}, {way}", tally)


def judge(written: str, wrapped: Sequence[str], where: str, tally: Tally) -> None:
    """Record the control sequences in the output that are not the program's own."""
    tally.shown += len(wrapped)
    left = set(OWN.sub("", written).replace("\r\n", "\n")) & OBEYED - {"\r"}
    if left:
        tally.faults.append(f"{where}: {sorted(left)} of {wrapped} was written")
    elif through := [each for each in wrapped if set(each) & OBEYED and each in written]:
        tally.faults.append(f"{where}: {through} went through")


# ---- the ways to a screen

Stream = MarkdownStream | PlainStream | ThinkingStream | SpokenStream
STREAMS: dict[str, Callable[[Callable[[str], None], int], Stream]] = {
    "markdown": lambda write, width: MarkdownStream(write, lambda: (width, 24)),
    "markdown without color": lambda write, width: MarkdownStream(
        write, lambda: (width, 24), color=False),
    "plain": lambda write, width: PlainStream(write, lambda: width),
    "thinking": lambda write, width: ThinkingStream(write, lambda: width, folded=False),
    "thinking, folded": lambda write, width: ThinkingStream(write, lambda: width, folded=True,
                                                            rows=3),
    "spoken": lambda write, _: SpokenStream(write),
}


def _line_of(make: Callable[[str], Event]) -> Callable[[str], str]:
    return lambda text: " ".join(map(str, itertools.chain(*EventLines().of(make(text)))))


def _called(text: str) -> str:
    lines = EventLines()
    list(lines.of(ToolRequested(ToolCall("a", text, {text: [text]}))))
    done = lines.of(ToolFinished(ToolResult("a", text, text, True), 0.0))
    return " ".join(map(str, itertools.chain(*done)))


def _page(text: str) -> str:
    said = Message("assistant", (Thinking(text), Text(text), ToolCall("a", text, {text: text})))
    asked = Message("user", (Text(text),))
    rows = [StoredMessage(number, message, "complete", True, 0.0)
            for number, message in enumerate((asked, said))]
    return "".join(html_pieces(SessionRow("a", text, text, text, 0.0, 0.0, 2), rows))


PLACES: dict[str, Callable[[str], str]] = {
    "a line": safe_line,
    "a retry": _line_of(lambda text: Retrying(1, 1.0, text)),
    "a fallback": _line_of(lambda text: ModelChanged(text, text, text)),
    "a new connection": _line_of(Resuming),
    "a notice": _line_of(Notice),
    "a call": _called,
    "a question before a tool": lambda text: call_text(text, {text: text}),
    "an exported page": _page,
}
