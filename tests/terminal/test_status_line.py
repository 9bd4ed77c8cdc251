"""The line under the prompt, and the line after an answer."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from core.terminal.greeting import short
from core.rendering.quantities import duration
from tests.fake_server import FakeOllama
from tests.pseudo_terminal import Terminal

Environment = dict[str, str]


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama(0, ("echo", "think", "words-5")) as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


@pytest.mark.processes
def test_it_hangs_under_the_prompt_and_can_be_switched_off(
        ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment | {"STREAM_CHAT_STATUS": "on"}) as chat:
        chat.wait(r"^\u203a\n  words-5$")
        shown = chat.ask("go", r"^\u00b7 (\d+ tokens, )?[\d.]+ m?s$")
        turn = r"\u203a go\n\nw0 w1 w2 w3 w4\n\n\u00b7 [^\n]+ m?s\n\n\u203a"
        assert re.search(turn, shown), shown
        chat.wait(r"^\u203a\n  words-5 ")
        chat.ask("/status off", r"^\u2713 Status: off$")
        shown = chat.ask("again", "w4", 2)
        assert shown.endswith("w0 w1 w2 w3 w4\n\n\u203a"), shown
        chat.ask("/theme light", r"^\u2713 Theme: light$")
        chat.say("/exit")
        assert chat.exit_status() == 0
        assert re.search(r"\u00b7 Saved as \w{4}: go, 4 messages\.\n  Resume with .*--session",
                         chat.text())
        chat.check_restored()


@pytest.mark.parametrize("count, words",
                         [(0, "0"), (999, "999"), (1024, "1k"), (1500, "1.5k"), (12_400, "12.4k"),
                          (32_768, "32k"), (400_000, "400k"), (1_000_000, "1M"),
                          (1_048_576, "1.0M")])
def test_numbers_of_tokens_are_short(count: int, words: str) -> None:
    assert short(count).replace(".0M", "M") == words.replace(".0M", "M")


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0.0, 0.042, 2.13, 48.2, 200)] == [
        "1 ms", "42 ms", "2.1 s", "48 s", "3 min 20 s"]
