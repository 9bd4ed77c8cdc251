"""ask(): one call for programs, with the retries, fallbacks, tools and saving of the chat."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from core.ask import Answer, ask, ask_async
from core.errors import ChatError, ConfigError, ConnectFailed, StreamBroken, UsageError
from core.messages import Usage
from tests.conftest import NOTHING_LISTENS
from tests.fake_server import (
    Cut,
    FakeOllama,
    FakeServer,
    Received,
    chat_line,
    done_line,
    fake_words,
    json_answer,
    lines_answer,
)


def at(server: FakeServer, **more: object) -> dict[str, object]:
    return {"ollama_host": server.url, **more}


def test_a_question_gives_the_whole_answer() -> None:
    with FakeOllama() as ollama:
        answer = ask("q", model="think", temperature=0.5, system="be brief", **at(ollama))
        sent = ollama.chats[-1].json
    assert (answer.text, str(answer), answer.thinking) == (fake_words(5), fake_words(5), "so be it")
    assert (answer.model, answer.finish, answer.notices, answer.session) == (
        "ollama/think",
        "stop",
        (),
        None,
    )
    assert isinstance(answer.usage, Usage) and answer.usage.input_tokens == 7
    assert sent["options"]["temperature"] == 0.5 and sent["messages"][0] == {
        "role": "system",
        "content": "be brief",
    }


def test_nothing_is_saved_unless_asked_for() -> None:
    with FakeOllama() as ollama:
        ask("q", model="words-3", **at(ollama))
        assert not Path(os.environ["HOME"]).exists()
        answer = ask("q", model="words-3", save=True, **at(ollama))
        assert (
            answer.session
            and Path(os.environ["HOME"], ".local/share/stream-chat/sessions.db").exists()
        )
        ask("and then?", session=answer.session, save=True, **at(ollama))
        assert [message["content"] for message in ollama.chats[-1].json["messages"]] == [
            "q",
            fake_words(3),
            "and then?",
        ]


def test_an_answer_that_broke_off_is_one_answer() -> None:
    broken = lines_answer([chat_line("m", "one two "), chat_line("m", "three")], Cut())
    with FakeServer([broken, lines_answer([chat_line("m", " four"), done_line("m")])]) as server:
        answer = ask("q", model="m", **at(server))
    assert (
        answer.text == "one two three four" and answer.finish == "stop" and len(answer.notices) == 1
    )


def test_a_fallback_answers_and_says_so() -> None:
    with FakeOllama() as ollama:
        answer = ask("q", model="missing", model_fallbacks=["words-3"], **at(ollama))
    assert answer.text == fake_words(3) and answer.model == "ollama/words-3"
    assert any("ollama/words-3" in notice for notice in answer.notices)


def test_tools_run() -> None:
    with FakeOllama() as ollama:
        answer = ask("q", model="tools", tools=("calculate",), **at(ollama))
    assert answer.text.startswith("result: ")


def test_context_is_attached(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("the harbour is dry")
    with FakeOllama() as ollama:
        ask("q", model="words-3", context=(str(tmp_path / "notes.md"),), **at(ollama))
        assert "the harbour is dry" in str(ollama.chats[-1].json)


def test_a_host_that_cannot_stream_is_asked_for_a_whole_document() -> None:
    def script(request: Received) -> object:
        if request.json["stream"]:
            return json_answer(
                {
                    "error": {
                        "message": "Your organization must be verified to stream this model.",
                        "param": "stream",
                        "code": "unsupported_value",
                    }
                },
                400,
            )
        return json_answer(
            {
                "choices": [
                    {"message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}
                ]
            }
        )

    with FakeServer(script) as server:  # type: ignore[arg-type]
        answer = ask("q", provider="custom", base_url=server.url, model="m")
    assert answer.text == "whole" and answer.finish == "stop"


def test_errors_are_raised() -> None:
    with pytest.raises(ConnectFailed):
        ask("q", model="m", ollama_host=NOTHING_LISTENS, retry_max_attempts=1)
    with FakeOllama() as ollama, pytest.raises(StreamBroken):
        ask("q", model="cut-3", resume=False, retry_max_attempts=1, **at(ollama))
    for wrong, words in (
        ({"nosuch": 1}, "There is no setting named nosuch"),
        ({"temperature": "hot"}, "takes a number"),
        ({"temperature": 9}, "temperature"),
        ({"think": "loud"}, "think"),
    ):
        with pytest.raises((UsageError, ConfigError), match=words):
            ask("q", **wrong)  # type: ignore[arg-type]


def test_an_answer_without_an_end_is_marked() -> None:
    with FakeServer(lines_answer([chat_line("m", "again and again ")] * 2_000)) as server:
        answer = ask("q", model="m", **at(server))
    assert answer.finish == "incomplete" and any("repeats" in notice for notice in answer.notices)


def test_programs_with_an_event_loop_await_it() -> None:
    async def several(server: FakeServer) -> list[Answer]:
        with pytest.raises(UsageError, match="running event loop"):
            ask("q", model="words-3", **at(server))
        return await asyncio.gather(
            *(ask_async("q", model=f"words-{count}", **at(server)) for count in (1, 2, 3))
        )

    with FakeOllama() as ollama:
        assert [answer.text for answer in asyncio.run(several(ollama))] == [
            fake_words(count) for count in (1, 2, 3)
        ]


def test_every_error_is_of_one_family() -> None:
    assert issubclass(UsageError, ChatError) and issubclass(StreamBroken, ChatError)
