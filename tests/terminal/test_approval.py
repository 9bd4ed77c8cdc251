"""Permanent approvals, and the text of a question."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from core.setup.grants import SavedGrants
from core.terminal.approval import question_lines
from core.tool_executor import ApprovalRequest
from core.tools.call_text import call_text
from core.tools import make_tool
from tests.fake_server import (Answer, FakeServer, Received, chat_line, done_line, json_answer,
                               lines_answer)
from tests.pseudo_terminal import ENTER, Terminal


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


def asks_for_a_page(request: Received) -> Answer:
    """An Ollama whose model fetches a page, then answers."""
    if request.path == "/api/show":
        return json_answer({"model_info": {}, "capabilities": ["completion", "tools"]})
    if request.path != "/api/chat":
        return json_answer({"models": [{"name": "m", "model": "m"}]})
    messages = request.json["messages"]
    if messages and messages[-1]["role"] == "user":
        call = {"function": {"name": "fetch_url", "arguments": {"url": "http://a.invalid/"}}}
        return lines_answer([chat_line("m", tool_calls=[call]), done_line("m")])
    return lines_answer([chat_line("m", "answered"), done_line("m")])


@pytest.mark.parametrize(("screen", "question"), [
    ("--plain-screen", "Question: Run fetch_url"), ("--no-plain-screen", r"\? Run fetch_url")])
def test_the_question_is_shown_again_after_the_shell(
        screen: str, question: str, program: list[str], environment: dict[str, str]) -> None:
    words = [*program, "-m", "m", screen, "--experimental", "--tools", "fetch_url"]
    with (FakeServer(asks_for_a_page) as server,
          Terminal(["bash", "--norc", "--noediting", "-i"],
                   environment | {"PS1": "shell: ", "OLLAMA_HOST": server.url}) as chat):
        chat.wait("^shell:")
        chat.send(" ".join(map(shlex.quote, words)) + ENTER)
        chat.wait("^(You:|\u203a)")
        chat.send("go" + ENTER)
        for times in (1, 2):
            chat.wait(f"^{question}", times)
            chat.send("\x1a")
            chat.wait("Stopped", times)
            chat.send("fg" + ENTER)
        chat.wait(f"^{question}", 3)
        chat.wait("y once .*\n  (You:|\u203a)$")
        chat.send("n" + ENTER)
        chat.wait("^answered$")
