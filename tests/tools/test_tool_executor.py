"""Tools as functions: their descriptions, checks and approvals before anything runs, and limits."""

from __future__ import annotations

import asyncio
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import pytest

from core.chat.tool_turn import chat_with_tools
from core.errors import ToolError, UsageError
from core.events import Finished, Notice, TextDelta, ToolCallDelta
from core.messages import Message, ToolCall, ToolResult, user_message
from core.providers import Request
from core.rendering.event_lines import finished_line
from core.sessions.reply import Reply
from core.tool_executor import (KINDS, ApprovalRequest, Decision, Toolbox, execute_tool_call,
                                grant_key, namespace)
from core.tools import Tool, ToolContext, all_tools, get_tools, load_tools_file, make_tool
from core.tools.calculate import FUNCTIONS, calculate
from core.tools.schema import check_arguments
from tests.one_model import one_model


class Place(TypedDict):
    name: str
    size: int


def weather(context: ToolContext, city: Annotated[str, "where"], days: int = 3,
            unit: Literal["C", "F"] = "C",
            exact: bool = False, tags: list[str] | None = None, place: Place | None = None,
            ratio: float = 0.5) -> str:
    """Tell the weather.

    Args:
        days: how many days
            to look ahead
        unit (str): the scale
    """
    return json.dumps([city, days, unit, exact, tags, place, ratio])


def run(made: Tool | list[Tool], arguments: Mapping[str, Any], **options: Any) -> ToolResult:
    tools = made if isinstance(made, list) else [made]
    return asyncio.run(Toolbox(tools, **options)
                       .execute_tool_call(ToolCall("1", tools[0].name, arguments)))


def test_the_schema_comes_from_the_function() -> None:
    made = make_tool(weather)
    assert made.description == "Tell the weather."
    assert made.context_parameter == "context"
    assert made.parameters == {
        "type": "object", "required": ["city"], "additionalProperties": False,
        "properties": {
            "city": {"type": "string", "description": "where"},
            "days": {"type": "integer", "default": 3, "description": "how many days to look ahead"},
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C",
                     "description": "the scale"},
            "exact": {"type": "boolean", "default": False},
            "tags": {"type": "array", "items": {"type": "string"}},
            "place": {"type": "object",
                      "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
                      "required": ["name", "size"], "additionalProperties": False},
            "ratio": {"type": "number", "default": 0.5},
        },
    }


def test_a_function_without_a_json_form_is_refused_when_it_is_registered() -> None:
    def odd(thing: threading.Thread) -> str:
        return ""

    def many(*things: str) -> str:
        return ""
    for function in (odd, many):
        with pytest.raises(TypeError):
            make_tool(function)


@pytest.mark.parametrize(("given", "meant"), [
    ({"city": "Rome"}, {"city": "Rome"}),
    ({"City": "Rome", "DAYS": 2}, {"city": "Rome", "days": 2}),
    ({"city": "Rome", "days": "5"}, {"city": "Rome", "days": 5}),
    ({"city": "Rome", "days": 5.0}, {"city": "Rome", "days": 5}),
    ({"city": "Rome", "ratio": "0.25"}, {"city": "Rome", "ratio": 0.25}),
    ({"city": "Rome", "ratio": 1}, {"city": "Rome", "ratio": 1}),
    ({"city": "Rome", "exact": "True"}, {"city": "Rome", "exact": True}),
    ({"city": 12}, {"city": "12"}),
    ({"city": "Rome", "unit": "f"}, {"city": "Rome", "unit": "F"}),
    ({"city": "Rome", "tags": "a"}, {"city": "Rome", "tags": ["a"]}),
    ({"city": "Rome", "tags": '["a", "b"]'}, {"city": "Rome", "tags": ["a", "b"]}),
    ({"city": "Rome", "tags": None}, {"city": "Rome"}),
    ({"city": "Rome", "place": '{"name": "x", "size": "3"}'},
     {"city": "Rome", "place": {"name": "x", "size": 3}}),
])
def test_mistakes_with_one_reading_are_repaired(given: dict[str, Any],
                                                meant: dict[str, Any]) -> None:
    assert check_arguments(make_tool(weather).parameters, given) == meant


@pytest.mark.parametrize(("given", "said"), [
    ({}, "Missing: city."),
    ({"city": None}, "'city' must be a string, not None."),
    ({"city": "Rome", "days": "many"}, "'days' must be a whole number, not 'many'."),
    ({"city": "Rome", "days": 1.5}, "'days' must be a whole number, not 1.5."),
    ({"city": "Rome", "days": True}, "'days' must be a whole number, not True."),
    ({"city": "Rome", "exact": 1}, "'exact' must be true or false, not 1."),
    ({"city": "Rome", "ratio": float("nan")}, "'ratio' must be a finite number."),
    ({"city": "Rome", "unit": "K"}, "'unit' cannot be 'K'."),
    ({"city": "Rome", "wind": 1}, "There is no argument 'wind'."),
    ({"city": "Rome", "place": {"name": "x"}}, "Missing: place.size."),
    ({"city": {"a": 1}}, "'city' must be a string, not dict."),
    ({"city": "a", "City": "b"}, "There is no argument 'City'."),
])
def test_other_mistakes_are_named_and_nothing_runs(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ToolError) as caught:
        check_arguments(make_tool(weather).parameters, given)
    assert caught.value.message == said


def test_two_readings_are_a_guess_and_therefore_an_error() -> None:
    choices = [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}]
    schema = {"type": "object", "properties": {"x": {"anyOf": choices}}}
    assert check_arguments(schema, {"x": 4}) == {"x": 4}
    with pytest.raises(ToolError, match="ambiguous"):
        check_arguments(schema, {"x": "4"})


def test_failures_become_the_models_error_result() -> None:
    def broken() -> str:
        raise ValueError("first line\nsecond line")

    def leaving() -> str:
        sys.exit(3)

    async def leaving_too() -> str:
        sys.exit(3)

    def refused() -> str:
        raise ToolError("No such thing.", "Try another.")
    said = [run(make_tool(function), {}) for function in (broken, leaving, leaving_too, refused)]
    assert all(result.is_error for result in said)
    assert [result.content for result in said] == [
        "broken failed: ValueError: first line", "The tool ended itself (SystemExit).",
        "The tool ended itself (SystemExit).",
        "No such thing. Try another."]


def test_results_that_are_no_text_are_json() -> None:
    def rows() -> list[dict[str, Any]]:
        return [{"a": 1, "b": "\u00e4"}]

    def nothing() -> None:
        return None
    assert run(make_tool(rows), {}).content == '[{"a": 1, "b": "\u00e4"}]'
    assert run(make_tool(nothing), {}).content == "(done; no result)"


def test_a_long_result_is_cut_and_says_so() -> None:
    def long() -> str:
        return "x" * 60_000
    content = run(make_tool(long), {}).content
    assert content.startswith("x" * 50_000 + "\n[Cut here: the first 50,000 of 60,000 characters")


def test_a_time_limit_returns_to_the_chat_although_the_tool_goes_on() -> None:
    release = threading.Event()
    stopped = threading.Event()

    def hangs(context: ToolContext) -> str:
        stopped.set() if context.stop.wait(20) else None
        release.wait(20)
        return "late"

    async def hangs_too() -> str:
        while True:
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                await asyncio.sleep(20)
                raise
    for function in (hangs, hangs_too):
        result = run(make_tool(function, timeout=0.05), {})
        assert result.is_error and "took longer than 0.05 s" in result.content
    assert stopped.wait(5)
    release.set()


def test_cancelling_the_turn_ends_the_call_and_tells_the_tool() -> None:
    seen = threading.Event()
    begun = threading.Event()

    def waits(context: ToolContext) -> str:
        begun.set()
        if context.stop.wait(20):
            seen.set()
        return ""

    async def scenario() -> None:
        task = asyncio.ensure_future(Toolbox([make_tool(waits)])
                                     .execute_tool_call(ToolCall("1", "waits", {})))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    asyncio.run(scenario())
    assert seen.wait(5)


def test_calls_run_side_by_side() -> None:
    barrier = threading.Barrier(4, timeout=10)

    def meets(number: int) -> int:
        barrier.wait()
        return number

    async def scenario() -> list[ToolResult]:
        box = Toolbox([make_tool(meets)])
        return await asyncio.gather(
            *[execute_tool_call(ToolCall(str(n), "meets", {"number": n}), box) for n in range(4)])
    assert [result.content for result in asyncio.run(scenario())] == ["0", "1", "2", "3"]


def test_budgets_of_a_turn() -> None:
    runs: list[int] = []

    def count(number: int) -> int:
        runs.append(number)
        return number

    async def scenario() -> list[ToolResult]:
        box = Toolbox([make_tool(count)], calls_per_turn=8)
        same = [await box.execute_tool_call(ToolCall("1", "count", {"number": n}))
                for n in (1, "1", 1.0, 1, 1)]
        rest = [await box.execute_tool_call(ToolCall("1", "count", {"number": n}))
                for n in range(2, 7)]
        box.begin_turn()
        return [*same, *rest, await box.execute_tool_call(ToolCall("1", "count", {"number": 1}))]
    results = asyncio.run(scenario())
    assert ([result.is_error for result in results] == [False] * 3 + [True] * 2 + [False] * 3
            + [True] * 2 + [False])
    assert "this call was already made 3 times" in results[3].content
    assert "used its 8 tool calls" in results[8].content
    assert runs == [1, 1, 1, 2, 3, 4, 1]


# ---- asking

class Person:
    """Answers from a list and keeps what was asked."""

    def __init__(self, *answers: Decision) -> None:
        self.answers = list(answers)
        self.asked: list[ApprovalRequest] = []

    async def __call__(self, request: ApprovalRequest) -> Decision:
        self.asked.append(request)
        await asyncio.sleep(0)
        return self.answers.pop(0)


def visit(url: str) -> str:
    return "been there"


def read_secret() -> str:
    return "the secret"


def shell(command: str) -> str:
    return f"ran {command}"


VISIT = make_tool(visit, kind="network", hosts=lambda arguments,
                  context: [arguments["url"].split("/")[2]])
SECRET = make_tool(read_secret, private=True)
SHELL = make_tool(shell, kind="run")


def outcomes(box: Toolbox, *calls: tuple[str, dict[str, Any]]) -> list[bool]:
    """Whether each call, one after the other, ran."""
    async def scenario() -> list[bool]:
        return [not (await box.execute_tool_call(ToolCall("1", name, arguments))).is_error
                for name, arguments in calls]
    return asyncio.run(scenario())


def test_without_a_person_only_what_is_allowed_runs() -> None:
    call = ("visit", {"url": "http://a.example/"})
    assert outcomes(Toolbox([VISIT]), call) == [False]
    assert outcomes(Toolbox([VISIT], allow=["network"]), call) == [True]
    assert outcomes(Toolbox([VISIT], allow=["visit"]), call) == [True]
    assert outcomes(Toolbox([SHELL], allow=["read", "network"]),
                    ("shell", {"command": "ls"})) == [False]


def test_private_data_makes_the_network_ask_for_each_host() -> None:
    a, b, secret = (("visit", {"url": "http://a.example/1"}),
                    ("visit", {"url": "http://b.example/"}), ("read_secret", {}))
    assert outcomes(Toolbox([VISIT, SECRET], allow=["read", "network"]), a, secret,
                    a) == [True, True, False]
    person = Person("session", "no")
    box = Toolbox([VISIT, SECRET], approve=person, allow=["read", "network"])
    assert outcomes(box, secret, a, ("visit", {"url": "http://a.example/2"}), b) == [True, True,
                                                                                     True, False]
    assert [(request.host, request.reason) for request in person.asked] == [
        ("a.example", "private data is in this conversation"),
        ("b.example", "private data is in this conversation")]
    assert person.asked[0].text == 'visit\n  url = "http://a.example/1"'


def test_private_data_in_a_stored_conversation_counts() -> None:
    box = Toolbox([VISIT, SECRET], allow=["read", "network"])
    box.note_messages([Message("tool", (ToolResult("1", "visit", ""),))])
    assert not box.private
    box.note_messages([Message("tool", (ToolResult("1", "read_secret", ""),))])
    assert box.private


def test_grants() -> None:
    grants: dict[str, str] = {}
    person = Person("once", "always", "no")
    box = Toolbox([SHELL], approve=person, grants=grants)
    ls, rm = ("shell", {"command": "ls"}), ("shell", {"command": "rm -r ."})
    assert outcomes(box, ls, ls, ls, rm) == [True, True, True, False]
    assert len(person.asked) == 3 and list(grants.values()) == ["shell"]
    assert outcomes(Toolbox([SHELL], grants=grants), ls, rm) == [True, False]
    changed = make_tool(shell, kind="run", source="elsewhere")
    assert outcomes(Toolbox([changed], grants=grants), ls) == [False]


def test_a_grant_covers_a_shape_and_a_host() -> None:
    key = grant_key(VISIT, {"url": "http://a/1"}, "a")
    assert key == grant_key(VISIT, {"url": "http://a/2"}, "a")
    assert key != grant_key(VISIT, {"url": "http://a/1"}, "b")
    assert key != grant_key(VISIT, {"url": ["http://a/1"]}, "a")


def test_one_question_at_a_time_and_one_answer_for_the_same_question() -> None:
    person = Person("session", "once")
    box = Toolbox([VISIT], approve=person)

    async def scenario() -> list[bool]:
        calls = [ToolCall(str(n), "visit", {"url": f"http://{host}/{n}"})
                 for n, host in enumerate("aab")]
        return [result.is_error for result
                in await asyncio.gather(*map(box.execute_tool_call, calls))]
    assert asyncio.run(scenario()) == [False] * 3
    assert [request.host for request in person.asked] == ["a", "b"]


@pytest.mark.parametrize("answer", ["once", "no"])
def test_a_finished_call_says_what_became_of_it(answer: Decision) -> None:
    """Its time excludes the wait for the user; a denial is marked as one."""
    waited: list[float] = []

    async def approve(request: ApprovalRequest) -> Decision:
        started = time.monotonic()
        await asyncio.sleep(0.5)
        waited.append(time.monotonic() - started)
        return answer
    call = ToolCall("1", "shell", {"command": "x"})
    box = Toolbox([make_tool(shell, kind="run"), make_tool(read_secret)], approve=approve)
    done = asyncio.run(box.run(call))
    assert done.asked and len(waited) == 1 and done.seconds < waited[0]
    assert done.ran is not done.result.declined is (answer == "no")
    assert done.result.content == ("ran x" if answer == "once" else
                                   "Not run: the user declined. Do not try again unless the user "
                                   "asks for it.")
    line = str(finished_line(call, done))
    ran = re.fullmatch(r"\u2713 shell x  5 characters, [\d.]+ m?s", line)
    assert ran if answer == "once" else line == "\u2717 shell x  you declined"


def test_what_is_asked_is_shown_in_full_and_safely() -> None:
    person = Person("no")
    command = "echo " + "x" * 100_000 + "\u202e\x1b]52;c;evil\x07"
    assert outcomes(Toolbox([SHELL], approve=person), ("shell", {"command": command})) == [False]
    text = person.asked[0].text
    assert ("x" * 100_000 in text and "<U+202E>" in text and "\x1b" not in text
            and "\u202e" not in text)


def test_an_approved_call_is_bound_to_its_host() -> None:
    def where(context: ToolContext, url: str) -> str:
        return json.dumps(sorted(context.hosts) if context.hosts is not None else None)
    made = make_tool(where, kind="network", hosts=VISIT.hosts)
    assert run(made, {"url": "http://A.example/"},
               approve=Person("once")).content == '["a.example"]'
    assert run(made, {"url": "http://A.example/"}, allow=["network"]).content == "null"


# ---- the registry

def test_the_built_in_tools() -> None:
    names = {made.name for made in all_tools() if made.source == "built in"}
    assert names == {"web_search", "read_json_file", "fetch_url", "read_file", "list_files",
                     "search_files", "query_database",
                     "search_sessions", "current_time", "calculate"}
    assert "fetch_url" not in {made.name for made in get_tools()}
    assert ([made.name for made in get_tools(["calculate", "read_file", "calculate"])]
            == ["calculate", "read_file"])
    with pytest.raises(UsageError, match="no tool named nonsense"):
        get_tools(["nonsense"])


def test_a_newcomers_tool_is_one_function_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from core.tools import tool\n\n@tool\ndef shout(text: str) -> str:\n"
                    '    """Say it loudly."""\n    return text.upper()\n')
    made, = load_tools_file(str(file))
    assert (made.name, made.description, made.source) == ("shout", "Say it loudly.", str(file))
    assert get_tools(["shout"]) == (made,)
    assert run(made, {"text": "hey"}).content == "HEY"


def test_a_tool_of_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loud.py").write_text("def whisper(text: str) -> str:\n    return text.lower()\n")
    (tmp_path / "loud-1.dist-info").mkdir()
    (tmp_path / "loud-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\n"
                                                            "Version: 1\n")
    (tmp_path / "loud-1.dist-info" / "entry_points.txt").write_text("[stream_chat.tools]\nwhisper "
                                                                    "= loud:whisper\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    made, = get_tools(["whisper"])
    assert made.source == "package loud" and run(made, {"text": "HEY"}).content == "hey"


def test_a_tools_file_that_fails_or_takes_a_name_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "thief.py").write_text("from core.tools import tool\n@tool\ndef calculate() -> "
                                       "str:\n    return ''\n")
    with pytest.raises(UsageError, match="ZeroDivisionError"):
        load_tools_file(str(tmp_path / "broken.py"))
    with pytest.raises(UsageError, match="two tools named calculate"):
        load_tools_file(str(tmp_path / "thief.py"))


@pytest.mark.parametrize(("expression", "value"), [
    ("1 + 2 * 3", "7"), ("2 ^ 10", "1024"), ("7 // 2", "3"), ("sqrt(16)", "4.0"),
    ("factorial(20)", "2432902008176640000"),
    ("-3", "-3"),
    ("round(2.675, 2)", "2.67"), ("max(1, 2)", "2"),
])
def test_calculate(expression: str, value: str) -> None:
    assert run(list(get_tools(["calculate"])), {"expression": expression}).content == value


@pytest.mark.parametrize("expression", [
    "__import__('os')", "().__class__", "9**9**9", "factorial(10**9)", "1/0", "x", "'a'*9", "[1]",
    "(" * 900,
    "lambda: 1", "sqrt(-1)", "(-8)**0.5", "1 if 1 else 2", "abs.__self__", "-" * 999 + "1",
    "1e999999**2", "10**10000", "max()",
])
def test_calculate_is_arithmetic_only(expression: str) -> None:
    assert run(list(get_tools(["calculate"])), {"expression": expression}).is_error


# ---- 10,000 mutated calls

def mutate(random_: random.Random, value: Any, depth: int = 0) -> Any:
    choices: list[Callable[[], Any]] = [
        lambda: value, lambda: str(value), lambda: [value], lambda: {"value": value}, lambda: None,
        lambda: "", lambda: -1,
        lambda: 10 ** random_.randrange(400), lambda: float("nan"), lambda: float("-inf"),
        lambda: 1e308, lambda: True,
        lambda: "\ud800\x00\x1b[2J\u202e", lambda: "../" * 30 + "etc/passwd",
        lambda: json.dumps(value), lambda: "x" * 5_000,
        lambda: {str(n): mutate(random_, value, depth + 1) for n in range(3)} if depth < 3 else 0,
        lambda: nested(random_.choice((5, 60, 400))),
    ]
    return random_.choice(choices)()


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if levels % 2 else {"a": value}
    return value


@pytest.mark.processes
def test_mutated_calls_give_results_and_run_only_what_was_shown(tmp_path: Path) -> None:
    seed = random.randrange(2 ** 32)
    print("seed", seed)
    random_ = random.Random(seed)
    ran: list[dict[str, Any]] = []

    def target(text: str, count: int = 1, deep: dict[str, Any] | None = None,
               tags: list[int] | None = None, on: bool = False,
               mode: Literal["a", "b"] = "a", ratio: float = 1.0) -> str:
        ran.append({"text": text, "count": count, "deep": deep, "tags": tags, "on": on,
                    "mode": mode, "ratio": ratio})
        types = (str, int, (dict, type(None)), (list, type(None)), bool, str, (int, float))
        assert all(isinstance(value, kind) for value, kind in zip(ran[-1].values(), types))  # type: ignore[arg-type]
        return "ran"

    shown: list[Mapping[str, Any]] = []

    async def approve(request: ApprovalRequest) -> Decision:
        shown.append(request.arguments)
        assert "\x1b" not in request.text and "\x00" not in request.text
        return "once"

    made = make_tool(target, kind="run")
    good = {"text": "hello", "count": 2, "deep": {"a": [1]}, "tags": [1, 2], "on": True,
            "mode": "b", "ratio": 0.5}
    others = [tool for tool in all_tools() if tool.source == "built in" and tool.kind == "read"]

    async def scenario() -> int:
        box = Toolbox([made, *others], ToolContext(roots=(str(tmp_path),)), approve,
                      calls_per_turn=10 ** 6, same_calls=10 ** 6)
        for number in range(10_000):
            result = await box.execute_tool_call(
                mutated_call(random_, good, others if number % 20 == 0 else []))
            assert isinstance(result.content, str) and "Traceback" not in result.content
            assert not result.content.startswith("target failed"), result.content
        return number + 1
    started = time.monotonic()
    assert asyncio.run(scenario()) == 10_000
    print("seconds", time.monotonic() - started)
    assert ran and len(ran) == len(shown)
    for told, done in zip(shown, ran):
        assert all(done[name] == value for name, value in told.items())


def mutated_call(random_: random.Random, good: dict[str, Any], others: list[Tool]) -> ToolCall:
    arguments: dict[str, Any] = dict(good)
    for name in random_.sample(sorted(good), random_.randrange(4)):
        match random_.randrange(4):
            case 0:
                arguments.pop(name)
            case 1:
                arguments[random_.choice((name.upper(), name + "_", " " + name, ""))] = arguments[
                    name]
            case _:
                arguments[name] = mutate(random_, arguments[name])
    if others:
        made = random_.choice(others)
        properties = sorted(made.parameters["properties"])
        return ToolCall("1", made.name,
                        {name: mutate(random_, random_.choice((".", "a", 1)))
                         for name in properties})
    if random_.randrange(5) == 0:
        text = json.dumps(arguments)
        return ToolCall("1", "target", {}, invalid=text[:random_.randrange(len(text))] or "{")
    return ToolCall("1", random_.choice(("target",) * 20 + ("Target", "", "\x1b[2J", "x" * 1_000)),
                    arguments)


def test_an_asynchronous_tool_that_never_awaits_does_not_hold_up_the_chat() -> None:
    async def stubborn() -> str:
        """Blocks."""
        time.sleep(3)
        return "late"

    async def quick() -> str:
        """Answers."""
        await asyncio.sleep(0)
        return "here"
    box = Toolbox([make_tool(stubborn, timeout=0.3), make_tool(quick)])

    async def scenario() -> tuple[list[ToolResult], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.01)
                ticks += 1
        ticking = asyncio.ensure_future(tick())
        results = [await box.execute_tool_call(ToolCall("1", name, {}))
                   for name in ("stubborn", "quick")]
        ticking.cancel()
        return results, ticks
    results, ticks = asyncio.run(scenario())
    assert "longer than 0.3 s" in results[0].content and results[1].content == "here"
    assert ticks > 3


@pytest.mark.parametrize("arguments",
                         ['{"a": 1, "a": 2}', '{"a": {"b": 1, "b": 1}}',
                          '{"a": [{"b": 1, "b": 2}]}'])
def test_a_name_that_stands_twice_makes_a_call_invalid(arguments: str) -> None:
    reply = Reply()
    reply.add(ToolCallDelta(0, "1", "f", arguments))
    reply.add(Finished("tool_calls"))
    call, = reply.message("demo/demo").tool_calls
    assert call.invalid == arguments and dict(call.arguments) == {}

    def f(a: int = 0) -> str:
        """Never run."""
        raise AssertionError
    result = asyncio.run(Toolbox([make_tool(f)]).execute_tool_call(call))
    assert result.is_error
    assert "duplicate keys" in result.content and "Nothing was run" in result.content


def test_chat_with_tools_is_a_turn_with_a_toolbox() -> None:
    """Servers start first, their tools are offered, calls run,
    and the model answers with the results.
    """
    def twice(number: int) -> int:
        """Double it."""
        return 2 * number

    class Late:
        tools: Sequence[Tool] = ()

        async def start(self) -> list[str]:
            self.tools = [make_tool(twice)]
            return ["one server is slow"]

        async def close(self) -> None:
            self.tools = ()
    offered: list[list[str]] = []

    async def respond(request: Request) -> AsyncGenerator[Any, None]:
        offered.append([spec.name for spec in request.tools])
        if request.messages[-1].role == "tool":
            yield TextDelta(f"it is {request.messages[-1].tool_results[0].content}")
            yield Finished("stop")
        else:
            yield ToolCallDelta(0, "1", "twice", '{"number": "21"}')
            yield Finished("tool_calls")

    async def scenario() -> list[Any]:
        box = Toolbox((), servers=Late())
        turn = chat_with_tools(one_model(respond), Request("m", (user_message("q"),)), box,
                               model="demo/m")
        return [event async for event in turn]
    events = asyncio.run(scenario())
    assert offered == [["twice"], ["twice"]] and events[0] == Notice("one server is slow")
    assert events[-1].message.text == "it is 42"
    assert [type(event).__name__ for event in events[1:5]] == ["MessageAdded", "ToolRequested",
                                                               "ToolFinished", "MessageAdded"]


# ---- words of --allow

@pytest.mark.parametrize("word",
                         (*KINDS, "calculate", "fetch_url", "a__b", "tool:read", "kind:read",
                          "example.org"))
def test_a_word_of_one_kind_allows_nothing_of_another(word: str) -> None:
    """A host may have the name of a kind or a tool; allowing that name does not allow the host."""
    space, name = namespace(word)
    host = make_tool(lambda: "sent", name="send", kind="network", hosts=lambda arguments,
                     context: [name])
    box = Toolbox([host], allow=[word], private=True)
    result = asyncio.run(box.execute_tool_call(ToolCall("1", "send", {})))
    assert result.is_error is (space != "host"), result
    named = Toolbox([make_tool(lambda: "ran", name="read", kind="run")], allow=[word])
    assert (asyncio.run(named.execute_tool_call(ToolCall("1", "read", {}))).is_error
            is (word not in ("tool:read", "run")))


@pytest.mark.parametrize("word, expected",
                         [("host:intranet", ("host", "intranet")),
                          ("Example.ORG", ("host", "example.org")),
                          ("host:8080", ("host", "host:8080")), ("::1", ("host", "::1")),
                          ("localhost", ("host", "localhost")),
                          ("files__read", ("tool", "files__read"))])
def test_what_a_word_is(word: str, expected: tuple[str, str]) -> None:
    assert namespace(word) == expected


# ---- arithmetic that would not end

@pytest.mark.processes
def test_no_expression_takes_long() -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    chance = random.Random(seed)
    numbers = ["7", "-1", "0", "0.5", "10**9", "-10**9", "10**5000", "-(10**5999)", "1e308",
               "1e-308", "2**19999",
               "factorial(1400)", "pi"]
    names = [*FUNCTIONS, "factorial"]

    def made(depth: int) -> str:
        if depth == 0 or chance.random() < 0.2:
            return chance.choice(numbers)
        if chance.random() < 0.4:
            operator = chance.choice(["+", "-", "*", "/", "//", "%", "**"])
            return f"({made(depth - 1)}){operator}({made(depth - 1)})"
        return f"{chance.choice(names)}({','.join(made(depth - 1) for _ in range(chance.randint(1, 3)))})"
    expressions = ["round(7,-10**9)", "round(10**5999,-10**5999)", "round(-7, -(10**6))",
                   *(made(3)[:1_000] for _ in range(3_000))]
    code = ("import sys\nfrom core.errors import ToolError\nfrom core.tools.calculate import "
            "calculate\nfor line in sys.stdin:\n    try: calculate(line)\n    except ToolError: "
            "pass\nprint('done')")
    done = subprocess.run([sys.executable, "-c", code], input="\n".join(expressions),
                          capture_output=True, text=True, timeout=120)
    assert done.stdout == "done\n", done.stderr
    assert (calculate("round(1234, -2)") == "1200" and calculate("round(7,-10**9)") == "0"
            and calculate("round(7, 3)") == "7")


@pytest.mark.parametrize("pieces", (1, 60))
def test_arguments_without_end_are_neither_kept_nor_parsed(pieces: int) -> None:
    reply = Reply()
    for number in range(pieces):
        reply.add(ToolCallDelta(0, "1", "calculate", ("[" * (60_000_000 // pieces))))
    reply.add(Finished("tool_calls"))
    call, = reply.message("m").tool_calls
    assert call.invalid is not None and len(call.invalid) < 2_000
    result = asyncio.run(Toolbox(get_tools(["calculate"])).execute_tool_call(call))
    assert result.is_error and "they are too long, 60,000,000 characters" in result.content


def test_a_tool_is_switched_off_and_on() -> None:
    box = Toolbox([VISIT, SHELL])
    box.switch(VISIT, on=False)
    assert box.off == {"visit"} and list(box.tools) == ["shell"]
    box.switch(VISIT, on=True)
    assert not box.off and set(box.tools) == {"visit", "shell"}


@pytest.mark.parametrize("private, call, reason", [
    (True, ("visit", {"url": "http://a.example/"}), "private data is in this conversation"),
    (False, ("visit", {"url": "http://a.example/"}), "visit (network) needs"),
    (True, ("shell", {"command": "ls"}), "needs the user's approval"),
    (False, ("shell", {"command": "ls"}), "needs the user's approval")])
def test_private_data_is_named_only_where_it_is_the_reason(private: bool, call: Any,
                                                           reason: str) -> None:
    box = Toolbox([VISIT, SHELL])
    box.private = private
    said = asyncio.run(box.execute_tool_call(ToolCall("1", call[0], call[1]))).content
    assert reason in said, said


BITS = 20_000      # of the largest number that is written out


@pytest.mark.parametrize("expression, right", [
    (f"2**{BITS // 2} - 2**{BITS // 2} + 5", "5"), (f"2**{BITS // 2 + 1}", None),
    (f"2**{BITS // 2} * 2**{BITS // 2 - 1} % 7", "2"),
    (f"2**{BITS // 2} * 2**{BITS // 2} % 7", None),
    (f"1**{BITS} + 4", "5"), (f"1**{BITS + 1}", None),
    ("round(7, 0)", "7"), ("round(17, -1)", "20"), ("round(5, 1)", "5"), ("round(15, -3)", "0"),
    (f"round(9, -{BITS + 1})", "0"), (f"round(9, -{BITS})", "0"), ("round(2.5, 0)", "2.0")])
def test_calculate_at_its_limits(expression: str, right: str | None) -> None:
    found = run(list(get_tools(["calculate"])), {"expression": expression})
    assert found.is_error if right is None else found.content == right, found.content
