"""A command of the shell that the user types in a chat, as in `!git diff`."""

from __future__ import annotations

import asyncio
import codecs
import os
import signal
from collections.abc import Callable
from contextlib import suppress

from core.console.interrupts import Interrupts
from core.console.screen import Screen
from core.dataclass import dataclass
from core.errors import UsageError
from core.safe_text import safe_line, safe_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.console.typeahead import Typed

MOST = 1 << 20           # characters kept from the beginning of the output
PATIENCE = 2.0           # seconds until a command that ignores Ctrl-C is killed


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command printed, how many characters of its end are left out, and the exit code.
    """

    output: str
    left_out: int
    code: int


def shell_line(entered: Typed) -> str:
    """The command in a line; "" for a message. A command is one line that begins with ! and a word.
    """
    text = entered.text.strip()
    is_one = text.startswith("!") and text[1:2].strip(" !") != "" and "\n" not in text
    return text[1:] if is_one and not entered.text.startswith(" ") else ""


def run_line(command: str, screen: Screen, interrupts: Interrupts, *, pasted: bool) -> None:
    """Ask, run it, show its output, and offer the output for the next message. A yes holds for all
    commands typed in this chat; a pasted command is asked about each time.
    """
    if pasted or not screen.shell_allowed:
        if not screen.agrees(f"Run `{safe_line(command, 200)}` in your shell? [y/N]"):
            screen.note("Not run. A space before ! makes it a message.")
            return
        screen.shell_allowed = screen.shell_allowed or not pasted
    ran = interrupts.run(run_shell(command, lambda text: screen.write(safe_text(text))))
    screen.end_line()
    if ran.code:
        screen.note(f"Ended with {ran.code}.")
    lines = len(ran.output.splitlines())
    if not lines:
        screen.note("It printed nothing." if not ran.code else "It printed nothing else.")
    elif screen.agrees(f"Add the {'line' if lines == 1 else f'{lines:,} lines'} to your next "
                       "message? [y/N]"):
        screen.draft = draft_of(command, ran)


def draft_of(command: str, ran: Ran) -> str:
    """The output as the next message shows it to the model."""
    cut = f"[{ran.left_out:,} characters are left out here]\n" if ran.left_out else ""
    output = ran.output if ran.output.endswith("\n") else ran.output + "\n"
    fence = "```"
    while fence in output:
        fence += "`"
    code = f" (ended with {ran.code})" if ran.code else ""
    return f"Output of `{command}`{code}:\n{fence}\n{output}{cut}{fence}\n"


async def run_shell(command: str, show: Callable[[str], object]) -> Ran:
    """Run it without input, in its own process group. Cancelling stops the whole group."""
    try:
        process = await asyncio.create_subprocess_shell(
            command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT, start_new_session=True)
    except OSError as problem:
        raise UsageError(f"The command cannot be run: {problem.strerror}.") from problem
    assert process.stdout is not None
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    kept, size, left_out = list[str](), 0, 0
    try:
        while True:
            data = await process.stdout.read(65_536)
            text = decoder.decode(data, final=not data)
            show(text)
            room = max(MOST - size, 0)
            kept.append(text[:room])
            size, left_out = size + len(text[:room]), left_out + len(text[room:])
            if not data:
                break
        return Ran("".join(kept), left_out, await process.wait())
    except asyncio.CancelledError:
        await _stop(process)
        raise


async def _stop(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(process.wait(), PATIENCE)
            return
