"""Log records, warnings and errors of threads are never printed on the screen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

PROVOKE = r"""
import importlib, io, logging, pkgutil, sys, threading, warnings
import core
from core.chat_engine import main
assert main(["--list-providers"]) == 0
for module in pkgutil.walk_packages(core.__path__, "core."):
    if module.name.rsplit(".", 1)[-1] not in ("__main__",):
        try:
            importlib.import_module(module.name)
        except ImportError:
            pass
for name in ("asyncio", "httpx2", "httpcore2", "urllib3", "mcp", "pypdf", "psycopg", "concurrent.futures", "py.warnings"):
    logging.getLogger(name)
EVIL = "\x1b]0;planted\x07 planted"
loggers = [logging.getLogger(name) for name in [None, *logging.root.manager.loggerDict]]
assert len(loggers) > 20, loggers
for logger in loggers:
    for level in (logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(level, EVIL)
    try:
        raise ValueError(EVIL)
    except ValueError:
        logger.exception(EVIL)
    logger.error("%d", EVIL)
warnings.warn(EVIL)
warnings.warn_explicit(EVIL, DeprecationWarning, EVIL, 1)
def fails():
    raise ValueError(EVIL)
thread = threading.Thread(target=fails)
thread.start()
thread.join()
class Lost:
    def __del__(self):
        raise ValueError(EVIL)
Lost()
import asyncio
async def leave():
    asyncio.get_running_loop().call_exception_handler({"message": EVIL, "exception": ValueError(EVIL)})
    asyncio.ensure_future(asyncio.sleep(0, fails)).add_done_callback(lambda done: fails())
    await asyncio.sleep(0.01)
asyncio.run(leave())
print("end", file=sys.stderr)
"""


def test_every_logger_is_silent(environment: Mapping[str, str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROVOKE], capture_output=True,
                          env=dict(environment), timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith(b"end\n") and b"planted" not in done.stderr + done.stdout
    assert b"\x1b" not in done.stderr and b"Traceback" not in done.stderr
