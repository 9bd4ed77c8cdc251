"""One answer without a chat: plain text to a pipe, or JSON events for programs."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TextIO

from core import __version__
from core.chat.conversation import Chat
from core.chat.front import Front
from core.config import Settings
from core.console.exit_codes import EXIT_INTERRUPTED, exit_code
from core.console.interrupts import Interrupted, Interrupts, Terminated
from core.console.one_chat import choose_from_list, print_news, with_chat
from core.console.progress_line import ProgressLine
from core.console.first_turn import begin_answer
from core.console.question import piped_context, read_question
from core.console.questions import agree, somebody_types
from core.errors import ChatError, UsageError, describe
from core.events import (Event, Failed, MessageAdded, Notice, QuotesChecked, Resuming, TextDelta,
                         ToolRequested, message_dict,
                         to_dict)
from core.messages import Message
from core.rendering.event_lines import EventLines, finish_note
from core.safe_text import safe_text
from core.setup.store import OpenedStore

log = logging.getLogger(__name__)


def run(settings: Settings) -> int:
    """Send the question and print the answer on standard output. Return the exit code."""
    question = read_question(settings)
    if not question and not settings.retry:
        raise _nothing_to_ask(settings)
    able = sys.stderr.isatty() and settings.environment.get("TERM", "") not in ("", "dumb")
    front = Front(agree=agree if somebody_types() else None,
                  progress=ProgressLine(sys.stderr, able=able),
                  piped=piped_context(settings))
    interrupts = Interrupts()

    def answer(chat: Chat, opened: OpenedStore) -> int:
        print_news(opened.news)
        if settings.extract is not None:
            return answer_with_code(chat, begin_answer(settings, chat, question), interrupts,
                                    settings.extract)
        if settings.json:
            return answer_as_json(chat, begin_answer(settings, chat, question), interrupts,
                                  sys.stdout)
        return answer_as_text(chat, begin_answer(settings, chat, question), interrupts, sys.stdout,
                              sys.stderr)
    return with_chat(settings, front, interrupts, answer, choose_session=choose_from_list)


def _nothing_to_ask(settings: Settings) -> UsageError:
    flag = next((flag for flag in ("select_session", "session", "continue_")
                 if getattr(settings, flag)), "")
    hint = 'Try: stream-chat --continue "and then?"'
    if flag:
        return UsageError(f"--{flag.rstrip('_').replace('_', '-')} needs a terminal to chat in, or "
                          "a question.", hint)
    return UsageError("There is nothing to ask: no prompt, and the output is not a terminal.",
                      'Try: stream-chat "why is the sky blue?"')


def answer_as_json(chat: Chat, turn: AsyncGenerator[Event, None], interrupts: Interrupts,
                   out: TextIO) -> int:
    """Write NDJSON events to `out`; the last line is a message or an error. Return the exit code.
    """
    writer = _JsonWriter(out, chat)

    async def run() -> int:
        code = 0
        try:
            async with aclosing(turn) as events:
                async for event in events:
                    writer.add(event)
                    code = _code_after(event, code)
        finally:
            writer.flush()
        return code
    try:
        return interrupts.run(run())
    except (Interrupted, Terminated) as end:
        writer.begin()
        kept = _interrupted_reply(chat)
        nothing = to_dict(Failed(ChatError("Interrupted before an answer arrived.")))
        _emit(out, message_dict(kept) if kept else nothing)
        if isinstance(end, Terminated):
            raise
        return EXIT_INTERRUPTED
    except ChatError as error:
        log.error("%s", describe(error))
        writer.begin()
        _emit(out, to_dict(Failed(error)))
        return error.exit_code


def answer_as_text(chat: Chat, turn: AsyncGenerator[Event, None], interrupts: Interrupts,
                   out: TextIO, err: TextIO) -> int:
    """Write the answer to `out` as it arrives, everything else to `err`. Return the exit code.

    A pipe gets exactly what the model wrote: escaping is for terminals. If both are the same file,
    an unfinished line of the answer is ended before anything else is written. An answer with a
    required format is written at its end, so that a repaired one is not written twice.
    """
    together, at_end, lines = same_file(out, err), chat.form is not None, EventLines()

    async def run() -> int:
        code, last = 0, "\n"
        try:
            async with aclosing(turn) as events:
                async for event in events:
                    if isinstance(event, TextDelta) and at_end:
                        continue
                    if isinstance(event, TextDelta):
                        out.write(event.text)
                        out.flush()
                        last = event.text or last
                        continue
                    notes = _notes(event, lines)
                    if notes and together and not last.endswith("\n"):
                        last = "\n"
                        out.write(last)
                        out.flush()
                    err.write("".join(f"{line}\n" for line in notes))
                    code = _code_after(event, code)
        finally:
            err.write("".join(f"{line}\n" for line in lines.unanswered()))
            if at_end:
                last = _whole_answer(chat)
                out.write(last)
            if not last.endswith("\n"):
                out.write("\n")
                out.flush()
        return code
    try:
        return interrupts.run(run())
    except Interrupted:
        err.write("interrupted\n")
        return EXIT_INTERRUPTED
    except ChatError as error:
        log.error("%s", describe(error))
        from core.console.report import print_error     # needed only after a failure
        print_error(error, chat.settings)
        return error.exit_code


def answer_with_code(chat: Chat, turn: AsyncGenerator[Event, None], interrupts: Interrupts,
                     which: str) -> int:
    """Write only the code of the complete answer to standard output. Return the exit code.

    If there is no code, the answer goes to standard error.
    """
    from core.command_line.extract import extracted
    answer = io.StringIO()
    code = answer_as_text(chat, turn, interrupts, answer, sys.stderr)
    text = answer.getvalue()
    try:
        if text.strip():
            sys.stdout.write(extracted(text, which))
    except ChatError:
        sys.stderr.write(safe_text(text) if sys.stderr.isatty() else text)
        raise
    return code


def _whole_answer(chat: Chat) -> str:
    """Return all text of the model since the user's last message."""
    messages = chat.session.messages
    asked = max((place for place, message in enumerate(messages) if message.role == "user"),
                default=-1)
    return ("".join(message.text for message in messages[asked + 1:] if message.role == "assistant")
            or "\n")


def same_file(one: TextIO, other: TextIO) -> bool:
    """Return whether both write to the same file, as after 2>&1."""
    try:
        return os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno()))
    except (OSError, ValueError):   # closed, or not a real file
        return False


def _notes(event: Event, lines: EventLines) -> list[str]:
    notes = [str(line) if line.name else line.text for line in lines.of(event)]
    if (isinstance(event, MessageAdded) and event.message.role == "assistant"
        and finish_note(event.message)):
        notes.append(finish_note(event.message))
    return notes


def _code_after(event: Event, code: int) -> int:
    if isinstance(event, MessageAdded) and event.message.role == "assistant":
        return exit_code(event.message)
    return code


def _interrupted_reply(chat: Chat) -> Message | None:
    last = chat.session.recent[-1] if chat.session.recent else None
    return (last if last is not None and last.role == "assistant" and last.finish == "interrupted"
            else None)


class _JsonWriter:
    """Writes events as lines of JSON.

    A message is held back until it is complete: one that broke off and was resumed is a single
    message.
    """

    def __init__(self, out: TextIO, chat: Chat) -> None:
        self._out, self._chat = out, chat
        self._begun = False
        self._held: Message | None = None
        self._before = ""

    def begin(self) -> None:
        """Write the first line: the program, and the session ID where the answer is saved, or null.
        """
        if not self._begun:
            self._begun = True
            session, target = self._chat.session, self._chat.target
            _emit(self._out, {"event": "session", "id": session.id if session.saved else None,
                              "model": str(target), "version": __version__})

    def add(self, event: Event) -> None:
        self.begin()
        if isinstance(event, ToolRequested):   # written with the message that contains it
            return
        if isinstance(event, Resuming) and self._held is not None:
            self._before += self._held.text
            self._held = None
        # the last line must be the message
        if isinstance(event, (Notice, QuotesChecked)) and self._held is not None:
            _emit(self._out, to_dict(event))
            return
        self.flush()
        if isinstance(event, MessageAdded) and event.message.role == "assistant":
            self._held = event.message
            return
        _emit(self._out, to_dict(event))

    def flush(self) -> None:
        """Write a reply's calls before the reply, so that a message is the last line even if no
        call is run.
        """
        message, self._held = self._held, None
        if message is not None:
            for call in message.tool_calls:
                _emit(self._out, to_dict(ToolRequested(call)))
            _emit(self._out, message_dict(message) | {"text": self._before + message.text})
            self._before = ""


def _emit(out: TextIO, record: dict[str, object] | None) -> None:
    if record is not None:
        out.write(json.dumps(record) + "\n")
        out.flush()
