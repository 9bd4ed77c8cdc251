"""The exit codes of one answer."""

from __future__ import annotations

from core.messages import Message, is_empty

EXIT_INCOMPLETE = 3
EXIT_INTERRUPTED = 130
INCOMPLETE = ("length", "content_filter", "incomplete", "truncated", "error", "interrupted")


def exit_code(message: Message) -> int:
    """Only a complete answer that is not empty is a success."""
    if message.finish in INCOMPLETE:
        return EXIT_INCOMPLETE
    return 1 if is_empty(message) else 0
