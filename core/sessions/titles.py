"""Makes the title of a session from its first message."""

from __future__ import annotations

import re

from core.messages import Message
from core.regex import regex
from core.safe_text import safe_line

LONGEST = 80        # characters of a title
MOST_READ = 400     # characters of a line that are searched for marks
MOST_TEXT = 10_000  # characters of a message in which a line with words is looked for
FENCE = regex(r"(?:`{3,}[^`]*|~{3,}.*)$")
# at the start of a line: headings, quotations, entries of a list
START = regex(r"(?:#{1,6}\s+|>\s?|[-*+]\s+(?:\[[ xX]\]\s+)?)+")
HEADING_END = regex(r"\s#+$")
# Around words: code, emphasis, struck out; links. Underscores stay: in questions, __init__ is more
# common than __bold__. Marks beside a letter stay too: 2**3**4 is not bold.
PAIRS = regex(r"(?<![\w`\\])(?P<fence>`+)(?P<code>[^`](?:.*?[^`])??)(?P=fence)(?![\w`])"
              r"|(?<![\w*\\])(?P<star>\*{1,3})(?P<strong>[^\s*](?:.*?[^\s*])??)(?P=star)(?![\w*])"
              r"|(?<![\w~\\])~~(?P<struck>[^\s~](?:.*?[^\s~])??)~~(?![\w~])"
              r"|!?(?<![\w\]\\])\[(?P<link>[^\[\]]+)\]\((?:https?:|mailto:|[/.#])[^()\s]*\)",
              re.ASCII)


def title_of(message: Message) -> str:
    """Return the title of a session that begins with this message; "(no text)" without words."""
    return title_of_text(message.text) or "(no text)"


def title_of_text(text: str) -> str:
    """Return the first line with words, shortened and without Markdown's marks; "" for blank text.
    """
    begin = text.lstrip()[:MOST_TEXT]       # a paste may have millions of lines
    lines = [line.strip()[:MOST_READ] for line in begin.split("\n") if line.strip()]
    plain = (without_marks(line) for line in lines if not FENCE.match(line))
    found = next((line for line in plain if re.search(r"\w", line)), lines[0] if lines else "")
    return safe_line(found, LONGEST)


def without_marks(line: str) -> str:
    """Return a line without Markdown's marks. Marks without a partner are text and stay."""
    start = START.match(line)
    if start is not None:
        line = line[start.end():]
        line = HEADING_END.sub("", line) if "#" in start[0] else line
    return _without_pairs(line).strip()


def _without_pairs(line: str) -> str:
    """Return the line without paired marks; within code, marks are text."""
    def inner(found: re.Match[str]) -> str:
        return found["code"] or _without_pairs(found["strong"] or found["struck"] or found["link"])
    return PAIRS.sub(inner, line)
