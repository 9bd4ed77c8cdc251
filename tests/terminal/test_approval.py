"""What is kept of "always", and what a question says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.setup.grants import SavedGrants
from core.terminal.approval import question_lines
from core.tool_executor import ApprovalRequest
from core.tools.call_text import call_text
from core.tools import make_tool


def test_grants_last_and_are_their_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "data" / "grants.json"
    grants = SavedGrants(str(path))
    assert len(grants) == 0 and not path.exists()
    grants["a"] = "note"
    other = SavedGrants(str(path))   # another chat at the same time
    other["b"] = "fetch_url example.org"
    assert dict(grants) == {"a": "note", "b": "fetch_url example.org"}
    assert path.stat().st_mode & 0o777 == 0o600 and os.listdir(path.parent) == ["grants.json"]
    other.clear()
    assert dict(grants) == {} and "a" not in grants


@pytest.mark.parametrize("content", ["", "[1]", "null", "{", "\x00", "[" * 100_000])
def test_a_damaged_file_allows_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "grants.json"
    path.write_text(content)
    grants = SavedGrants(str(path))
    assert dict(grants) == {}
    grants["a"] = "note"
    assert dict(SavedGrants(str(path))) == {"a": "note"}


def test_where_nothing_can_be_written_a_grant_holds_for_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    grants = SavedGrants(str(tmp_path / "file" / "grants.json"))
    grants["a"] = "note"
    assert dict(grants) == {"a": "note"}
    del grants["a"]
    assert dict(grants) == {}


def test_a_question_says_all() -> None:
    def send(text: str) -> str:
        """Send."""
        return text
    made = make_tool(send, kind="network", source="MCP server \x1b[2Jbad\nname")
    arguments = {"text": "a\x1b]0;x\x07" + "y" * 3000}
    text = call_text(made.name, arguments)
    request = ApprovalRequest(made, made.kind, arguments, text, "ex\u202eample.org",
                              "private data is here")
    lines = question_lines(request, 24)
    shown = "\n".join(lines)
    assert ("y" * 3000 in shown and "scroll up" in shown and "private data is here" in shown
            and "<U+202E>" in shown)
    assert "\x1b" not in shown and "\x07" not in shown and "\n" not in lines[0]
