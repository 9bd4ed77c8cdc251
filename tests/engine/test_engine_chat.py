"""Chats with the real engine through the real adapters, and what happens when the engine dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from core.chat.fitting import Fitter
from core.chat.turn import run_chat_turn
from core.config import Settings
from core.engine import machine
from core.engine.process import open_engine
from core.errors import ConnectFailed, ContextTooLong, ModelNotFound, ProviderError, StreamBroken
from core.events import (Delta, Event, Finished, MessageAdded, Retrying, TextDelta, ThinkingDelta,
                         ToolCallDelta, ToolFinished)
from core.messages import Message, ToolCall, ToolResult, Usage, user_message
from core.model_manager import Providers, build_model_list
from core.models.window import WindowWatch
from core.providers import Endpoint, Options, Provider, Request, ToolSpec, load_dialect
from core.providers.local import Local
from core.retry_handler import RetryConfig, stream_chat_with_retry
from tests.engine_support import engines_in, order_for, tiny
from tests.one_model import Models, one_model
from tests.waiting import wait_until

__all__ = ["tiny"]
ROOT = Path(__file__).resolve().parent.parent.parent
WEATHER = ToolSpec("get_weather", "Current weather", {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20},
                   "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
                   "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "unit", "days"],
})


def local(tiny: Path, directory: Path, **quirks: Any) -> Local:
    os.makedirs(directory, exist_ok=True)
    return Local(Endpoint("", host="local",
                          quirks={"model_directory": str(directory), "threads": 1, **quirks}))


def request(tiny: Path, *messages: Message, tools: tuple[ToolSpec, ...] = (),
            **options: Any) -> Request:
    settings = {"seed": 1, "max_tokens": 400, "num_ctx": 4096} | options
    return Request(str(tiny), messages or (user_message("hi"),), None, tools, Options(**settings))


async def collect(stream: AsyncGenerator[Delta, None]) -> list[Delta]:
    async with aclosing(stream) as deltas:
        return [delta async for delta in deltas]


def text_of(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))


def finish_of(deltas: list[Delta]) -> str:
    last = deltas[-1]
    assert isinstance(last, Finished)
    return last.reason


def with_local(tiny: Path, directory: Path, body: Callable[[Local], Awaitable[None]],
               **quirks: Any) -> None:
    async def run() -> None:
        provider = local(tiny, directory, **quirks)
        try:
            await body(provider)
        finally:
            await provider.close()
    asyncio.run(run())
    if sys.platform == "linux":
        assert wait_until(lambda: not engines_in(directory / ".engines"))


# ---- the three dialects that the engine speaks

Open = Callable[[str, str], Provider]
DIALECTS: dict[str, Open] = {
    "openai": lambda address, key: load_dialect("openai")(
        Endpoint(address + "/v1", key, "local", quirks={"close": True, "think": "template"})),
    "anthropic": lambda address,
    key: load_dialect("anthropic")(Endpoint(address, key, "anthropic", quirks={"close": True})),
    "openai-responses": lambda address, key: load_dialect("openai-responses")(
        Endpoint(address + "/v1", key, "openai-responses", quirks={"close": True})),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_text_tool_and_overflow_in_every_dialect(tiny: Path, tmp_path: Path, name: str) -> None:
    async def run() -> None:
        load_dialect(name)
        engine = await open_engine(order_for(tiny, tmp_path))
        provider = DIALECTS[name](engine.address, engine.key)
        try:
            deltas = await collect(provider.stream(request(tiny, seed=None)))
            assert text_of(deltas) and finish_of(deltas) == "stop"
            usage = [delta for delta in deltas if isinstance(delta, Usage)][-1]
            assert usage.input_tokens and usage.output_tokens
            called = await collect(provider.stream(request(tiny, tools=(WEATHER,), seed=None)))
            calls = [delta for delta in called if isinstance(delta, ToolCallDelta)]
            arguments = json.loads("".join(call.arguments for call in calls))
            assert ({call.name for call in calls if call.name} == {"get_weather"}
                    and arguments["unit"] in ("celsius", "fahrenheit"))
            with pytest.raises(ContextTooLong):
                await collect(provider.stream(request(tiny, user_message("word " * 2000))))
        finally:
            await provider.close()
            engine.release()
    asyncio.run(run())


# ---- what a conversation needs

def test_streaming_seed_stop_and_length(tiny: Path, tmp_path: Path) -> None:
    async def body(chat: Local) -> None:
        first, second = [await collect(chat.stream(request(tiny, seed=5))) for _ in range(2)]
        assert text_of(first) == text_of(second) and finish_of(first) == "stop"
        assert len({text_of(await collect(chat.stream(request(tiny, seed=seed))))
                    for seed in range(4)}) > 1
        cold = {text_of(await collect(chat.stream(request(tiny, seed=seed, temperature=0.0))))
                for seed in range(3)}
        assert len(cold) == 1
        short = await collect(chat.stream(request(tiny, max_tokens=3)))
        assert finish_of(short) == "length" and text_of(short)
        cut = await collect(chat.stream(request(tiny, stop=(" ",))))
        assert finish_of(cut) == "stop" and " " not in text_of(cut)
    with_local(tiny, tmp_path, body)


def test_thinking_is_off_unless_asked_for_and_comes_apart(tiny: Path, tmp_path: Path) -> None:
    async def body(chat: Local) -> None:
        for think in (None, False):
            plain = await collect(chat.stream(request(tiny, think=think)))
            assert not [delta for delta in plain if isinstance(delta, ThinkingDelta) and delta.text]
        deltas = await collect(chat.stream(request(tiny, think=True)))
        kinds = [type(delta) for delta in deltas
                 if isinstance(delta, (TextDelta, ThinkingDelta)) and delta.text]
        assert (kinds and kinds == sorted(kinds, key=lambda kind: kind is TextDelta)
                and set(kinds) == {TextDelta, ThinkingDelta})
    with_local(tiny, tmp_path, body)


@pytest.mark.parametrize("seed", range(3))
def test_a_json_schema_is_kept(tiny: Path, tmp_path: Path, seed: int) -> None:
    schema = {"type": "object", "required": ["answer", "ok"], "additionalProperties": False,
              "properties": {"answer": {"type": "string", "maxLength": 40},
                             "ok": {"type": "boolean"}}}
    form = {"response_format": {"type": "json_schema",
                                "json_schema": {"name": "x", "strict": True, "schema": schema}}}

    async def body(chat: Local) -> None:
        value = json.loads(text_of(await collect(chat.stream(request(tiny, seed=seed, raw=form)))))
        assert set(value) == {"answer", "ok"} and isinstance(value["ok"], bool)
    with_local(tiny, tmp_path, body)


def test_several_turns_with_tools(tiny: Path, tmp_path: Path) -> None:
    """One call for each question, and an answer after its result, through the turn's own loop."""
    asked: list[ToolCall] = []

    async def run_tool(call: ToolCall) -> ToolFinished:
        asked.append(call)
        return ToolFinished(ToolResult(call.id, call.name, "mild, 18 degrees"), 0.0)

    async def body(chat: Local) -> None:
        said: tuple[Message, ...] = ()
        for number, question in enumerate(("Oslo?", "And Lima?", "And Rome?"), 1):
            said = (*said, user_message(question))
            events: list[Event] = []
            asking = request(tiny, *said, tools=(WEATHER,))
            async with aclosing(run_chat_turn(one_model(chat.stream), asking, run_tool,
                                              model="local/tiny")) as turn:
                async for event in turn:
                    events.append(event)
            added = [event.message for event in events if isinstance(event, MessageAdded)]
            assert [message.role for message in added] == ["assistant", "tool", "assistant"]
            assert added[-1].finish == "stop" and added[-1].text and not added[-1].tool_calls
            assert (len([event for event in events if isinstance(event, ToolFinished)]) == 1
                    and len(asked) == number)
            assert asked[-1].invalid is None and 1 <= asked[-1].arguments["days"] <= 9
            said = (*said, *added)
    with_local(tiny, tmp_path, body)


def test_too_long_a_prompt_says_both_numbers(tiny: Path, tmp_path: Path) -> None:
    async def body(chat: Local) -> None:
        with pytest.raises(ContextTooLong) as caught:
            await collect(chat.stream(request(tiny, user_message("word " * 2000))))
        assert caught.value.limit == 4096 and (caught.value.needed or 0) > 4096
        assert text_of(await collect(chat.stream(request(tiny))))
    with_local(tiny, tmp_path, body)


def test_stopping_a_reply_frees_the_engine(tiny: Path, tmp_path: Path) -> None:
    async def body(chat: Local) -> None:
        endless = request(tiny, max_tokens=100_000, raw={"ignore_eos": True})
        async with aclosing(chat.stream(endless)) as deltas:
            async for _ in deltas:
                break
        engine = chat._engine
        assert engine is not None

        def resting() -> bool:
            slots = httpx2.get(engine.address + "/slots",
                               headers={"authorization": f"Bearer {engine.key}"},
                               trust_env=False).json()
            return not any(slot["is_processing"] for slot in slots)
        assert wait_until(resting)
    with_local(tiny, tmp_path, body)


def test_four_chats_at_once_share_one_engine(tiny: Path, tmp_path: Path) -> None:
    async def run() -> None:
        chats = [local(tiny, tmp_path) for _ in range(4)]
        answers = await asyncio.gather(
            *(collect(
                chat.stream(request(tiny, seed=seed, max_tokens=200, raw={"ignore_eos": True})))
              for seed, chat in enumerate(chats)))
        assert {finish_of(answer) for answer in answers} == {"length"}
        assert len({chat._engine.pid for chat in chats if chat._engine}) == 1
        for chat in chats:
            await chat.close()
    asyncio.run(run())


@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
def test_an_engine_that_runs_is_shared_whatever_memory_is_left(
        tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        first, second = local(tiny, tmp_path), local(tiny, tmp_path)
        asked = request(tiny, num_ctx=None)
        await collect(first.stream(asked))
        monkeypatch.setattr(machine, "available_memory", lambda: 1000)
        await collect(second.stream(asked))
        assert first._engine and second._engine and first._engine.pid == second._engine.pid
        with pytest.raises(ProviderError, match="Not enough memory"):
            await collect(second.stream(request(tiny, num_ctx=2048)))
        await first.close()
        await second.close()
        assert wait_until(lambda: not engines_in(tmp_path / ".engines"))
        with pytest.raises(ProviderError, match="Not enough memory"):
            await collect(second.stream(asked))
    asyncio.run(run())


# ---- an engine that dies

@pytest.mark.skipif(sys.platform != "linux", reason="finds the processes in /proc")
@pytest.mark.parametrize("victim", [min, max], ids=["the keeper", "what computes"])
def test_an_engine_killed_in_mid_answer_keeps_what_came_and_the_chat_goes_on(
        tiny: Path, tmp_path: Path, victim: Callable[[list[int]], int]) -> None:
    async def body(chat: Local) -> None:
        endless = request(tiny, max_tokens=100_000, raw={"ignore_eos": True})
        events: list[Event] = []
        with pytest.raises(StreamBroken, match="engine ended") as caught:
            async with aclosing(run_chat_turn(one_model(chat.stream), endless,
                                              model="local/tiny")) as turn:
                async for event in turn:
                    if (isinstance(event, TextDelta)
                        and not any(isinstance(item, TextDelta) for item in events)):
                        os.kill(victim(engines_in(tmp_path / ".engines")), signal.SIGKILL)
                    events.append(event)
        kept = events[-1]
        assert (isinstance(kept, MessageAdded) and kept.message.text
                and kept.message.finish == "truncated")
        assert "started again" in caught.value.hint
        going_on = request(tiny, user_message("hi"), kept.message, user_message("go on"),
                           num_ctx=16_384)
        assert text_of(await collect(chat.stream(going_on)))
    with_local(tiny, tmp_path, body)


def test_an_engine_that_died_between_two_questions_is_not_noticed(tiny: Path,
                                                                  tmp_path: Path) -> None:
    async def body(chat: Local) -> None:
        await collect(chat.stream(request(tiny)))
        assert chat._engine is not None
        engine = chat._engine
        os.kill(engine.pid, signal.SIGKILL)
        assert wait_until(lambda: not engine.alive())
        answered = [item async for item in stream_chat_with_retry(
            Models({"local/tiny": chat.stream}, RetryConfig(initial_delay=0.01)), request(tiny))]
        assert text_of([item for item in answered if not isinstance(item, Retrying)])
    with_local(tiny, tmp_path, body)


# ---- models

def test_models_and_their_description(tiny: Path, tmp_path: Path) -> None:
    async def body(chat: Local) -> None:
        assert await chat.models() == []
        (tmp_path / "toy.gguf").write_bytes(tiny.read_bytes())
        (listed,) = await chat.models()
        assert (listed.name, listed.size) == ("toy", tiny.stat().st_size)
        assert (await chat.show("toy")).context_window == 32_768
        assert "1 model" in await chat.check()
        named = Request("toy", (user_message("hi"),), options=Options(max_tokens=50))
        assert text_of(await collect(chat.stream(named)))
        with pytest.raises(ModelNotFound, match="not on this computer"):
            await collect(chat.stream(Request("qwen3.5-0.8b", (user_message("hi"),))))
    with_local(tiny, tmp_path, body)


def test_a_file_that_is_no_model_is_told_without_starting_anything(tiny: Path,
                                                                   tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"<html>")

    async def body(chat: Local) -> None:
        with pytest.raises(ProviderError, match="not a model file") as caught:
            await collect(chat.stream(Request(str(bad), (user_message("hi"),))))
        assert not isinstance(caught.value, ConnectFailed)
    with_local(tiny, tmp_path, body)


@pytest.mark.parametrize("fetched", [False, True])
def test_the_self_test_passes_and_says_which_models_it_used(tiny: Path, tmp_path: Path,
                                                            fetched: bool) -> None:
    if fetched:
        (tmp_path / "stream-chat" / "models").mkdir(parents=True)
        (tmp_path / "stream-chat" / "models" / "small.gguf").symlink_to(tiny)
    code = ("import sys, os; from core.engine.self_test import run_self_test; "
            "sys.exit(run_self_test(sys.stdout.write, os.environ))")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout.count("  passed  ") == 6 + fetched
            and "toy model" in done.stdout.splitlines()[0])
    assert ("small and a toy model" in done.stdout) == ("small answers" in done.stdout) == fetched
    assert ("--pull smollm2-135m" in done.stdout) != fetched


def test_the_self_test_tells_what_fails(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from core.engine.self_test import run_self_test
    assert run_self_test(sys.stdout.write, os.environ,
                         program=[sys.executable, "-c", "raise SystemExit('broken')"]) == 1
    said = capsys.readouterr().out
    assert "FAILED  an answer streams" in said and "broken" in said and "Traceback" not in said


def test_the_engine_counts_what_it_then_reads(tiny: Path, tmp_path: Path) -> None:
    """With tools, a system prompt and earlier turns, the count equals what the answer reports."""
    earlier = Message("assistant", (), "local/tiny", None, "stop")
    asked = Request(str(tiny), (user_message("hi, \u00e9 \u65e5\u672c"), earlier,
                                user_message("and <|im_end|> now?")),
                    "be brief", (WEATHER,), Options(seed=1, max_tokens=4, num_ctx=4096))

    async def both() -> tuple[int, list[Delta]]:
        provider = local(tiny, tmp_path)
        try:
            return await provider.count(asked), await collect(provider.stream(asked))
        finally:
            await provider.close()
    counted, deltas = asyncio.run(both())
    assert [delta.input_tokens for delta in deltas if isinstance(delta, Usage)][-1:] == [counted]


def test_a_chat_is_planned_with_the_window_that_the_engine_allocates(tiny: Path,
                                                                     tmp_path: Path) -> None:
    """The model's own window must not be used: requests would be too long, and no summary would be
    due.
    """
    settings = Settings({"provider": "local", "model": str(tiny), "num_ctx": 2048, "save": False},
                        environment={"HOME": str(tmp_path)})

    async def run() -> None:
        providers, target = Providers(settings), build_model_list(settings)[0]
        fitter = Fitter(settings, providers, WindowWatch(providers))
        asked = request(tiny, *(user_message("some words of a long conversation " * 20)
                                for _ in range(12)), num_ctx=2048)
        assert await fitter.window(asked, target) == 2048
        fitted = await fitter.fit(asked, target)
        assert fitted.budget.window == 2048 and fitted.left_out
        assert await fitter.plan(asked, target, (), only_if_due=True) is not None
        await providers.close()
    asyncio.run(run())
