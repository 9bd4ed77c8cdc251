"""Prompts and skills stored as files."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config.templates import Template, filled, find_templates
from core.errors import UsageError
from tests.fake_server import FakeOllama
from tests.pseudo_terminal import Terminal

Environment = dict[str, str]
TRANSLATE = "---\ndescription: Translate a text\n---\nInto {{language=German}}:\n\n{{input}}\n"
SKILL = "---\nname: review\ndescription: >\n  Review\n  code\n---\n# Review\n\nLook for bugs.\n"


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    folder = Path(environment["HOME"], ".config", "stream-chat")
    for name, text in (("prompts/translate.md", TRANSLATE), ("skills/review/SKILL.md", SKILL),
                       ("prompts/bare.md", "Say hello.")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with FakeOllama(models=("words-5",)) as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


def last_asked(server: FakeOllama) -> str:
    return str(server.chats[-1].json["messages"][-1]["content"])


@pytest.mark.parametrize(("body", "argument", "text"), [
    ("Say hello.", "", "Say hello."), ("Say hello.", "to Anna", "Say hello.\n\nto Anna"),
    ("In {{language}}: {{input}}", "language=French one two", "In French: one two"),
    ("In {{language}}: {{input}}", "language='Swiss German'  x", "In Swiss German: x"),
    ("In {{ Language = German }}: {{input}}", "hi", "In German: hi"),
    ("About {{topic}}.", "cats and dogs", "About cats and dogs."),
    ("About {{topic}}.", 'topic="a b" now', "About a b.\n\nnow"),
    ("Do $ARGUMENTS now", "this", "Do this now"), ("{{a}} {{a}}", "x", "x x"),
    ("{{a}}", "b=1", "b=1"),
    ("Set x=1 {{input}}", "y=2 z", "Set x=1 y=2 z"),
    ("{{input}}", "{{a}} $ARGUMENTS", "{{a}} $ARGUMENTS"),
    ("{{a=}}!", "", "!"), ("{ {a}} {{1}} {{}}", "", "{ {a}} {{1}} {{}}")])
def test_what_is_asked(body: str, argument: str, text: str) -> None:
    assert filled(Template("x", "", body, ""), argument) == text


@pytest.mark.parametrize(("body", "argument", "names"), [
    ("{{a}} {{b}}", "", "a, b"), ("{{a}} {{b}}", "one", "a, b"), ("{{a}} {{b}}", "a=1", "b"),
    ("{{input}}", " ", "input")])
def test_what_is_missing_is_named(body: str, argument: str, names: str) -> None:
    with pytest.raises(UsageError, match=f"x needs {names}"):
        filled(Template("x", "", body, ""), argument)


@pytest.mark.parametrize("text",
                         ["", "---\n: : :\n---\n", "---\nname: [1\n---\nbody",
                          "---\n- 1\n---\nbody", "\ufeffbody",
                          "---\nbody", "---\nname: ../../x\n---\nbody", "\x00\x1b[2J"])
def test_no_file_stops_the_others(text: str, tmp_path: Path) -> None:
    folder = tmp_path / "stream-chat" / "prompts"
    folder.mkdir(parents=True)
    (folder / "odd.md").write_text(text)
    (folder / "bad name.md").write_text("x")
    (folder / "folder.md").mkdir()
    (folder / "good.md").write_text("good")
    found = find_templates({"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)})
    assert "good" in found and set(found) <= {"good", "odd"}


def test_in_a_chat(program: list[str], environment: Environment, ollama: FakeOllama) -> None:
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        shown = chat.ask("/prompts", "Review code")
        assert "/translate" in shown and "[language=German] TEXT" in shown
        chat.ask("/translate language=French Good morning", "w4")
        assert last_asked(ollama) == "Into French:\n\nGood morning"
        chat.ask("/review this", "w4", 2)
        assert last_asked(ollama) == "# Review\n\nLook for bugs.\n\nthis"
        assert "translate needs input" in chat.ask("/translate", "needs input")
        assert "There is no command /nosuch" in chat.ask("/nosuch", "no command")
    assert len(ollama.chats) == 2


def test_on_the_command_line(program: list[str], environment: Environment,
                             ollama: FakeOllama) -> None:
    def run(*words: str, said: str | None = None) -> subprocess.CompletedProcess[str]:
        stdin = {"input": said} if said is not None else {"stdin": subprocess.DEVNULL}
        return subprocess.run([*program, "-m", "words-5", *words], env=environment,
                              capture_output=True, text=True, timeout=60,
                              **stdin)  # type: ignore[call-overload, no-any-return]  # one of the two
    assert run("--prompt", "translate", "language=French", "hello").returncode == 0
    assert last_asked(ollama) == "Into French:\n\nhello"
    assert (run("--prompt", "translate", said="from a pipe\n").returncode == 0
            and last_asked(ollama).endswith("from a pipe"))
    assert run("--prompt", "bare").returncode == 0 and last_asked(ollama) == "Say hello."
    missing = run("--prompt", "trnslate", "x")
    assert missing.returncode == 2 and "Did you mean translate?" in missing.stderr
    assert run("--prompt", "translate").returncode == 2 and len(ollama.chats) == 3
