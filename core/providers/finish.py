"""Reads the word with which a provider says why it ended a reply:
the same for all dialects, and for words nobody has seen.
"""

from __future__ import annotations

import re

from core.events import Finished
from core.messages import Finish
from core.regex import regex

COMPLETE = frozenset((
    "stop", "eos", "eostoken", "end", "endturn", "endoftext", "stopsequence", "stoptoken",
    "complete", "completed", "done",
    "finished", "success", "succeeded", "load", "unload", "finishreasonunspecified"))
# Parts of words, in the order in which they are looked for.
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
    """The end of a reply, with the provider's own word.

    A word that is not known means that the reply may be incomplete.
    """
    plain = word.strip().lower()
    bare = re.sub(r"[^a-z]", "", plain)
    if not bare or bare in COMPLETE:
        return Finished("stop", word)
    for finish, pattern in _KINDS:
        if pattern.search(re.sub(r"[^a-z]+", "_", plain)):
            return Finished(finish, word)
    return Finished("incomplete", word)
