"""The built-in scripted provider, without model and network, for trying out and testing the
program.

The first words of the last user message select the answer; the same message always gets the same
answer:

    echo TEXT               TEXT                           table, code, list,
                            markdown    that kind of Markdown
    long N                  N words                        slow          the answer
                            comes a word every 0.2 s
    think                   thinks before it answers       empty         no words at all
    tool NAME {JSON}        calls that tool if offered     fail          an error before the answer
    cut                     breaks off in the middle       busy          an error
                            that is worth asking again
    length                  ends as if the limit was reached

A question that matches an offered tool (the time, a calculation, a search, a file, the weather)
calls it, and the answer quotes the result. `endpoint.quirks["delay"]` is the pause between words in
seconds.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from core.errors import Overloaded, ProviderError, StreamBroken
from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import CONTINUATION, Finish, Message, ToolResult, Usage
from core.providers import Endpoint, ModelInfo, Request, ToolSpec, dialect

FRAME = 1 / 30        # seconds: words due within one frame form one delta
SLOW = 0.2
DELAY = 0.02

INTRODUCTION = ("This is the demo: a scripted reply, no model. It shows how an answer streams, is "
                "formatted and is saved. Try **table**, **code**, **think**, **slow**, **long "
                "2000**, or **what time is it** with tools on. For real answers, start Ollama "
                "(`ollama serve`) or choose a provider with `--provider`.")
AGAIN = "This is a scripted reply; no model has read what you wrote. You said: {said}"
TABLE = ("| Planet | Moons | Day |\n|---|---:|---:|\n| Earth | 1 | 24 h |\n| Mars | 2 | 24.6 h |\n"
         "| Jupiter | 95 | 9.9 h |\n")
CODE = ("```python\ndef fibonacci(count: int) -> list[int]:\n    numbers = [0, 1]\n    while "
        "len(numbers) < count:\n        numbers.append(numbers[-1] + numbers[-2])\n    return "
        "numbers[:count]\n```\n")
LIST = "1. Ask the model.\n2. Run the tools:\n   - the time\n   - a search\n3. Ask it again.\n"
MARKDOWN = ("# Markdown\n\nSome *emphasis*, some **weight**, `code` and a "
            f"[link](https://example.org).\n\n> A quotation.\n\n## A list\n\n{LIST}\n## A table\n\n"
            f"{TABLE}\n## Code\n\n{CODE}\nThe end.\n")
THOUGHT = ("The user wants to see thinking. I am a script, so I only pretend: first this, then "
           "that, and then the answer.")

COMMANDS = frozenset("long think cut length table code list markdown slow empty fail busy".split())
# ignored before and between command words
FILLERS = frozenset("a an the some please show me and".split())

# words in a question -> words in the name of a tool that can answer it
TOOL_WORDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"\b(time|date|day|clock)\b",                  ("time", "date", "clock")),
    (r"\b(calculate|compute|sum)\b|\d\s*[-+*/]\s*\d", ("calc", "math")),
    (r"\b(search|look up|find out|news)\b",         ("search",)),
    (r"\b(weather|temperature|rain)\b",             ("weather",)),
    (r"\b(read|open|file)\b",                       ("read", "file")),
)


@dialect("demo")
class Demo:

    lacks: frozenset[str] = frozenset()     # it accepts all options and ignores most
    lists_all = True      # its list is complete

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        said = last_words(request)
        if "fail" in _words(said):
            raise ProviderError("The demo fails because you asked it to.",
                                "Send something other than `fail`.")
        if "busy" in _words(said):
            raise Overloaded("The demo is busy because you asked it to be.")
        delay = SLOW if "slow" in _words(said) else float(self.endpoint.quirks.get("delay", DELAY))
        produced = 0
        for delta in script(request):
            if isinstance(delta, (TextDelta, ThinkingDelta)):
                async for piece in _paced(delta, delay):
                    produced += len(piece.text)
                    yield piece
            else:
                yield delta
        if "cut" in _words(said) and not is_continuation(request):
            raise StreamBroken("The demo broke off because you asked it to.")
        yield Usage(input_tokens=_tokens(_prompt_size(request)), output_tokens=_tokens(produced))
        yield Finished(finish_of(request))

    async def models(self) -> list[ModelInfo]:
        return [ModelInfo("demo", context_window=32_768,
                          capabilities=frozenset({"completion", "tools", "thinking"}),
                          lacking=frozenset({"vision"}))]

    async def check(self) -> str:
        return "the built-in demo: scripted replies, no model"

    async def close(self) -> None:
        """Do nothing: there are no connections."""


async def _paced(delta: TextDelta | ThinkingDelta,
                 delay: float) -> AsyncGenerator[TextDelta | ThinkingDelta, None]:
    """Yield the text one frame's worth at a time; without a delay, 64 words at a time."""
    words = re.findall(r"\s*\S+|\s+", delta.text)
    step = 64 if delay <= 0 else max(1, int(FRAME / delay))
    due = time.monotonic()
    for start in range(0, len(words), step):
        if delay > 0 and start:
            due += delay * step
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        elif start:
            await asyncio.sleep(0)
        yield type(delta)("".join(words[start:start + step]))


# ---- the script: a request -> deltas, without pauses

def script(request: Request) -> Iterator[Delta]:
    said = last_words(request)
    if (request.options.think not in (None, False, "off") or request.options.think is None
        and "think" in _words(said)):
        yield ThinkingDelta(THOUGHT)
    results = new_results(request)
    call = None if results else wanted_call(said, request.tools)
    if results:
        yield TextDelta(quote_results(results))
    elif call:
        tool, arguments = call
        yield TextDelta(f"I will call the tool `{tool}`.")
        used = sum(len(message.tool_calls) for message in request.messages)
        yield ToolCallDelta(0, f"call_{used}", tool, json.dumps(arguments))
    else:
        asked = max((place for place, message in enumerate(request.messages)
                     if _is_question(message)), default=0)
        text = answer(said, first=not any(message.role == "assistant"
                                          for message in request.messages[:asked]))
        if is_continuation(request):
            before = "".join(message.text
                             for message in request.messages[asked:] if message.role == "assistant")
            yield TextDelta(text.removeprefix(before) if text.startswith(before) else "")
        else:
            yield TextDelta(text[:len(text) // 2] if "cut" in _words(said) else text)


def finish_of(request: Request) -> Finish:
    said = last_words(request)
    if not new_results(request) and wanted_call(said, request.tools):
        return "tool_calls"
    return "length" if "length" in _words(said) else "stop"


def answer(said: str, *, first: bool) -> str:
    """Return the answer to these words when no tool is called."""
    echo = re.match(r"\s*echo\s+(.*)", said, re.DOTALL)
    if echo:
        return echo[1]
    long = re.search(r"\blong\s+(\d+)", said)
    if long and "long" in _words(said):
        return long_text(int(long[1]))
    words = _words(said)
    for word, text in (("table", TABLE), ("code", CODE), ("list", LIST), ("markdown", MARKDOWN),
                       ("empty", "")):
        if word in words:
            return text
    return INTRODUCTION if first else AGAIN.format(said=said)


def long_text(count: int) -> str:
    """Return `count` numbered words in paragraphs of a hundred."""
    return "".join(f"word{number}"
                   + ("" if number == count else ".\n\n" if number % 100 == 0 else " ")
                   for number in range(1, count + 1))


def wanted_call(said: str, tools: tuple[ToolSpec, ...]) -> tuple[str, dict[str, Any]] | None:
    """Return the offered tool that these words ask for, with its required arguments."""
    named = re.match(r"\s*tool\s+([\w.-]+)\s*(\{.*\})?", said, re.DOTALL)
    by_name = {tool.name: tool for tool in tools}
    if named and named[1] in by_name:
        return (named[1], _given(named[2]) if named[2]
                else guessed_arguments(by_name[named[1]], said))
    for pattern, names in TOOL_WORDS:
        if re.search(pattern, said, re.IGNORECASE):
            for tool in tools:
                if any(name in tool.name.lower() for name in names):
                    return tool.name, guessed_arguments(tool, said)
    return None


def _given(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {"text": text}
    return value if isinstance(value, dict) else {"value": value}


def guessed_arguments(tool: ToolSpec, said: str) -> dict[str, Any]:
    """Return a value of the right type for each required parameter: the text, its first number, or
    true.
    """
    schema = tool.parameters.get("properties") or {}
    number = re.search(r"-?\d+", said)
    guesses: dict[str, Any] = {"integer": int(number[0]) if number else 1,
                               "number": float(number[0]) if number else 1.0,
                               "boolean": True, "array": [], "object": {}}
    return {name: _guess(schema.get(name) or {}, guesses, _subject(said))
            for name in tool.parameters.get("required") or ()}


def _guess(schema: Any, guesses: dict[str, Any], subject: str) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    return guesses.get(str(schema.get("type")), subject)


def _subject(said: str) -> str:
    """Return the calculation in a question, otherwise a file name in it, otherwise all of it."""
    found = (re.search(r"[\d(][\d\s.()+*/-]*[-+*/][\d\s.()+*/-]*\d\)*", said)
             or re.search(r"[\w./-]+\.\w{1,5}\b", said))
    return (found[0] if found else said).strip()


def quote_results(results: tuple[ToolResult, ...]) -> str:
    return "\n".join(f"The tool `{result.name}` {'failed' if result.is_error else 'said'}: "
                     f"{result.content}" for result in results)


# ---- reading the request

def last_words(request: Request) -> str:
    """Return the user's last text, ignoring the request to continue an unfinished answer."""
    return next((message.text for message in reversed(request.messages) if _is_question(message)),
                "")


def is_continuation(request: Request) -> bool:
    last = next((message for message in reversed(request.messages) if message.role == "user"), None)
    return last is not None and not _is_question(last)


def _is_question(message: Message) -> bool:
    return message.role == "user" and not message.text.startswith(CONTINUATION)


def new_results(request: Request) -> tuple[ToolResult, ...]:
    last: Message | None = request.messages[-1] if request.messages else None
    return last.tool_results if last and last.role == "tool" else ()


def _words(said: str) -> set[str]:
    """Return the command words at the beginning of the message.

    Words to echo, and words later in the text, are not commands.
    """
    words = re.findall(r"[a-z]+|\d+", said[:200].lower())
    end = next((place for place, word in enumerate(words)
                if word not in COMMANDS and word not in FILLERS and not word.isdigit()),
               len(words))
    return set(words[:end]) & COMMANDS if words[:1] != ["echo"] else set()


def _prompt_size(request: Request) -> int:
    return len(request.system or "") + sum(len(message.text) + len(message.thinking)
                                           for message in request.messages)


def _tokens(characters: int) -> int:
    """Estimate tokens, as for English."""
    return (characters + 3) // 4
