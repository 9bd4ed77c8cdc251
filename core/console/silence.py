"""Keeps log records, warnings and lost exceptions off the screen; they go to the log, if there is
one.
"""

from __future__ import annotations

import sys
import threading
import warnings

from core.late_modules import when_loaded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any


def silence() -> None:
    """Disable Python's own output to standard error: it is raw and may contain a model's escape
    sequences.
    """
    warnings.showwarning = _log_warning
    when_loaded("logging", _silence_logging)     # a list of sessions does without it
    threading.excepthook = _lost_in_thread
    sys.unraisablehook = _lost


def _silence_logging(logging: Any) -> None:
    logging.lastResort = None
    logging.raiseExceptions = False      # a failing or missing handler prints nothing either
    logging.captureWarnings(True)


def _log_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int,
                 *_: Any, **__: Any) -> None:
    """Load what logs warnings; that takes this function's place."""
    import logging
    logging.captureWarnings(True)
    warnings.showwarning(message, category, filename, lineno)


def _lost_in_thread(lost: threading.ExceptHookArgs) -> None:
    _record(lost.exc_type, lost.exc_value, lost.exc_traceback)


def _lost(lost: sys.UnraisableHookArgs) -> None:
    _record(lost.exc_type, lost.exc_value, lost.exc_traceback)


def _record(kind: type[BaseException], value: BaseException | None,
            trace: TracebackType | None) -> None:
    if value is not None:
        import logging
        log = logging.getLogger(__name__)
        log.error("an exception that no task handled", exc_info=(kind, value, trace))
