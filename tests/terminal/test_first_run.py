"""The first start without a model: the choice can be left at any moment, and the terminal is as it was."""

from __future__ import annotations

import socket

import pytest

from tests.pseudo_terminal import Terminal

Environment = dict[str, str]


@pytest.fixture
def nothing_there(environment: Environment) -> Environment:
    """No server listens where Ollama is expected, and nobody named one."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 11434)) == 0:
            pytest.skip("an Ollama runs on this machine")
    return environment


@pytest.mark.parametrize("keys", ["\x03", "q", "\x04"])
def test_the_choice_can_be_left(program: list[str], nothing_there: Environment, keys: str) -> None:
    with Terminal(program, nothing_there, columns=200) as chat:
        chat.wait("1, 2 or 3 >")
        chat.send(keys)
        assert chat.exit_status() == 130
        assert "Traceback" not in chat.text() and "fault of" not in chat.text()
        chat.check_restored()
