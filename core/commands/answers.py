"""Commands for the last answer: copy it, or write it into a file."""

from __future__ import annotations

import os

from core.chat.conversation import Chat
from core.commands import Done, Outcome, Paste, ToClipboard, command
from core.commands.clipboard import copy as to_clipboard
from core.commands.sessions import shell_words
from core.config.directories import from_home
from core.errors import UsageError
from core.messages import Message
from core.rendering.parser.code_blocks import CodeBlock, code_blocks
from core.sessions.output import refuse_existing

GROUP = "Answers"


async def _blocks(chat: Chat) -> list[str]:
    """`code`, and the numbers of the existing blocks."""
    count = sum(len(code_blocks(message.text)) for message in _answers(chat))
    return ["code", *(f"code {number}" for number in range(1, count + 1))]


@command(usage="[N | code [N]]", complete=_blocks)
async def copy(chat: Chat, argument: str) -> Outcome:
    """Copy the last answer, the answer N back, or its code: /copy, /copy 2,
    /copy code, /copy code 3.

    `code` alone takes all blocks of the last answer; `code N` the block with that number,
    counted through the chat.
    """
    word, _, number = argument.partition(" ")
    text = _code(chat, number.strip()) if word == "code" else _answer(chat, argument).text
    lines = text.count("\n") + (not text.endswith("\n"))
    count = f"{lines:,} {'line' if lines == 1 else 'lines'}"
    if chat.settings.clipboard == "osc52":
        return ToClipboard(text, f"Copied {count} through the terminal (OSC 52), if it "
                           "allows that.")
    return Done(f"Copied {count} with {to_clipboard(text, chat.settings.environment)}.")


@command()
async def paste(chat: Chat, argument: str) -> Outcome:
    """Take what is on the clipboard: a picture is attached, text begins your next message."""
    return Paste()


@command(usage="FILE [N | code [N]] [--force]")
async def save(chat: Chat, argument: str) -> Outcome:
    """Write the last answer, the answer N back, or its code into FILE as it is:
    /save answer.md, /save fib.py code; --force replaces a file that exists.
    """
    words = shell_words(argument)
    force = "--force" in words
    words = [word for word in words if word != "--force"]
    number = words.pop() if len(words) > 1 and words[-1].isdigit() else ""
    is_code = len(words) > 1 and words[-1] == "code"
    words = words[:-1] if is_code else words
    if not words:
        raise UsageError("/save needs the name of a file.", "Example: /save answer.md")
    path = os.path.expanduser(" ".join(words))
    text = _code(chat, number) if is_code else _answer(chat, number).text
    if not force:
        refuse_existing(path)
    try:
        with open(path, "w", encoding="utf-8", errors="replace") as file:
            file.write(text if text.endswith("\n") else text + "\n")
    except OSError as problem:
        raise UsageError(f"{path} cannot be written: {problem.strerror}.") from problem
    what = "code" if is_code else "answer"
    return Done(f"Saved the {what} to {from_home(path)}. /export saves the session.")


def _answers(chat: Chat) -> list[Message]:
    return [message for message in chat.session.messages
            if message.role == "assistant" and message.text.strip()]


def _answer(chat: Chat, number: str) -> Message:
    """The last answer, or the one N back (1 is the last). Raises UsageError."""
    answers = _answers(chat)
    if not answers:
        raise UsageError("There is no answer yet.")
    if number and not (number.isascii() and number.isdigit() and 1 <= int(number) <= len(answers)):
        raise UsageError(f"There is no answer {number}.",
                         f"The chat has {len(answers)}; the last is number 1.")
    return answers[-int(number or 1)]


def _code(chat: Chat, number: str) -> str:
    blocks: list[CodeBlock] = [block for message in _answers(chat)
                               for block in code_blocks(message.text)]
    last = code_blocks(_answer(chat, "").text)
    if not number:
        if not last:
            raise UsageError("The last answer has no code.",
                             f"`code N` takes one of {len(blocks)}." if blocks else "")
        return "\n".join(block.source for block in last)
    if not (number.isascii() and number.isdigit() and 1 <= int(number) <= len(blocks)):
        raise UsageError(f"There is no code {number}.",
                         f"The chat has {len(blocks)} blocks of code.")
    return blocks[int(number) - 1].source
