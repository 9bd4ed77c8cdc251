"""-x, --completion, --widget and the man page."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.command_line.extract import extracted
from core.command_line.shells import flags_of
from core.config import SETTINGS
from core.errors import ChatError
from tests.conftest import ROOT
from tests.fake_server import FakeServer, sse_answer
from tests.pseudo_terminal import Terminal

Environment = dict[str, str]
SHELLS = ("bash", "zsh", "fish")
ANSWER = "Try this:\n\n```python\nprint(1)\n```\n\nor\n\n```sh\nls -l\n```\n"


@pytest.fixture
def model(environment: Environment) -> Iterator[FakeServer]:
    """A server that answers with ANSWER, in OpenAI's form."""
    import json
    pieces = [ANSWER[place:place + 7] for place in range(0, len(ANSWER), 7)]
    frames = [b"data: " + json.dumps({"choices": [{"delta": {"content": piece}}]}).encode()
              + b"\n\n" for piece in pieces]
    end = [b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n', b"data: [DONE]\n\n"]
    with FakeServer(sse_answer([*frames, *end])) as server:
        environment["STREAM_CHAT_PROVIDER"] = "custom"
        environment["STREAM_CHAT_BASE_URL"] = f"{server.url}/v1"
        environment["STREAM_CHAT_MODEL"] = "m"
        yield server


def run(program: list[str], environment: Environment,
        *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, *words], env=environment, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True,
                          timeout=60)


@pytest.mark.parametrize(("which", "code"), [
    ("all", "print(1)\n\nls -l\n"), ("1", "print(1)\n"), ("2", "ls -l\n"), ("py", "print(1)\n"),
    ("bash", "ls -l\n"),
    ("Shell", "ls -l\n")])
def test_what_is_extracted(which: str, code: str) -> None:
    assert extracted(ANSWER, which) == code


@pytest.mark.parametrize("which", ["3", "0", "rust", "99999999999"])
def test_code_that_is_missing_is_said(which: str) -> None:
    with pytest.raises(ChatError, match=f"no code {which}") as raised:
        extracted(ANSWER, which)
    assert "2 blocks of code: python, bash" in raised.value.hint


def test_only_the_code_is_printed(program: list[str], environment: Environment,
                                  model: FakeServer) -> None:
    done = run(program, environment, "-x", "how?")
    assert (done.returncode, done.stdout, done.stderr) == (0, "print(1)\n\nls -l\n", "")
    assert run(program, environment, "how?", "--extract=bash").stdout == "ls -l\n"
    missing = run(program, environment, "--extract=rust", "how?")
    assert missing.returncode == 1 and missing.stdout == ""
    assert ANSWER in missing.stderr and "The answer has no code rust." in missing.stderr
    with Terminal([*program, "-x", "how?"], environment) as chat:
        assert chat.exit_status() == 0 and chat.text() == "print(1)\n\nls -l"


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_name_every_option_and_are_understood(
        shell: str, program: list[str], environment: Environment, tmp_path: Path) -> None:
    completion = run(program, environment, "--completion", shell).stdout
    for row in SETTINGS:
        for flag in flags_of(row):
            name = (f" {'-s' if len(flag) == 2 else '-l'} {flag.lstrip('-')} " if shell == "fish"
                    else flag)
            assert name in completion, flag
    quoted = {"zsh": r"provider'\''s server", "fish": r"provider\'s server"}
    assert quoted.get(shell, "") in completion
    widget = run(program, environment, "--widget", shell).stdout
    assert "--extract=1" in widget and "Nothing is run." in widget
    if shutil.which(shell):
        for number, text in enumerate((completion, widget)):
            (tmp_path / str(number)).write_text(text)
            checked = subprocess.run([shell, "-n", tmp_path / str(number)], capture_output=True,
                                     text=True)
            assert checked.returncode == 0, checked.stderr


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes(program: list[str], environment: Environment, tmp_path: Path) -> None:
    script = run(program, environment, "--completion", "bash").stdout
    (tmp_path / "a file.md").touch()
    for line, found in (("--them", "--theme"), ("--theme l", "light"),
                        ("--provider anth", "anthropic"),
                        ("--context ./a", "./a file.md"), ("--no-sa", "--no-save"),
                        ("--help first", "first-steps")):
        words = ["stream-chat", *line.split(" ")]
        asked = "\n".join((script, f"COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}",
                           "_stream_chat",
                           'echo "${COMPREPLY[*]}"'))
        done = subprocess.run(["bash", "-c", asked], env=environment, cwd=tmp_path,
                              capture_output=True, text=True)
        assert found in done.stdout, (line, done)


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"there is no {shell} here")


@needs("fish")
@pytest.mark.parametrize(("line", "found"), [
    ("--them", "--theme"), ("--theme l", "light"), ("--provider anth", "anthropic"),
    ("--context ./a", "./a file.md"),
    ("--no-sa", "--no-save"), ("--help first", "first-steps"), ("-", "-m")])
def test_fish_completes(line: str, found: str, program: list[str], environment: Environment,
                        tmp_path: Path) -> None:
    (tmp_path / "completions.fish").write_text(run(program, environment, "--completion", "fish")
                                               .stdout)
    (tmp_path / "a file.md").touch()
    asked = f"source {tmp_path}/completions.fish; complete -C 'stream-chat {line}'"
    done = subprocess.run(["fish", "--no-config", "-c", asked], env=environment, cwd=tmp_path,
                          capture_output=True, text=True)
    assert found in [row.split("\t")[0].replace("\\ ", " ")
                     for row in done.stdout.splitlines()], done


def shell_in(shell: str, environment: Environment, tmp_path: Path) -> Terminal:
    """An interactive shell without the user's own configuration,
    in which `stream-chat` is this program.
    """
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "stream-chat").write_text(f'#!/bin/sh\nexec "{sys.executable}" '
                                          f'"{ROOT / "stream_chat.py"}" "$@"\n')
    (programs / "stream-chat").chmod(0o755)
    own = environment | {"PATH": f"{programs}{os.pathsep}{environment['PATH']}", "PS1": "$ ",
                         "SHELL": f"/bin/{shell}"}
    words = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    return Terminal([shell, *words], own, cwd=tmp_path)


@needs("zsh")
def test_zsh_completes(program: list[str], environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "a file.md").touch()
    with shell_in("zsh", environment, tmp_path) as shell:
        shell.wait(r"\$ *$")
        shell.send(f'cd {tmp_path}; autoload -Uz compinit && compinit -u -D && '
                   'eval "$(stream-chat --completion zsh)"; echo read""y\r')
        shell.wait("^ready")
        for line, found in (("--them", "--theme"), ("--theme l", "--theme light"),
                            ("--provider anth", "--provider anthropic"),
                            ("--context ./a", r"--context \./a\\ file\.md"),
                            ("--no-sa", "--no-save"),
                            ("--help first", "--help first-steps")):
            shell.send(f"stream-chat {line}\t")
            shell.wait(rf"^\$ stream-chat {found}\s*$")
            shell.send("\x15")
            shell.wait(r"^\$ *$")


READY = {"bash": 'eval "$(stream-chat --widget bash)"; echo read""y\r',
         "zsh": 'eval "$(stream-chat --widget zsh)"; echo read""y\r',
         "fish": 'stream-chat --widget fish | source; echo read""y\r'}


@pytest.mark.parametrize("shell", [pytest.param(name, marks=needs(name)) for name in SHELLS])
def test_a_wish_becomes_a_command_that_is_not_run(
        shell: str, program: list[str], environment: Environment, model: FakeServer,
        tmp_path: Path) -> None:
    with shell_in(shell, environment, tmp_path) as terminal:
        terminal.wait(r"[$>#] *$")
        terminal.send(READY[shell])
        terminal.wait("^ready")
        terminal.wait(r"[$>#] *$")
        terminal.send("print one\x18\x01")
        terminal.wait(r"[$>#] print\(1\)$")
    [asked] = model.requests
    assert asked.json["messages"][-1]["content"] == "print one"
    assert "one block of code" in asked.json["messages"][0]["content"]


@pytest.mark.processes
def test_the_man_page_is_installed_and_has_no_faults() -> None:
    assert '"share/man/man1" = ["docs/stream-chat.1"]' in (ROOT / "pyproject.toml").read_text()
    page = ROOT / "docs" / "stream-chat.1"
    assert all(flag.replace("-", r"\-") in page.read_text() for row in SETTINGS
               for flag in flags_of(row))
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", page], capture_output=True,
                              text=True)
        assert done.returncode == 0 and done.stderr == ""
