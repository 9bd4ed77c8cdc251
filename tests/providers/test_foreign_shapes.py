"""Values of the wrong type are unknown, and everything else is still read."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import random
from collections.abc import Iterator
from typing import Any

import pytest

from core.config import Settings
from core.errors import BadResponse, ProviderError
from core.events import Finished, TextDelta
from core.messages import Message, Text
from core.model_manager import Providers, Target
from core.models.facts import known_facts
from core.models.health import list_models
from core.models.tables import model_table
from core.providers import ModelInfo, Request, ToolSpec
from core.providers.anthropic_request import request_body as anthropic_body
from core.providers.foreign import AT_ONCE, MOST_ENTRIES, first_size, size_of
from core.providers.gemini_request import schema_subset
from core.providers.ollama_reply import ReplyReader
from core.providers.openai_request import answer_schema
from core.providers.tool_schema import closed_form, is_closed, tool_parameters
from core.rendering.table import Table
from tests.dialects import ask, exchange, reply_of, run, server_events, stream_answer
from tests.fake_server import Answer, FakeServer, json_answer
from tests.scripted_answers import SCRIPTED, Script

ODD: tuple[Any, ...] = (None, "x", "1048576", 7, -1, 1.5, 1 << 70, True, False, [], [1, "a", None],
                        {}, {"a": {"b": 1}}, [{}])
GOOD: dict[str, tuple[str, dict[str, Any]]] = {
    "openai":
    ("data",
     {"id": "odd", "active": True, "context_window": 8, "max_completion_tokens": 4, "type": "chat",
      "meta": {"n_ctx": 4, "n_ctx_train": 8, "size": 9}, "capabilities": {"vision": True},
      "providers": [{"context_length": 8, "supports_tools": True}],
      "supported_parameters": ["tools"],
      "architecture": {"input_modalities": ["image"]},
      "top_provider": {"max_completion_tokens": 3}}),
    "ollama":
    ("models",
     {"name": "odd", "model": "odd", "size": 12, "context_length": 8, "capabilities": ["tools"],
      "details": {"family": "llama", "context_length": 9}}),
    "anthropic": ("data", {"id": "odd", "max_input_tokens": 8, "max_tokens": 4, "display_name": "x",
                           "capabilities": {"thinking": {"supported": True},
                                            "image_input": {"supported": False}}}),
    "gemini":
    ("models", {"name": "models/odd", "inputTokenLimit": 8, "outputTokenLimit": 4, "thinking": True,
                "supportedGenerationMethods": ["generateContent"], "displayName": "x"}),
    "cohere":
    ("models", {"name": "odd", "endpoints": ["chat"], "features": ["tools"], "context_length": 8,
                "supports_vision": True}),
}


def replaced(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value inside."""
    inside = (value.items() if isinstance(value, dict)
              else enumerate(value) if isinstance(value, list) else ())
    for name, inner in inside:
        yield (*path, name)
        yield from replaced(inner, (*path, name))


def with_value(entry: Any, path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(entry)
    holder = changed
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return changed


@pytest.mark.parametrize("dialect", sorted(GOOD))
def test_every_field_of_a_model_list_may_be_anything(dialect: str) -> None:
    """All fields × all kinds of values in one list: the valid entries at its ends are read,
    whatever is between them.
    """
    under, good = GOOD[dialect]
    name = "id" if "id" in good else "name"
    first, last = ({**good, name: f"{word}", **({"model": word} if "model" in good else {})}
                   for word in ("first", "last"))
    odd = [with_value(good, path, value) for path in replaced(good) for value in ODD]
    answer = {under: [first, *odd, *ODD, last]}
    with FakeServer(json_answer(answer)) as server:
        found: list[ModelInfo] = run(dialect, server.url, lambda provider: provider.models())
    names = [info.name for info in found]
    assert names[0] == "first" and names[-1] == "last" and len(found) > len(odd) / 2
    for info in found:
        assert isinstance(info.name, str) and info.name
        for size in (info.context_window, info.output_limit, info.size):
            assert size is None or type(size) is int and 0 < size < 1 << 53
        assert info.capabilities is None or all(isinstance(word, str) for word in info.capabilities)
        facts = known_facts(Target(dialect, info.name), Providers(Settings({})), info)
        assert ({type(value) for value in (facts.tools, facts.vision, facts.thinking)}
                <= {bool, type(None)})


@pytest.mark.parametrize("dialect", sorted(GOOD))
@pytest.mark.parametrize("listed", [*ODD, "absent"], ids=repr)
def test_a_list_that_is_not_one_is_an_error_of_that_host(dialect: str, listed: Any) -> None:
    under = GOOD[dialect][0]
    with FakeServer(json_answer({} if listed == "absent" else {under: listed})) as server:
        try:
            assert isinstance(run(dialect, server.url, lambda provider: provider.models()), list)
        except BadResponse as error:
            assert "did not respond" in error.message


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_one_odd_host_does_not_empty_the_list_for_all(odd: Any) -> None:
    with (FakeServer(json_answer({"data": [{"id": "good"}]})) as good,
          FakeServer(json_answer(odd)) as bad):
        entries = {"fine": {"base_url": good.url}, "strange": {"base_url": bad.url}}
        providers = Providers(Settings({}, providers=entries))
        found = asyncio.run(list_models(providers, ["strange", "fine"]))
        assert [info.name for info in found[1].models] == ["good"]
        table = asyncio.run(model_table(Providers(Settings({}, providers=entries, )), "strange"))
        assert table.rows


def test_a_very_long_list_is_cut_and_says_so() -> None:
    """Reading it yields to the event loop, so Ctrl-C never waits for the whole list."""
    entries = [{"id": f"m{number}"} for number in range(MOST_ENTRIES + 5)]

    async def run_table(url: str) -> tuple[Table, int]:
        making = asyncio.ensure_future(
            model_table(Providers(Settings({}, providers={"long": {"base_url": url}})), "long"))
        turns = 0
        while not making.done():
            await asyncio.sleep(0)
            turns += 1
        return await making, turns
    with FakeServer(json_answer({"data": entries})) as server:
        table, turns = asyncio.run(run_table(server.url))
    assert ([row[0] for row in table.rows[:2]] == ["long/m0", "long/m1"]
            and len(table.rows) == MOST_ENTRIES + 1)
    assert (table.rows[-1][-1] == "lists more; the first 10,000 "
            "are shown" and turns > 2 * MOST_ENTRIES // AT_ONCE)


@pytest.mark.parametrize("value, size", [
    ("1048576", 1048576), (8, 8), (8.0, 8), (True, None), ("x", None), ("", None), (-1, None),
    (0, None),
    (1 << 60, None), (None, None),
    ("9" * 40, None), ([8], None)])
def test_sizes(value: Any, size: int | None) -> None:
    assert size_of(value) == size


def test_the_first_size_that_is_one() -> None:
    assert (first_size([None, "x", 0, -3, "7", 8]) == 7 and first_size([None, {}]) is None
            and first_size([]) is None)


@pytest.mark.parametrize("said, tools",
                         [(["completion"], None), (["tools"], True), ({"tools": False}, False),
                          ({}, None)])
def test_what_a_list_does_not_mention_is_unknown(said: Any, tools: bool | None) -> None:
    """llama.cpp lists "completion" alone, and calls tools."""
    with FakeServer(json_answer({"data": [{"id": "m", "capabilities": said}]})) as server:
        info = run("openai", server.url, lambda provider: provider.models())[0]
    assert known_facts(Target("llamacpp", "m"), Providers(Settings({})), info).tools is tools


# ---- events

HELLO = Request("m", (Message("user", (Text("hi"),)),))
CHUNK = {"choices": [{"index": 0, "delta": {"content": "Hi."}, "finish_reason": None}]}
END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
SIGNS = ["data:\n\n", "data: \n\n", ": comment\n\n", "event: ping\ndata: ping\n\n",
         "event: ping\ndata:\n\n", "data: ping\n\n",
         "event: heartbeat\ndata: 17\n\n", "event: anything\ndata: keep-alive\n\n",
         "data: null\n\n",
         "data: \"alive\"\n\n", "event: x\n\n",
         "retry: 10\n\n", "id: 4\ndata:\n\n", "data: true\n\n"]


@pytest.mark.parametrize("seed", range(15))
def test_signs_of_life_are_skipped_wherever_they_stand(seed: int) -> None:
    chance = random.Random(seed)
    body = ""
    for payload in (CHUNK, CHUNK, END):
        body += ("".join(chance.choices(SIGNS, k=chance.randrange(4)))
                 + f"data: {json.dumps(payload)}\n\n")
    answer = Answer([body.encode()], headers={"Content-Type": "text/event-stream"})
    with FakeServer(answer) as server:
        deltas, error = ask("openai", server.url, HELLO)
    assert error is None and reply_of(deltas).text == "Hi.Hi.", f"seed {seed}"
    assert len(server.requests) == 1


def test_words_alone_are_shown() -> None:
    with FakeServer(Answer([b"data: Internal failure of the proxy\n\n"],
                           headers={"Content-Type": "text/event-stream"})) as server:
        _, error = ask("openai", server.url, HELLO)
    assert isinstance(error, ProviderError) and "Internal failure of the proxy" in error.message


def value_at(entry: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        entry = entry[step]
    return entry


COUNTS: dict[str, Any] = {
    "prompt_tokens_details": {"cached_tokens": 1}, "completion_tokens_details":
    {"reasoning_tokens": 1}, "cache_read_input_tokens": 1, "cache_creation_input_tokens": 1,
    "input_tokens_details": {"cached_tokens": 1}, "output_tokens_details": {"reasoning_tokens": 1},
    "cachedContentTokenCount": 1, "thoughtsTokenCount": 1, "billed_units": {"input_tokens": 1},
    "cached_tokens": 1}
# The fields of events besides the text and the end of an answer.
SIDE = ("usage", "usageMetadata", "x_groq", "id", "model", "created", "system_fingerprint", "role",
        "object", "responseId", "promptFeedback", "annotations", "status", "item_id",
        "prompt_eval_count", "eval_count", "total_duration")
SAID = "Hello there."


def events_of(dialect: str) -> tuple[list[str], dict[int, tuple[str, dict[str, Any]]]]:
    """The lines of a good answer, and by their number those with JSON: what is before it, and it,
    with more beside the words than a short answer has.
    """
    body = SCRIPTED[dialect](Script(SAID)).steps[0]
    assert isinstance(body, bytes)
    lines, events = body.decode().split("\n"), dict[int, tuple[str, dict[str, Any]]]()
    for number, line in enumerate(lines):
        mark = "data: " if line.startswith("data: {") else ""
        if line[len(mark):].startswith("{"):
            event = json.loads(line[len(mark):])
            event |= {name: "x" for name in ("id", "system_fingerprint") if name not in event}
            for holder in (event, event.get("response"), event.get("message"), event.get("delta")):
                for name in ("usage", "usageMetadata"):
                    if isinstance(holder, dict) and isinstance(holder.get(name), dict):
                        holder[name] |= COUNTS
            events[number] = mark, event
    return lines, events


@pytest.mark.parametrize("dialect", sorted(SCRIPTED))
def test_beside_the_words_of_an_event_anything_may_stand(dialect: str) -> None:
    """A field of another type is unknown; the answer is kept and not requested again."""
    seed = int(os.environ.get("STREAM_CHAT_TEST_SEED") or random.randrange(1 << 32))
    print(f"STREAM_CHAT_TEST_SEED={seed}")
    lines, events = events_of(dialect)
    tried = [(number, path, odd) for number, (_, event) in events.items()
             for path in replaced(event) if set(SIDE) & set(path)
             and SAID not in json.dumps(value_at(event, path)) for odd in ODD]
    body = b""
    content_type = SCRIPTED[dialect](Script(SAID)).content_type
    with FakeServer(lambda request: Answer([body], content_type=content_type)) as server:
        for number, path, odd in random.Random(seed).sample(tried, min(60, len(tried))):
            changed = list(lines)
            mark, event = events[number]
            changed[number] = mark + json.dumps(with_value(event, path, odd))
            body = "\n".join(changed).encode()
            deltas, error = ask(dialect, server.url, HELLO)
            assert error is None and reply_of(deltas).text == SAID, (path, odd, error)


@pytest.mark.parametrize("dialect", sorted(SCRIPTED))
@pytest.mark.parametrize("page",
                         ["<html><head><title>502 Bad Gateway</title></head><body>" + "x" * 500,
                          "<!DOCTYPE html>\n<TITLE>\n502 Bad\nGateway </TITLE>",
                          "<html><body><h1>502 Bad Gateway</h1>"])
def test_of_a_page_the_title_is_shown(page: str, dialect: str) -> None:
    for status in (200, 502) if dialect == "openai" else (502,):
        with FakeServer(Answer([page.encode()], status, framing="length")) as server:
            _, error = ask(dialect, server.url, HELLO)
        assert error is not None and "502 Bad Gateway" in error.message
        assert "<" not in error.message


# ---- Ollama's lines

def read(*lines: Any) -> list[Any]:
    reader = ReplyReader(HELLO)
    deltas = list(reader.read(lines))
    assert reader.done
    return deltas


@pytest.mark.parametrize("odd", [{"error": None}, {"error": ""}, {"error": False}])
def test_an_error_without_words_is_none(odd: dict[str, Any]) -> None:
    deltas = read({"message": {"content": "Hi."}, **odd}, {"done": True, "done_reason": "stop"})
    assert TextDelta("Hi.") in deltas


@pytest.mark.parametrize("last",
                         [{"done_reason": "stop"}, {"done": None, "done_reason": "length"},
                          {"done": True}])
def test_a_last_line_is_known_by_either_mark(last: dict[str, Any]) -> None:
    assert any(isinstance(delta, Finished) for delta in read({"message": {"content": "Hi."}}, last))


def test_a_byte_order_mark_is_no_text() -> None:
    lines = [{"message": {"content": "Hi."}, "done": False}, {"message": {}, "done": True}]
    body = b"\xef\xbb\xbf" + b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    with FakeServer(Answer([body])) as server:
        deltas, error = ask("ollama", server.url, HELLO)
    assert error is None and reply_of(deltas).text == "Hi."


# ---- calls and choices of the OpenAI dialect

def piece(**call: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}


def calls_of(*payloads: Any) -> list[tuple[str, dict[str, Any]]]:
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    deltas, _ = exchange("openai", stream_answer(server_events([*payloads, end])), HELLO)
    return [(call.name, dict(call.arguments)) for call in reply_of(deltas).tool_calls]


TWO = [("a", {"x": 1}), ("b", {"y": 2})]


@pytest.mark.parametrize("payloads, calls", [
    ([piece(index=0, function={"name": "a", "arguments": '{"x":1}'}),
      piece(index=0, function={"name": "b",
                               "arguments": '{"y":2}'})], TWO),
    ([piece(index=0, function={"name": "a", "arguments": '{"x":1}'}),
      piece(index=0, function={"name": "a",
                               "arguments": '{"x":2}'})],
     [("a", {"x": 1}), ("a", {"x": 2})]),
    ([piece(index=0, function={"name": "a", "arguments": ""}),
      piece(index=0, function={"name": "a", "arguments": '{"x":1}'})],
     [("a", {"x": 1})]),
    ([piece(index=0, function={"name": "a", "arguments": '{"x"'}),
      piece(index=0, function={"arguments": ":1}"}),
      piece(index=0, function={"name": "b", "arguments": '{"y":'}),
      piece(index=0, function={"arguments": "2}"})], TWO),
    ([{"choices":
       [{"delta":
         {"tool_calls": {"index": 0, "id": "1",
                         "function": {"name": "a", "arguments": {"x": 1}}}}}]},
      {"choices":
       [{"delta":
         {"tool_calls": {"0": {"id": "2", "function": {"name": "b", "arguments": '{"y":2}'}}}}}]}],
     TWO),
])
def test_parallel_calls_without_ids(payloads: list[Any],
                                    calls: list[tuple[str, dict[str, Any]]]) -> None:
    assert calls_of(*payloads) == calls


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("together", [True, False])
def test_one_of_several_choices_is_followed(order: tuple[int, int], together: bool) -> None:
    def chunk(text: str, reason: str | None) -> list[Any]:
        both = [{"index": index, "delta": {"content": f"{text}{index}"}, "finish_reason": reason}
                for index in order]
        return [{"choices": both}] if together else [{"choices": [choice]} for choice in both]
    deltas, _ = exchange("openai",
                         stream_answer(server_events([*chunk("a", None), *chunk("b", "stop")])),
                         HELLO)
    followed = 0 if together else order[0]
    assert reply_of(deltas).text in (f"a{followed}b{followed}", f"a{followed}")


# ---- schemas

def random_schema(chance: random.Random, depth: int = 0) -> Any:
    kinds = ["object", "array", "string", "enum", "ref", "anyOf", "list", "empty",
             "odd"][:9 if depth < 4 else 4]
    match chance.choice(kinds):
        case "object":
            names = chance.sample(["a", "b", "c"], chance.randrange(4))
            return {"type": "object",
                    "properties": {name: random_schema(chance, depth + 1) for name in names},
                    "required": chance.choice([["a", "missing"], ["b"], None, "a", [1]]),
                    "title": "T"}
        case "array":
            return {"type": "array",
                    **({"items": random_schema(chance, depth + 1)} if chance.random() < 0.6
                       else {})}
        case "enum":
            return {"enum": chance.choice([[""], ["", "x"], ["x", "y"], [], None, [1, 2]]),
                    "type": "string"}
        case "ref":
            return {"$ref":
                    chance.choice(["#/properties/a", "#/$defs/D", "#/definitions/none",
                                   "http://x/y",
                                   "#", "#/properties/a/items"])}
        case "anyOf":
            return {chance.choice(["anyOf", "oneOf", "allOf"]):
                    [random_schema(chance, depth + 1) for _ in range(2)]}
        case "list":
            return {"type": ["array", "null"], "$schema": "x",
                    "additionalProperties": chance.choice([True, False, {}])}
        case "odd":
            return chance.choice([True, False, None, 7, "x", []])
    return {} if depth else {"type": "string"}


def parts_of(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
        for name in ("properties", "$defs"):
            for inner in (schema.get(name) or {}).values():
                yield from parts_of(inner)
        for inner in (schema.get("items"), *(schema.get("anyOf") or ()),
                      *(schema.get("oneOf") or ()),
                      *(schema.get("allOf") or ())):
            yield from parts_of(inner)


@pytest.mark.parametrize("seed", range(200))
def test_schemas_of_tools_are_made_to_fit(seed: int) -> None:
    chance = random.Random(seed)
    names = ["a", "b"]
    schema: dict[str, Any] = {"type": chance.choice(["object", "object", None, "string"]),
                              "properties": {name: random_schema(chance) for name in names},
                              "$defs": {"D": random_schema(chance)},
                              "required": chance.choice([["a"], ["zz"], None, 5])}
    if chance.random() < 0.3:
        schema = random_schema(chance) if chance.random() < 0.5 else {"type": "object"}
    made = tool_parameters(schema if isinstance(schema, dict) else {})
    json.dumps(made)
    assert made["type"] == "object" and isinstance(made["properties"], dict), f"seed {seed}"
    assert not {"anyOf", "oneOf", "allOf"} & set(made)
    for part in parts_of(made):
        kind = part.get("type")
        assert "items" in part or not (kind == "array" or isinstance(kind, list)
                                       and "array" in kind)
        assert set(part.get("required", ())) <= set(part.get("properties", ()))
        assert part.get("enum", ["x"]) and "" not in part.get("enum", ())
        assert str(part.get("$ref", "#/$defs/")).startswith(("#/$defs/", "#/definitions/"))
    for part in parts_of(schema_subset(made)):
        assert "$ref" not in part and ("type" in part or "anyOf" in part), f"seed {seed}: {part}"
        assert "items" in part or part.get("type") != "array"
        assert set(part.get("required", ())) <= set(part.get("properties", ()))
        assert part.get("enum", ["x"]) and all(part.get("enum", ["x"]))


def test_a_reference_into_the_schema_is_put_in_place() -> None:
    schema = {"type": "object", "properties":
              {"a": {"type": "integer", "minimum": 1}, "b": {"$ref": "#/properties/a"}}}
    assert tool_parameters(schema)["properties"]["b"] == {"type": "integer", "minimum": 1}
    assert schema_subset(schema)["properties"]["b"] == {"type": "integer", "minimum": 1}


def test_alternatives_at_the_top_are_one_object() -> None:
    made = tool_parameters(
        {"anyOf": [{"properties": {"a": {"type": "string"}, "c": {}}, "required": ["a", "c"]},
                   {"properties": {"b": {"type": "string"}, "c": {}}, "required": ["b", "c"]}]})
    assert set(made["properties"]) == {"a", "b", "c"} and made["required"] == ["c"]


@pytest.mark.parametrize("schema, strict", [
    ({"type": "object"}, True),
    ({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, True),
    ({"type": "object", "properties": {"a": {"type": "string"}}}, False),
    ({"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {}}}},
      "required": ["a"]}, False),
    ({"type": "object", "additionalProperties": {"type": "string"}}, False),
])
def test_a_schema_is_strict_only_where_it_is_closed(schema: dict[str, Any], strict: bool) -> None:
    asked = answer_schema(schema)
    assert asked["strict"] is strict and (is_closed(asked["schema"]) or not strict)
    assert strict or asked["schema"] == schema


def test_anthropic_gets_closed_schemas_without_limits() -> None:
    schema = {"type": "object", "properties": {"minimum": {"type": "integer", "minimum": 3},
                                               "list": {"type": "array", "minItems": 4,
                                                        "items": {"type": "object"}}}}
    assert closed_form(schema) == {
        "type": "object", "additionalProperties": False, "properties": {
            "minimum": {"type": "integer"},
            "list": {"type": "array", "minItems": 1,
                     "items": {"type": "object", "additionalProperties": False}}}}
    body = anthropic_body(Request("claude-haiku-4-5", HELLO.messages,
                                  tools=(ToolSpec("t", "", {"type": "object"}),)), {})
    assert body["tools"][0]["input_schema"] == {"type": "object", "properties": {}}
