"""What Python would print to standard error itself is hidden, whether or not `logging` is loaded
first.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

SCRIPT = """
import sys, threading, warnings
{before}
from core.console.silence import silence
silence()
assert {loaded} == (type(sys.modules["logging"]).__name__ != "LateModule")
kept = []
if {keeps}:
    import logging
    class Keep(logging.Handler):
        def emit(self, record):
            kept.append(record.getMessage())
    logging.getLogger().addHandler(Keep())
warnings.warn("a first warning")
warnings.showwarning("a second", UserWarning, "file", 1, None)
warnings.warn("a third warning")
import logging.handlers
logging.getLogger("somebody").warning("a record")
class Lost:
    def __del__(self):
        raise ValueError("never caught")
Lost()
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
assert not {keeps} or (len(kept) == 6 and "a third" in kept[2] and kept[3] == "a record"), kept
"""


@pytest.mark.processes
@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("before", ["", "import logging"])
def test_nothing_of_it_is_printed_and_all_of_it_is_logged(before: str, keeps: bool) -> None:
    script = SCRIPT.format(before=before, loaded=bool(before), keeps=keeps)
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True,
                          timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
