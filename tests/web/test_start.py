"""Invalid settings are reported when the page starts, not at the first message."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.web.page_server import PATIENCE, ROOT, free_port

pytestmark = pytest.mark.processes


@pytest.mark.parametrize(("words", "said"), [
    (("--tools", "calculate,nosuch"), "There is no tool named nosuch."),
    (("--tools", "calculate", "--allow", "nosuch"), "--allow: nosuch is neither a tool"),
    (("--tools-file", "missing.py"), "missing.py"),
    (("--mcp-config", "missing.json"), "missing.json cannot be read"),
    (("--provider", "nosuch"), "nosuch"),
])
def test_settings_that_cannot_be_used_are_refused_at_the_start(
        home: dict[str, str], words: tuple[str, ...], said: str) -> None:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "stream_chat.py"), "--web", "--port", str(free_port()), *words],
        env=home, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE)
    lines = ended.stderr.splitlines()
    assert ended.returncode == 2 and said in ended.stderr and len(lines) <= 3, ended.stderr
    assert "Stream Chat is at" not in ended.stderr and not ended.stdout
