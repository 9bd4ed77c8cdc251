"""The first start without any model: one screen, one key, three ways to go."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress

from core.argument_parser import started_as
from core.console.interrupts import Interrupted, Interrupts
from core.console.line_input import wait_readable
from core.errors import ChatError, ProviderError, describe
from core.model_manager import Providers, Target
from core.safe_text import safe_line
from core.setup.model import DEMO

ENTER_SECONDS = 0.4    # how long after a key an Enter still belongs to it


async def choose(error: ProviderError, providers: Providers, interrupts: Interrupts) -> Target:
    """The model that the user takes. Raises SystemExit for who leaves to set one up, KeyboardInterrupt for who leaves."""
    from core.engine.models import DEFAULT
    offer = f"{DEFAULT.name}, {DEFAULT.size / 1e9:.1f} GB, {DEFAULT.licence}"
    _tell(f"No model is set up yet: {safe_line(error.message, 120)}\n\n"
          f"  1  download a small model and run it here ({offer})\n"
          "  2  use a server or a key: how to set one up\n"
          "  3  look round with the demo: scripted replies, no model\n")
    while True:
        key = await read_key("1, 2 or 3 > ")
        if key == "1":
            local = await fetch_default(providers, interrupts)
            if local is not None:
                return local
        elif key == "2":
            _tell("A server: start Ollama (`ollama serve`), or name its address with OLLAMA_HOST or --base-url; then start again.\n"
                  "A key: set e.g. OPENAI_API_KEY or ANTHROPIC_API_KEY, or store one:\n"
                  f"  {started_as()} --set-key openai\n"
                  f"  {started_as()} --list-providers     names all")
            raise SystemExit(0)
        elif key == "3":
            return DEMO
        elif key in ("q", "\x03", "\x04"):
            raise KeyboardInterrupt
        else:
            _tell("Press 1, 2 or 3; q or Ctrl-C leaves.")


async def fetch_default(providers: Providers, interrupts: Interrupts) -> Target | None:
    """Download the default model with a progress bar; None when that did not work out, which has been said."""
    from core.console.pull_progress import STOPPED, show_progress
    from core.engine.models import DEFAULT
    target = Target("local", DEFAULT.name)
    try:
        await interrupts.stoppable(show_progress(sys.stdout, target, providers))
    except Interrupted:
        print(STOPPED)
        return None
    except ChatError as error:
        print(describe(error))
        return None
    return target


async def read_key(prompt: str) -> str:
    """One key without Enter, echoed; a line where the terminal cannot do that. The terminal is left as it was.

    An Enter out of habit is waited for a moment and dropped, so that it does not answer the next question.
    """
    try:
        import termios
        import tty
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (ImportError, OSError, ValueError):
        _say(prompt)
        line = sys.stdin.readline()
        return line.strip()[:1] if line else "\x04"
    try:
        tty.setcbreak(descriptor, termios.TCSANOW)   # before the question is seen: a key pressed at once is an answer to it
        _say(prompt)
        await wait_readable(descriptor)
        key = os.read(descriptor, 1).decode("ascii", "replace") or "\x04"
        with suppress(TimeoutError):
            await asyncio.wait_for(wait_readable(descriptor), ENTER_SECONDS)
        termios.tcflush(descriptor, termios.TCIFLUSH)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
    _say(f"{safe_line(key.strip())}\n")
    return key.strip() if key not in ("\x03", "\x04") else key


def _tell(text: str) -> None:
    """In lines that are broken between words."""
    from core.rendering.listing import fitted
    _say(f"{fitted(text, sys.stdout)}\n")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
