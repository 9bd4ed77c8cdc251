"""/model during a chat: names, what changes, what is left out, and that nothing stored is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from core.chat.conversation import Chat
from core.commands import Confirm, run_command
from core.config import Settings
from core.errors import UsageError
from core.events import MessageAdded, Notice
from core.messages import (Image, Message, Text, Thinking, ToolCall, ToolResult, Usage,
                           tool_message, user_message)
from core.model_manager import Providers, Target, build_model_list
from core.models.facts import ModelFacts
from core.models.switch import left_out
from core.providers import Options, Request
from core.session_manager import Session
from core.terminal.completion import Completions, fitting
from core.tool_executor import Toolbox
from core.tools import ToolContext, get_tools
from tests.fake_server import Answer, FakeOllama, FakeServer, Received, json_answer

PICTURE = Image("image/png", "aGk=", "cat.png")


def chatting(use: Callable[[Chat], Awaitable[Any]], server: FakeServer,
             entries: dict[str, Any] | None = None,
             **values: Any) -> Any:
    """Run `use` with a chat on this server."""
    settings = Settings({"ollama_host": server.url, "model": "words-50", "retry_max_attempts": 1,
                         **values},
                        environment={"HOME": "/nonexistent"}, providers=entries)

    async def run() -> Any:
        providers = Providers(settings)
        chat = Chat(settings, Session(None), providers, build_model_list(settings)[0],
                    open_session=lambda name: Session(None))
        try:
            return await use(chat)
        finally:
            await chat.close()
    return asyncio.run(run())


async def say(chat: Chat, *parts: Image) -> tuple[list[str], str]:
    """The notices of a turn, and its answer."""
    events = [event async for event in chat.turn(user_message("hello", parts))]
    answer = next(event.message.text for event in events if isinstance(event, MessageAdded))
    return [event.text for event in events if isinstance(event, Notice)], answer


@pytest.mark.parametrize("typed, target", [
    ("echo", "ollama/echo"), ("slo", "ollama/slow:latest"), ("ollama/think", "ollama/think"),
    ("500", "ollama/words-500@50:latest"),
    ("fast", "ollama/slow"), ("demo/demo", "demo/demo"),
    ("demo", "demo/demo")])
def test_what_is_meant_by_a_name(typed: str, target: str) -> None:
    async def use(chat: Chat) -> str:
        said = await run_command(chat, f"/model {typed}")
        assert str(said).startswith(f"The model is now {target}.")
        return str(chat.target)
    with FakeOllama() as server:
        assert chatting(use, server, alias={"fast": "ollama/slow"}) == target


def test_a_model_that_is_not_listed_is_asked_about() -> None:
    async def use(chat: Chat) -> None:
        before = str(chat.target)
        asked = await run_command(chat, "/model unheard-of")
        assert isinstance(asked, Confirm) and str(chat.target) == before
        assert "ollama/unheard-of" in asked.act() and str(chat.target) == "ollama/unheard-of"
    with FakeOllama() as server:
        chatting(use, server)


def test_several_are_meant_or_none_is_listed() -> None:
    async def use(chat: Chat) -> None:
        with pytest.raises(UsageError, match="words could be words-50:latest, words-500@50:latest"):
            await run_command(chat, "/model words")
        assert "Did you mean think?" in str(await run_command(chat, "/model thinc"))
        for typed, meant in (("opnai", "openai"), ("antropic", "anthropic"), ("mistrl", "mistral")):
            assert f"Did you mean {meant}/x1?" in str(await run_command(chat, f"/model {typed}/x1"))
    with FakeOllama() as server:
        chatting(use, server)


def test_the_change_is_told_and_nothing_stored_is_lost() -> None:
    stored = [user_message("look", (PICTURE,)),
              Message("assistant", (Thinking("hm", {"anthropic": {"signature": "s"}}), Text("A"),
                                    ToolCall("1", "f", {})),
                      "anthropic/claude-haiku-4-5"),
              tool_message((ToolResult("1", "f", "r"),)),
              Message("assistant", (Text("B"),), "anthropic/claude-haiku-4-5")]

    async def use(chat: Chat) -> list[str]:
        chat.session.messages[:] = stored
        lines = [str(await run_command(chat, f"/model {name}"))
                 for name in ("anthropic/claude-haiku-4-5", "ollama/echo")]
        assert chat.session.messages == stored
        return lines
    with FakeOllama() as server:
        entries = {"anthropic": {"base_url": server.url, "api_key": "k"}}
        there, back = chatting(use, server, entries)
    assert "context 32k \u2192 200k, vision: no \u2192 yes, thinking: no \u2192 yes" in there
    assert "1 tool exchange kept, 1 image kept" in there and "thinking block" not in there
    assert "1 tool exchange kept, 1 image left out: no vision" in back


def test_thoughts_go_back_to_their_own_dialect() -> None:
    providers = Providers(Settings({}, providers={}))
    thought = Message("assistant", (Thinking("a"), Thinking("b"), Text("c")), "anthropic/x")
    told = {name: left_out([thought], Target(name, "m"), ModelFacts(), providers)
            for name in ("anthropic", "ollama", "gemini")}
    assert told == {"anthropic": "", "ollama": "", "gemini": "2 thinking blocks left out"}


def test_images_are_words_for_a_model_without_eyes() -> None:
    async def use(chat: Chat) -> tuple[list[str], list[Any]]:
        notices, _ = await say(chat, PICTURE)
        assert PICTURE in chat.session.messages[0].parts, "what is stored keeps the image"
        again, _ = await say(chat)
        return [*notices, "then", *again], server.chats[-1].json["messages"]
    with FakeOllama() as server:
        notices, sent = chatting(use, server)
    assert notices == ["words-50 does not see images, so 1 image was left out.", "then"]
    assert "images" not in sent[0] and "[image cat.png: left out" in sent[0]["content"]


def test_a_model_without_tools_answers_without_them() -> None:
    async def use(chat: Chat) -> list[tuple[list[str], str]]:
        chat.toolbox = Toolbox(get_tools(None), ToolContext())
        return [await say(chat), await say(chat)]
    with FakeOllama() as server:
        first, second = chatting(use, server, model="no-tools")
        offered = ["tools" in request.json
                   for request in server.requests if request.path == "/api/chat"]
    assert first == (["no-tools cannot call tools, so none are offered to it."], "w0 w1 w2 w3 w4")
    assert second == ([], "w0 w1 w2 w3 w4")
    assert offered == [True, False, False]


def test_a_model_that_does_not_think_is_not_asked_to() -> None:
    with FakeOllama() as server:
        notices, answer = chatting(say, server, model="no-think", think="on")
    assert (notices, answer) == (["no-think does not support thinking, so it was turned off."],
                                 "w0 w1 w2 w3 w4")


def test_refused_parameters_are_dropped_one_after_the_other() -> None:
    answered = json_answer({"id": "m", "type": "message", "role": "assistant",
                            "content": [{"type": "text", "text": "yes"}],
                            "stop_reason": "end_turn",
                            "usage": {"input_tokens": 1, "output_tokens": 1}})

    def script(request: Received) -> Answer:
        for name in ("temperature", "top_p"):
            if name in request.json:
                return json_answer(
                    {"error": {"message": f"Unsupported parameter: '{name}' is not supported with "
                               "this model.",
                               "code": "unsupported_parameter", "param": name}}, 400)
        return answered
    with FakeServer(script) as server:
        entries = {"anthropic": {"base_url": server.url, "api_key": "k"}}
        notices, answer = chatting(say, server, entries, model="anthropic/m", temperature=0.5,
                                   top_p=0.5)
        assert len(server.requests) == 3
    assert notices == ["m does not support temperature, so it was left out.",
                       "m does not support top_p, so it was left out."]
    assert answer == "yes"


def test_a_refusal_of_what_was_not_asked_is_an_error() -> None:
    from core.providers.parameters import without
    request = Request("m", (), options=Options(seed=3))
    assert without(request, "temperature") is request
    providers = Providers(Settings({}))
    assert (providers.without(Target("openai", "m"), request, "temperature") == ""
            and not providers.lacks)
    assert "seed" in providers.without(Target("openai", "m"), request, "seed")


def test_the_status_line() -> None:
    with FakeOllama() as server:
        notices, _ = chatting(say, server, usage=True)
        quiet, _ = chatting(say, server, usage=True, json=True)
    assert notices == ["7 in, 50 out"] and quiet == []


def test_usage_of_a_session_has_a_price() -> None:
    async def use(chat: Chat) -> str:
        reply = Message("assistant", (Text("x"),), "openai/gpt-5-mini", Usage(1_000_000, 1_000),
                        "stop")
        chat.session.messages[:] = [user_message("q"), reply, reply]
        return str(await run_command(chat, "/usage"))
    with FakeOllama() as server:
        said = chatting(use, server)
    assert (said.startswith("This session: 2,000,000 in, 2,000 out, $0.5040.")
            and "\u2248 1,001,000 tokens" in said)


def test_completion_knows_models_and_aliases() -> None:
    async def use(chat: Chat) -> list[str]:
        completions = Completions(chat)
        command = completions.unknown("/model sl")
        assert command is not None
        await completions.learn(command)
        return [match.text for match in completions.matches("/model sl")]
    with FakeOllama() as server:
        assert chatting(use, server, alias={"slim": "demo/demo"}) == ["slim", "slow:latest"]
        chats = [request for request in server.requests if request.path == "/api/tags"]
    assert len(chats) == 1


def test_fitting_names_begin_before_they_hold() -> None:
    assert fitting("la", ["ollama", "Llama", "lamb", "lamb", "x"]) == ["lamb", "ollama", "Llama"]
