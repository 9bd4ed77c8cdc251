"""Checks whether a text is a summary of a conversation: small models often reply to it instead."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from core.messages import Message
from core.regex import regex
from core.store.words import UNSPACED, words_of

JUDGED_FROM = 20  # distinct words of a conversation from which summaries are checked
SOME = 8          # distinct words from which a summary must keep at least one of them
SHORTEST = 12          # words
LEAST_SHARE = 0.25     # share of the summary's words that must occur in the conversation
COMMON = 0.05          # share of the conversation's words that the summary needs, to MOST_COMMON
MOST_COMMON = 8
# names and numbers that are said more than once; with so many, at least one of all must be kept
MARKED_FROM = 6
_MARKED = regex(r"(?<![.!?:\n] )(?<!^)\b[A-Z][\w-]+|\b\d[\d.,:/-]*\d\b|\b\w+(?:[._/]\w+)+",
                re.MULTILINE)
_UNSPACED = regex(f"[{UNSPACED}]")


def fault_of_summary(summary: str, messages: Sequence[Message]) -> str:
    """Why this is not a summary of these messages, as the end of a sentence; "" if it may be one.
    """
    said = "\n".join(message.text for message in messages)
    known = _content(said)
    words, own = words_of(summary), _content(summary)
    if len(known) < JUDGED_FROM:
        lost = len(known) >= SOME and not own & known
        return "contains nothing of the conversation" if lost else ""
    if len(words) < SHORTEST:
        return f"has only {len(words)} words"
    shared = own & known
    if len(shared) < min(MOST_COMMON, len(known) * COMMON) or len(shared) < len(own) * LEAST_SHARE:
        return "contains too little of the conversation"
    marked, lowered = Counter(_MARKED.findall(said)), summary.lower()
    repeated = sum(count > 1 for count in marked.values())
    if repeated >= MARKED_FROM and not any(name.lower() in lowered for name in marked):
        return "keeps none of the names and numbers"
    return ""


def _content(text: str) -> frozenset[str]:
    """The significant words: longer words, numbers, and characters of scripts without spaces."""
    return frozenset(word for word in words_of(text)
                     if len(word) > 3 or word.isdigit() or _UNSPACED.fullmatch(word))
