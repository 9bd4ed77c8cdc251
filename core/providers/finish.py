"""Interprets finish reasons, the same way for all dialects and for unknown reasons."""

from __future__ import annotations

import re

from core.events import Finished
from core.messages import Finish
from core.regex import regex

UNREAD = "(a part in an unknown form)"    # the end of a reply of which a part could not be read
COMPLETE = frozenset((
    "stop", "eos", "eostoken", "end", "endturn", "endoftext", "stopsequence", "stoptoken",
    "complete", "completed", "done",
    "finished", "success", "succeeded", "load", "unload", "finishreasonunspecified"))
# Parts of finish reasons, in the order in which they are checked.
_KINDS: tuple[tuple[Finish, re.Pattern[str]], ...] = (
    ("refusal", regex(r"refus")),
    ("content_filter", regex(
        r"filter|safety|sensitiv|prohibit|blocklist|blocked|recitation|moderat|content_?polic"
        r"|guardrail|toxic|spii|armor|flagged|inappropriate|violat")),
    ("length",
     regex(r"length|max_?(output_?|completion_?|new_?)?tokens?\b|token_?limit|limit_?tokens"
           r"|context_?(window|size|limit)|window_?exceeded|error_limit")),
    ("tool_calls", regex(r"^(unexpected_)?(tool|function)_?(use|calls?)?$")),
)


def finish_of(word: str) -> Finished:
    """Return the end of a reply, with the provider's own finish reason.

    An unknown reason means that the reply may be incomplete.
    """
    plain = word.strip().lower()
    bare = re.sub(r"[^a-z]", "", plain)
    if not plain or bare in COMPLETE:
        return Finished("stop", word)
    for finish, pattern in _KINDS:
        if pattern.search(re.sub(r"[^a-z]+", "_", plain)):
            return Finished(finish, word)
    return Finished("incomplete", word)
