"""Keeps log records, warnings and lost exceptions off the screen; they go to the log, if there is
one.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType

log = logging.getLogger(__name__)


def silence() -> None:
    """Disable Python's own output to standard error: it is raw and may contain a model's escape
    sequences.
    """
    logging.lastResort = None
    logging.raiseExceptions = False      # a failing or missing handler prints nothing either
    logging.captureWarnings(True)
    threading.excepthook = _lost_in_thread
    sys.unraisablehook = _lost


def _lost_in_thread(lost: threading.ExceptHookArgs) -> None:
    _record(lost.exc_type, lost.exc_value, lost.exc_traceback)


def _lost(lost: sys.UnraisableHookArgs) -> None:
    _record(lost.exc_type, lost.exc_value, lost.exc_traceback)


def _record(kind: type[BaseException], value: BaseException | None,
            trace: TracebackType | None) -> None:
    if value is not None:
        log.error("an exception that no task handled", exc_info=(kind, value, trace))
