"""Standard input in any recognisable encoding, `-` for it among the words, and a closed output."""

from __future__ import annotations

import codecs
import subprocess

import pytest

from tests.fake_server import FakeOllama

Environment = dict[str, str]


def last_question(server: FakeOllama) -> str:
    sent = [request for request in server.requests if request.path == "/api/chat"][-1]
    return str(sent.json["messages"][-1]["content"])


@pytest.mark.parametrize("content", [
    "gr\u00fc\u00dfe".encode("utf-16"), codecs.BOM_UTF16_BE + "gr\u00fc\u00dfe".encode("utf-16-be"),
    "gr\u00fc\u00dfe".encode("utf-32"), codecs.BOM_UTF8 + "gr\u00fc\u00dfe".encode(),
    "gr\u00fc\u00dfe".encode()])
def test_piped_text_is_read_by_its_byte_order_mark(
        ollama: FakeOllama, program: list[str], environment: Environment, content: bytes) -> None:
    done = subprocess.run([*program, "-m", "words-5"], env=environment, input=content,
                          capture_output=True, timeout=60)
    assert (done.returncode == 0 and last_question(ollama) == "gr\u00fc\u00dfe"
            and done.stderr == b"")


@pytest.mark.parametrize("words, question",
                         [(["-"], "piped"), (["say", "-"], "say\n\npiped"),
                          (["--", "-"], "-\n\npiped")])
def test_a_dash_is_standard_input(ollama: FakeOllama, program: list[str], environment: Environment,
                                  words: list[str],
                                  question: str) -> None:
    done = subprocess.run([*program, "-m", "words-5", *words], env=environment, input="piped",
                          capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0 and last_question(ollama) == question


def test_a_closed_output_is_a_failure_and_the_answer_is_saved(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    done = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *program, "-m", "words-5", "hi"],
                          env=environment,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "Standard output is closed" in done.stderr
    kept = subprocess.run([*program, "--export-session", "last", "-f", "text"], env=environment,
                          capture_output=True, text=True,
                          timeout=60)
    assert "w0 w1 w2 w3 w4" in kept.stdout
    quiet = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *program, "--delete-session", "last",
                            "--yes"], env=environment,
                           capture_output=True, text=True, timeout=60)
    assert quiet.returncode == 0, "nothing was to be printed, so nothing is lost"
