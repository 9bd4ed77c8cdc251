"""Asks the user in a terminal whether a tool may run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TextIO

from core.console.line_input import drop_typed, read_line
from core.console.questions import YES
from core.console.suspending import resumable
from core.console.terminal_modes import echoed
from core.safe_text import safe_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.console.screen import Screen
    from core.tool_executor import ApprovalRequest, Decision

CHOICES = "y once   s session   a always   N no"
QUESTION = "  {} "       # its sign; the answer is typed after it
WHAT_IT_DOES = {"read": "reads files", "network": "reads from the network",
                "write": "changes files", "run": "runs a program"}
ANSWERS: dict[str, Decision] = {"y": "once", "yes": "once", "once": "once", "s": "session",
                                "session": "session",
                                "a": "always", "always": "always", "n": "no", "no": "no", "": "no"}
EXPLAINED = ("y: run it, this once", "s: run it, and calls like it until this session ends",
             "a: run it, and calls like it always (/tools forget undoes that)",
             "n, or Enter alone: do not run it; the model is informed")


class TerminalApproval:
    """Shows the whole call and reads one line.

    Only a clear yes counts as yes; Ctrl-C means no and also ends the turn.
    """

    def __init__(self, screen: Screen, source: TextIO | None = None) -> None:
        self._screen = screen
        self._source = source or sys.stdin

    async def __call__(self, request: ApprovalRequest) -> Decision:
        def show() -> None:
            self._screen.gap()
            self._screen.say("question", "\n".join(question_lines(request, self._screen.height())))
        show()
        decision = await self._ask(show)
        while decision is None:
            for line in EXPLAINED:
                self._screen.line(f"  {line}")
            decision = await self._ask(show)
        return decision

    async def agree(self, question: str) -> bool:
        """Ask about anything but a tool, such as an attachment. Anything but a clear yes counts as
        no.
        """
        *rows, last = self._screen.marked("question", f"{question} [y/N]")
        above, last = "".join(f"{row}\n" for row in rows), f"{last} "
        self._screen.write(above)
        return (await self._answer(last, lambda: self._screen.write(above + last))).lower() in YES

    async def _ask(self, show: Callable[[], None]) -> Decision | None:
        """The answer to the question; None if it is not one of the four. `show` shows it again when
        the program was suspended meanwhile.
        """
        said = (await self._answer(QUESTION.format(self._screen.sign("user")), show)).lower()
        return ANSWERS.get(said) if said.isprintable() else "no"

    async def _answer(self, question: str, show: Callable[[], None]) -> str:
        try:
            with echoed(self._source.fileno()):
                if self._screen.typed is not None:
                    self._screen.typed.collect()
                else:
                    drop_typed(self._source)
                self._screen.write(question)
                self._screen.question = question
                with self._shown_again(show):
                    answer = await read_line(self._source)
        except BaseException:
            self._screen.write("\n")
            raise
        finally:
            self._screen.question = ""
        if not answer.endswith("\n"):
            self._screen.write("\n")
        self._screen.begin_line()
        return answer.strip()

    def _shown_again(self, show: Callable[[], None]) -> AbstractContextManager[None]:
        """Show the whole question again after Ctrl-Z and fg: the shell's lines stand below it."""
        def again() -> None:
            self._screen.begin_line()
            show()
        typed = self._screen.typed
        return resumable(lambda: None, again) if typed is None else typed.resuming(again)


def question_lines(request: ApprovalRequest, height: int) -> list[str]:
    """Everything the user needs to know. `request.text` is made safe and never shortened."""
    tool = request.tool
    head, *arguments = request.text.split("\n")
    shown = [f"Run {safe_line(tool.name)}?  {WHAT_IT_DOES.get(tool.kind, tool.kind)}"]
    shown += [line.removeprefix("  ")
              for line in (arguments if head == tool.name else [head, *arguments])]
    if tool.source != "built in":
        shown.append(f"It comes from {safe_line(tool.source)}.")
    if request.host:
        shown.append(f"It talks to {safe_line(request.host)}.")
    if request.reason:
        shown.append(f"You are asked because {request.reason}.")
    if sum(1 + len(line) // 80 for line in request.text.split("\n")) > height - 4:
        shown.append(f"(This is long, {len(request.text):,} characters: scroll up to see it from "
                     "its start.)")
    return [*shown, CHOICES]
