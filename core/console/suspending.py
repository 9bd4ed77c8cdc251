"""Suspending with Ctrl-Z: restores the terminal for the shell, and its modes on resuming."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO


@contextmanager
def resumable(leave: Callable[[], None], enter: Callable[[], None]) -> Iterator[None]:
    """Call `leave` before the program is suspended and `enter` when it is resumed, however it was
    stopped.
    """
    if not hasattr(signal, "SIGTSTP"):
        yield
        return

    def suspend(number: int, frame: FrameType | None) -> None:
        leave()
        for stopping in (signal.SIGTSTP, signal.SIGCONT):
            signal.signal(stopping, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)     # stops here, until the shell resumes it
        signal.signal(signal.SIGTSTP, suspend)
        signal.signal(signal.SIGCONT, resume)
        enter()

    def resume(number: int, frame: FrameType | None) -> None:
        enter()

    before = {number: signal.getsignal(number) for number in (signal.SIGTSTP, signal.SIGCONT)}
    if before[signal.SIGTSTP] == signal.SIG_IGN:     # a shell without job control
        yield
        return
    signal.signal(signal.SIGTSTP, suspend)
    signal.signal(signal.SIGCONT, resume)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def asked_again(question: str, out: TextIO) -> Iterator[None]:
    """Repeat a question that waits for a line when the program is resumed: what stands above it
    is the shell's by then, and the terminal has dropped what was typed.
    """
    def again() -> None:
        out.write(question)
        out.flush()
    with resumable(lambda: None, again):
        yield
