"""Reports the error that ends the program:
three lines on standard error at most, or an event for a program.
"""

from __future__ import annotations

import json
import logging
import sys

from core.argument_parser import started_as
from core.errors import ChatError, describe
from core.events import Failed, to_dict
from core.rendering.listing import fitted


def report(error: ChatError, *, as_json: bool) -> None:
    """As the last event on standard output, or in words that name the program as it was started."""
    log = logging.getLogger(__name__)
    # without --debug, and before it is known, logging itself would print the error again
    if log.hasHandlers():
        log.error("%s", describe(error))
    if as_json:
        print(json.dumps(to_dict(Failed(error))))
        return
    text = describe(error).replace("stream-chat -",
                                   f"{started_as()} -").replace('stream-chat "',
                                                                f'{started_as()} "')
    print(fitted(text, sys.stderr) if sys.stderr.isatty() else text, file=sys.stderr)
