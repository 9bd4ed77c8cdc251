"""The whole chat in a pseudo-terminal: prompt, streaming, commands, and everything a user may do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fake_server import (MODELS, Answer, FakeOllama, FakeServer, Received, chat_line,
                               done_line, fake_words, lines_answer)
from tests.pseudo_terminal import ALT_ENTER, CTRL_C, CTRL_D, ENTER, UP, Terminal

Environment = dict[str, str]


@pytest.fixture
def ollama(environment: Environment) -> Iterator[FakeOllama]:
    with FakeOllama(models=("words-5", *MODELS)) as server:
        environment["OLLAMA_HOST"] = server.url
        yield server


def sent(server: FakeServer) -> list[tuple[str, str]]:
    """The conversation of the last request."""
    chats = server.chats
    return [(message["role"], message["content"]) for message in chats[-1].json["messages"]]


def test_a_conversation(ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "echo"], environment) as chat:
        chat.wait_prompt()
        assert re.match(r"echo on ollama \u00b7 session [\w-]+\n/help lists commands\. Ctrl-C "
                        r"stops a reply, "
                        r"Ctrl-D leaves\.\n\n\u203a", chat.text())
        chat.ask("hello there", "^hello there$")
        chat.ask("second words", "^second words$")
        chat.say("/exit")
        assert chat.exit_status() == 0
        chat.check_restored()
    assert sent(ollama) == [("user", "hello there"), ("assistant", "hello there"),
                            ("user", "second words")]


def test_markdown_is_formatted_as_it_streams(program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-p", "demo", "--demo-delay", "0"], environment) as chat:
        chat.ask("markdown", "The end")
        assert ("**" not in chat.text() and "```" not in chat.text()
                and "def fibonacci" in chat.text())
        assert b"\x1b[1m" in chat.raw
        chat.say("slow list")
        chat.wait("Ask the model")
        assert not chat.at_prompt()
        chat.wait("Ask it again")


def test_thinking_is_dim_and_can_be_folded(ollama: FakeOllama, program: list[str],
                                           environment: Environment) -> None:
    with Terminal([*program, "-m", "think", "--show-thinking"], environment) as chat:
        chat.ask("q", "w0 w1 w2 w3 w4")
        assert "so be it" in chat.text() and b"\x1b[2mso" in chat.raw
    with Terminal([*program, "-m", "think"], environment) as chat:
        shown = chat.ask("q", "w0 w1 w2 w3 w4")
        assert re.search(
            r"\u203a q\n~ Thought for [\d.]+ m?s, 3 words\. /thinking shows it\.\n\nw0", shown)
        assert "so be it" not in shown and "so be it" in chat.ask("/thinking", "so be it")
        assert "/thinking shows" not in chat.ask("again", "w4", 2)
        chat.ask("/thinking on", "Thinking: on")
        assert "so be it" in chat.ask("once more", "w4", 3)
    with Terminal([*program, "-m", "think", "--no-show-thinking"], environment) as chat:
        chat.ask("q", "w0 w1 w2 w3 w4")
        assert "so be it" not in chat.text()
        assert re.search(r"Thought for [\d.]+ m?s, 3 words", chat.text())


@pytest.mark.parametrize("keys", [ALT_ENTER, "\n"])
def test_several_lines_are_one_message(ollama: FakeOllama, program: list[str],
                                       environment: Environment, keys: str) -> None:
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.wait_prompt()
        chat.send(f"one{keys}two{keys}three")
        chat.wait("^  three")
        chat.send(ENTER)
        chat.wait("w4")
    assert sent(ollama) == [("user", "one\ntwo\nthree")]


def test_what_is_pasted_is_one_message(ollama: FakeOllama, program: list[str],
                                       environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.wait_prompt()
        chat.send("\x1b[200~first\r\nsecond\rthird\x1b[201~")
        chat.wait("third")
        assert not ollama.requests
        chat.send(ENTER)
        chat.wait("w4")
    assert sent(ollama) == [("user", "first\nsecond\nthird")]


def test_commands(ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment, columns=110) as chat:
        shown = chat.ask("/help", "Ctrl-D leaves")
        for name in ("help", "model", "new", "retry", "session", "drop", "system", "exit"):
            assert f"/{name}" in shown
        chat.ask("/help retry", r"^/retry \[MODEL\]\nAsk the last question again")
        chat.ask("/model", "The model is ollama/words-5")
        chat.ask("/model echo", "The model is now ollama/echo")
        chat.ask("/system be brief", "System prompt set")
        chat.ask("which words", "^which words$")
        assert sent(ollama) == [("system", "be brief"), ("user", "which words")]
        chat.ask("/system", "System prompt: be brief")
        chat.ask("/system off", "System prompt removed")
        chat.ask("/nonsense", "There is no command /nonsense")
        chat.ask("/modle", r"Did you mean /model\?")
        chat.ask("//etc is a directory", "^/etc is a directory$")
        assert sent(ollama)[-1] == ("user", "/etc is a directory")
        chat.ask("/session", r"This is session [\w-]+: which words")
        chat.ask("/new", r"New session \S+ The old one is saved as")
        chat.ask("fresh", "^fresh$")
        assert sent(ollama) == [("user", "fresh")]
        chat.say("/quit")
        assert chat.exit_status() == 0


def test_retry_and_drop(ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.ask("/retry", "nothing to ask again")
        chat.ask("/drop", "no reply to drop")
        chat.ask("first", "w4")
        chat.ask("/retry", "w4", 2)
        assert sent(ollama) == [("user", "first")]
        chat.ask("/drop", "Dropped the last reply")
        chat.ask("second", "w4", 3)
        assert ("assistant", fake_words(5)) not in sent(ollama) and sent(ollama)[-1] == ("user",
                                                                                         "second")


@pytest.mark.parametrize("keys", [(CTRL_C, CTRL_C), (CTRL_D,)])
def test_leaving_at_the_prompt(ollama: FakeOllama, program: list[str], environment: Environment,
                               keys: tuple[str, ...]) -> None:
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.wait_prompt()
        for key in keys[:-1]:
            chat.send(key)
            chat.wait("Ctrl-C again")
        chat.send(keys[-1])
        assert chat.exit_status() == 0
        chat.check_restored()
        assert "Traceback" not in chat.text()


def test_ctrl_c_clears_what_is_typed(ollama: FakeOllama, program: list[str],
                                     environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.wait_prompt()
        chat.send("half a thought")
        chat.wait("half a thought")
        chat.send(CTRL_C)
        chat.wait_prompt()
        assert not ollama.requests and chat.child.poll() is None
        chat.send(CTRL_C)
        chat.wait("Ctrl-C again leaves")
        chat.send(CTRL_C)
        assert chat.exit_status() == 0


def test_a_window_that_changes_while_a_reply_streams(program: list[str],
                                                     environment: Environment) -> None:
    words = [f"n{number}" for number in range(300)]
    lines = [chat_line("m", " " + word) for word in words]
    with FakeServer(lines_answer([*lines, done_line("m")], delay=0.005)) as server:
        environment["OLLAMA_HOST"] = server.url
        with Terminal([*program, "-m", "m"], environment) as chat:
            chat.say("q")
            for number, (columns, rows) in enumerate(((60, 20), (132, 40), (40, 10), (100, 30))):
                chat.wait(rf"n{(number + 1) * 50}\b")
                chat.resize(columns, rows)
            chat.wait("n299")
            chat.wait_prompt()
            for word in words:
                assert word.encode() in chat.raw
            assert not chat.screen.cursor.hidden
            chat.send(CTRL_D)
            assert chat.exit_status() == 0
            chat.check_restored()


def test_a_server_that_dies_in_an_answer(ollama: FakeOllama, program: list[str],
                                         environment: Environment) -> None:
    with Terminal([*program, "-m", "words-500@50", "--retry-max-attempts", "1"],
                  environment) as chat:
        chat.say("first")
        chat.wait("^w0 w1 w2 w3")
        ollama.close()
        chat.wait("Partial reply saved.")
        chat.wait_prompt()
        told = chat.text()[chat.text().index("\u2717 "):].split("\n\u203a")[0]
        assert len(told.strip().splitlines()) <= 3 + 1 and "Traceback" not in told
        with FakeOllama(ollama.port, ("words-5", *MODELS)) as again:
            chat.ask("/model words-5", "The model is now")
            chat.ask("second", r"^w0 w1 w2 w3 w4$")
            roles = [role for role, _ in sent(again)]
            assert (roles == ["user", "assistant", "user"]
                    and sent(again)[1][1].startswith("w0 w1 w2 w3"))


def test_a_failing_turn_does_not_end_the_chat(ollama: FakeOllama, program: list[str],
                                              environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5", "--retry-max-attempts", "1", "--no-resume"],
                  environment) as chat:
        for number, model in enumerate(("locked", "crash", "overflow", "cut-3", "error-3",
                                        "forbidden", "empty", "busy"), 1):
            chat.say(f"/model {model}")
            chat.wait(rf"Switch to ollama/{model} anyway\?")
            chat.send("y\r")
            chat.wait(f"now ollama/{model}")
            chat.say(f"question {number}")
            chat.wait_prompt()
        chat.ask("/model words-5", "now ollama/words-5")
        chat.ask("at last", "^w0 w1 w2 w3 w4$")
        assert "Traceback" not in chat.text() and chat.text().count("\n\u2717 ") >= 4


def test_an_unknown_model_is_fetched_when_wanted(ollama: FakeOllama, program: list[str],
                                                 environment: Environment) -> None:
    answers = {"fetched": False}

    def script(request: Received) -> Answer:
        if request.path == "/api/pull":
            answers["fetched"] = True
            return ollama.answer(request)
        if request.path == "/api/chat" and answers["fetched"]:
            return lines_answer([chat_line("new-model", "here I am"), done_line("new-model")])
        return ollama.answer(request)
    with FakeServer(script) as server:
        environment["OLLAMA_HOST"] = server.url
        with Terminal([*program, "-m", "new-model"], environment) as chat:
            chat.say("hello")
            chat.wait(r"Download new-model now\? \[y/N\]")
            chat.send("n\r")
            chat.wait_prompt()
            assert not answers["fetched"]
            chat.say("/retry")
            chat.wait(r"Download new-model now\? \[y/N\]", 2)
            chat.send("y\r")
            chat.wait("Pulled new-model")
            chat.wait("^here I am")
            chat.wait_prompt()
            assert sent(server) == [("user", "hello")]
            chat.send(CTRL_D)
            assert chat.exit_status() == 0
            chat.check_restored()


def test_a_model_that_cannot_be_fetched(ollama: FakeOllama, program: list[str],
                                        environment: Environment) -> None:
    with Terminal([*program, "-m", "missing"], environment) as chat:
        chat.say("hello")
        chat.wait(r"\[y/N\]")
        chat.send("y\r")
        chat.wait("^\u2717 ", 2)
        chat.wait_prompt()
        chat.ask("/model words-5", "now ollama/words-5")
        chat.ask("/retry", "^w0 w1 w2 w3 w4$")


def test_a_terminal_without_abilities(ollama: FakeOllama, program: list[str],
                                      environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5"], environment | {"TERM": "dumb"}) as chat:
        chat.wait("^>")
        chat.send("hello\r")
        chat.wait("^w0 w1 w2 w3 w4$")
        chat.wait("^>", 2)
        chat.send("/model slow\r")
        chat.wait("^>", 3)
        chat.send("go\r")
        chat.wait("^w0 w1 w2 w3", 2)
        chat.send(CTRL_C)
        chat.wait("Stopped")
        chat.wait("^>", 4)
        chat.send(CTRL_D)
        assert chat.exit_status() == 0
        assert b"\x1b" not in chat.raw
        chat.check_restored()


def test_no_color(ollama: FakeOllama, program: list[str], environment: Environment) -> None:
    with Terminal([*program, "-p", "demo", "--demo-delay", "0"],
                  environment | {"NO_COLOR": "1"}) as chat:
        chat.ask("markdown", "The end")
        chat.send(CTRL_D)
        chat.exit_status()
    colours = [code for codes in re.findall(rb"\x1b\[([\d;]+)m", chat.raw)
               for code in codes.split(b";")]
    assert not [code for code in colours if 30 <= int(code) <= 49 or int(code) >= 90], colours


def test_one_answer_in_a_terminal(ollama: FakeOllama, program: list[str],
                                  environment: Environment) -> None:
    with Terminal([*program, "-m", "words-5", "q"], environment) as one:
        assert one.exit_status() == 0 and one.text() == fake_words(5)
        one.check_restored()


def test_history_is_remembered_unless_nothing_is_saved(ollama: FakeOllama, program: list[str],
                                                       environment: Environment) -> None:
    kept = Path(environment["HOME"], ".local/share/stream-chat/input_history")
    with Terminal([*program, "-m", "words-5", "--no-save"], environment) as chat:
        chat.ask("secret words", "w4")
        chat.send(CTRL_D)
        chat.exit_status()
    assert not list(Path(environment["HOME"]).rglob("*"))
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.ask("remember me", "w4")
        chat.send(CTRL_D)
        chat.exit_status()
    assert "remember me" in kept.read_text() and kept.stat().st_mode & 0o077 == 0
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.wait_prompt()
        chat.send("\x1b[A")
        chat.wait("\u203a remember me")


def test_a_history_that_cannot_be_kept_is_no_trouble(ollama: FakeOllama, program: list[str],
                                                     environment: Environment) -> None:
    kept = Path(environment["HOME"], ".local/share/stream-chat/input_history")
    with Terminal([*program, "-m", "words-5"], environment) as chat:
        chat.wait_prompt()
        kept.unlink()
        kept.mkdir()
        chat.ask("first", "w4")
        chat.ask("second", "w4", 2)
        chat.send(UP)
        chat.wait("\u203a second", 2)
        assert "Traceback" not in chat.text() and "rror" not in chat.text()
