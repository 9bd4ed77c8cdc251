"""The question of this run: the words on the command line, then the text from standard input."""

from __future__ import annotations

import sys

from core.config import Settings
from core.console.standard_streams import read_stdin
from core.errors import UsageError


def read_question(settings: Settings) -> str:
    """The question; empty if a chat should be opened instead. Raises UsageError if there is nothing
    to ask.
    """
    if settings.retry:
        return ""
    words = _words(settings)
    if settings.template is None:
        return words
    from core.config.templates import filled, find_template
    return filled(find_template(settings.template, settings.environment), words)


def _words(settings: Settings) -> str:
    """The text from the command line and standard input."""
    if "prompt" in settings.given and not settings.prompt.strip() and not settings.reads_stdin:
        raise UsageError("There is nothing to ask: the question is empty.",
                         "Is a variable in your command empty?")
    if not something_is_piped(settings):
        return settings.prompt
    if pipes_context(settings):
        if not settings.prompt:
            raise UsageError("There is nothing to ask: standard input is context, and there is no "
                             "prompt.",
                             'Try: cat notes.md | stream-chat --context - "what is open?"')
        return settings.prompt
    text = read_stdin()
    question = (f"{settings.prompt}\n\n{text}" if settings.prompt and text.strip()
                else settings.prompt or text)
    if not question.strip() and settings.template is None:
        if settings.session or settings.continue_:
            raise UsageError("Resuming a session needs a terminal to chat in, or a question.",
                             'Try: stream-chat --continue "and then?"')
        raise UsageError("There is nothing to ask: no prompt, and standard input is empty.",
                         'Try: stream-chat "why is the sky blue?", or start it in a terminal '
                         'to chat.')
    return question


def something_is_piped(settings: Settings) -> bool:
    """Whether the question, or a part of it, is on standard input;
    with --select-session the choice is read there.
    """
    if settings.reads_stdin:
        return True
    closed = sys.stdin is None or sys.stdin.closed
    return not (closed or sys.stdin.isatty() or settings.select_session)


def pipes_context(settings: Settings) -> bool:
    """Whether what is piped in is context, and not the question."""
    return any(part.strip() == "-" for value in settings.context for part in value.split(","))


def piped_context(settings: Settings) -> str:
    """The text of the context source `-`."""
    return read_stdin() if pipes_context(settings) else ""
