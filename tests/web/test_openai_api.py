"""Other programs with /v1: OpenAI's own client and `llm`, with fallbacks, tools, errors in OpenAI's
form, and saving.
"""

from __future__ import annotations

import base64
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from core.events import MessageAdded, TextDelta
from core.messages import Message
from core.web.v1.responses_form import Writer
from tests.fake_server import FakeOllama, FakeServer, fake_words, json_answer
from tests.web.page_server import PATIENCE, PageServer, text_of

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]
TOKEN = "for-programs"
ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def server(home: dict[str, str]) -> Iterator[PageServer]:
    with FakeOllama() as ollama, PageServer(
            home | {"OLLAMA_HOST": ollama.url, "STREAM_CHAT_WEB_TOKEN": TOKEN}, "-m", "words-40",
            "--model-fallbacks", "words-5", "--retry-max-attempts", "1", "--no-resume") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: PageServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=TOKEN, max_retries=0,
                       timeout=PATIENCE) as made:
        yield made


def test_models_are_listed(client: openai.OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert "ollama/echo:latest" in names
    assert client.models.retrieve("ollama/echo").owned_by == "ollama"


def test_a_reply_at_once_and_in_pieces(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="words-40", messages=ASKED)
    assert (whole.choices[0].message.content == fake_words(40)
            and whole.choices[0].finish_reason == "stop")
    assert (whole.model == "ollama/words-40" and whole.usage is not None
            and whole.usage.completion_tokens == 40)
    pieces = list(client.chat.completions.create(model="words-40", messages=ASKED, stream=True,
                                                 stream_options={"include_usage": True}))
    assert "".join(piece.choices[0].delta.content or ""
                   for piece in pieces if piece.choices) == fake_words(40)
    assert [piece.choices[0].finish_reason for piece in pieces if piece.choices][-1] == "stop"
    assert pieces[-1].usage is not None and pieces[-1].usage.completion_tokens == 40


def test_thinking_is_apart(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(model="think", messages=ASKED)
    assert found.choices[0].message.content == fake_words(5)
    assert found.choices[0].message.to_dict()["reasoning_content"] == "so be it"


@pytest.mark.parametrize("stream", [False, True])
def test_tool_calls_are_passed_through(client: openai.OpenAI, stream: bool) -> None:
    tool: Any = {"type": "function",
                 "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}
    messages: list[Any] = [{"role": "user", "content": "look it up"}]
    if stream:
        pieces = list(client.chat.completions.create(model="tools", messages=messages, tools=[tool],
                                                     stream=True))
        [call] = [call for piece in pieces for call in piece.choices[0].delta.tool_calls or ()]
        assert pieces[-1].choices[0].finish_reason == "tool_calls"
    else:
        choice = client.chat.completions.create(model="tools", messages=messages,
                                                tools=[tool]).choices[0]
        [call] = choice.message.tool_calls or ()  # type: ignore[assignment]
        assert choice.finish_reason == "tool_calls"
    assert call.function is not None and call.function.name == "find"
    assert json.loads(call.function.arguments or "") == {"q": "x"}
    asked = {"id": call.id, "type": "function",
             "function": {"name": "find", "arguments": call.function.arguments}}
    messages += [{"role": "assistant", "content": None, "tool_calls": [asked]},
                 {"role": "tool", "tool_call_id": call.id, "content": "42"}]
    answer = client.chat.completions.create(model="tools", messages=messages, tools=[tool])
    assert answer.choices[0].message.content == "result: 42"


def test_a_fallback_answers_and_is_named(client: openai.OpenAI) -> None:
    found = client.chat.completions.create(model="missing", messages=ASKED)
    assert (found.choices[0].message.content, found.model) == (fake_words(5), "ollama/words-5")


def test_errors_have_their_form(home: dict[str, str]) -> None:
    refused = {"error": "unauthorized"}
    with FakeServer(lambda asked: json_answer(refused, 401)) as failing, PageServer(
            home | {"OLLAMA_HOST": failing.url, "STREAM_CHAT_WEB_TOKEN": TOKEN}, "-m",
            "x") as server:
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=TOKEN, max_retries=0,
                               timeout=PATIENCE)
        for stream in (False, True):
            with pytest.raises(openai.AuthenticationError):
                client.chat.completions.create(model="x", messages=ASKED, stream=stream)  # type: ignore[call-overload]
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="wrong").models.list()


def test_an_error_in_the_middle_is_an_event(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="error-7", messages=ASKED, stream=True)
    seen = ""
    with pytest.raises(openai.APIError) as caught:
        for piece in stream:
            seen += piece.choices[0].delta.content or ""
    assert seen.startswith(fake_words(7)) and "error" in str(caught.value).lower()


@pytest.mark.parametrize("bad", [
    {"messages": []}, {"messages": "x"}, {"messages": [{"role": "prophet", "content": "x"}]},
    {"n": 2},
    {"messages": [{"role": "user", "content": [{"type": "smell"}]}]},
    {"tools": [{"type": "function"}]},
    {"messages":
     [{"role": "user",
       "content": [{"type": "image_url", "image_url": {"url": "http://x.example/a.png"}}]}]}])
def test_what_cannot_be_asked_is_refused_with_a_reason(server: PageServer,
                                                       bad: dict[str, Any]) -> None:
    answer = server.client.post(f"{server.url}/v1/chat/completions",
                                json={"model": "echo", "messages": ASKED, **bad},
                                headers={"authorization": f"Bearer {TOKEN}"}, timeout=PATIENCE)
    assert answer.status_code == 400
    assert (set(answer.json()["error"]) == {"message", "type", "param", "code"}
            and answer.json()["error"]["message"])


def test_a_conversation_is_one_session_and_saving_can_be_switched_off(client: openai.OpenAI,
                                                                      server: PageServer) -> None:
    messages: list[Any] = [{"role": "system", "content": "Be short."},
                           {"role": "user", "content": "a saved question"}]
    first = client.chat.completions.with_raw_response.create(model="echo", messages=messages)
    session = first.headers["x-stream-chat-session"]
    messages += [{"role": "assistant", "content": "a saved question"},
                 {"role": "user", "content": "the second one"}]
    second = client.chat.completions.with_raw_response.create(model="echo", messages=messages)
    assert second.headers["x-stream-chat-session"] == session
    found = server.snapshot(session)
    assert ([event["text"] for event in found["events"] if event["type"] == "user"]
            == ["a saved question", "the second one"])
    assert text_of(found["events"]) == "a saved questionthe second one"
    named = client.chat.completions.with_raw_response.create(
        model="echo", messages=[{"role": "user", "content": "more"}],
        extra_headers={"x-stream-chat-session": "off"})
    assert named.headers["x-stream-chat-session"] == "off"
    titles = [row["title"] for row in server.get("/api/sessions")["sessions"]]
    assert "more" not in titles and titles.count("a saved question") == 1


def test_embeddings(home: dict[str, str]) -> None:
    vectors = [[0.5, -1.0], [2.0, 0.25]]
    with (FakeServer(lambda asked: json_answer({"model": "e", "embeddings": vectors})) as ollama,
          PageServer(
            home | {"OLLAMA_HOST": ollama.url, "STREAM_CHAT_WEB_TOKEN": TOKEN}, "-m",
            "e") as server):
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=TOKEN, max_retries=0,
                               timeout=PATIENCE)
        found = client.embeddings.create(model="e", input=["one", "two"])
        assert [row.embedding for row in found.data] == vectors
        packed = client.embeddings.create(model="e", input=["one", "two"],
                                          encoding_format="base64").data[0].embedding
        assert list(struct.unpack("<2f", base64.b64decode(str(packed)))) == vectors[0]


def test_responses_at_once_and_streamed(client: openai.OpenAI) -> None:
    whole = client.responses.create(model="words-40", input="hello", instructions="Be brief.")
    assert (whole.output_text == fake_words(40) and whole.status == "completed"
            and whole.model == "ollama/words-40")
    assert whole.usage is not None and whole.usage.output_tokens == 40
    with client.responses.stream(model="think",
                                 input=[{"role": "user", "content": "hello"}]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert final.output_text == fake_words(5)
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed"
    assert (kinds.index("response.reasoning_summary_text.delta")
            < kinds.index("response.output_text.delta"))


def test_responses_continue_and_pass_tool_calls_through(client: openai.OpenAI,
                                                        server: PageServer) -> None:
    tool: Any = {"type": "function", "name": "find",
                 "parameters": {"type": "object", "properties": {}}, "strict": False}
    first = client.responses.with_raw_response.create(model="tools", input="look it up please",
                                                      tools=[tool])
    response = first.parse()
    [call] = [item for item in response.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("find", {"q": "x"})
    second = client.responses.with_raw_response.create(
        model="tools", previous_response_id=response.id, tools=[tool],
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "42"}])
    assert second.parse().output_text == "result: 42"
    assert second.headers["x-stream-chat-session"] == first.headers["x-stream-chat-session"]
    found = server.snapshot(first.headers["x-stream-chat-session"])
    assert ([event["text"] for event in found["events"] if event["type"] == "user"]
            == ["look it up please"])


def test_errors_of_responses(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="is unknown"):
        client.responses.create(model="echo", input="x", previous_response_id="resp_none")
    with pytest.raises(openai.BadRequestError, match="function tools"):
        client.responses.create(model="echo", input="x", tools=[{"type": "web_search_preview"}])
    last = list(client.responses.create(model="error-7", input="x", stream=True))[-1]
    assert (last.type == "response.failed" and last.response.error is not None
            and last.response.error.message)


@pytest.mark.parametrize("finish, status, reason", [
    ("stop", "completed", None), ("length", "incomplete", "max_output_tokens"),
    ("content_filter", "incomplete", "content_filter"),
    ("interrupted", "incomplete", "max_output_tokens")])
def test_a_response_that_is_not_whole_says_so(finish: Any, status: str, reason: str | None) -> None:
    writer = Writer({}, "m")
    added = MessageAdded(Message("assistant", (), "m", None, finish))
    made = [*writer.begin(), *writer.events(TextDelta("so far")), *writer.events(added),
            *writer.end()]
    assert made[-1]["type"] == f"response.{status}" and writer.response["status"] == status
    assert writer.response["incomplete_details"] == (reason and {"reason": reason})
    assert [row["sequence_number"] for row in made] == list(range(len(made)))


def test_llm_chats_over_it(server: PageServer, tmp_path: Path) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(
        f"- model_id: ours\n  model_name: words-40\n  api_base: {server.url}/v1\n  api_key_name: "
        "ours\n", encoding="utf-8")
    environment = os.environ | {"LLM_USER_PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "llm", "-m", "ours", "--key", TOKEN, "hello"],
                          env=environment,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=PATIENCE * 2)
    assert done.stdout.strip() == fake_words(40), done.stderr
