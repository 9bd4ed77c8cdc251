"""Whether a provider would accept a request, by the rules of its reference.

Written from those references without using the program's code. Undocumented rules are not included.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

Json = dict[str, Any]


def why_refused(dialect: str, body: Json) -> str:
    """The first rule that the request violates; empty if it is accepted."""
    return next(iter(RULES[dialect](body)), "")


def _chat(body: Json) -> list[str]:
    """Messages with roles: each call has one result, directly after the message that made it."""
    faults, waiting = [], list[str]()
    messages = [message for message in body["messages"]
                if message["role"] not in ("system", "developer")]
    for message in messages:
        role = message["role"]
        if role == "tool":
            if message["tool_call_id"] not in waiting:
                faults.append(f"a result of {message['tool_call_id']}, which was not called")
            else:
                waiting.remove(message["tool_call_id"])
            continue
        if waiting:
            faults.append(f"{role} follows calls without results: {waiting}")
        waiting = [call["id"] for call in message.get("tool_calls") or ()]
        if not message.get("content") and not waiting:
            faults.append(f"an empty message of {role}")
    if waiting:
        faults.append(f"it ends with calls without results: {waiting}")
    return faults + _ends_with(messages, ("user", "tool"))


def _ends_with(messages: Sequence[Json], roles: Sequence[str]) -> list[str]:
    return [] if messages and messages[-1]["role"] in roles else ["nobody asks at its end"]


def _mistral(body: Json) -> list[str]:
    """As for OpenAI; in addition, an answer follows a result, and IDs have nine characters."""
    messages = body["messages"]
    faults = [f"user follows tool at message {number}"
              for number, (one, two) in enumerate(zip(messages, messages[1:], strict=False))
              if one["role"] == "tool" and two["role"] == "user"]
    identities = [call["id"] for message in messages for call in message.get("tool_calls") or ()]
    faults += [f"the identity {identity!r}" for identity in identities
               if not re.fullmatch(r"[a-zA-Z0-9]{9}", identity)]
    return _chat(body) + faults


def _responses(body: Json) -> list[str]:
    """Items: each function_call has one function_call_output with its call_id, later."""
    faults, waiting = [], list[str]()
    for item in body["input"]:
        kind = item.get("type", "message")
        if kind == "function_call":
            waiting.append(item["call_id"])
        elif kind == "function_call_output":
            if item["call_id"] not in waiting:
                faults.append(f"an output of {item['call_id']}, which was not called")
            else:
                waiting.remove(item["call_id"])
        elif kind == "message" and not item.get("content"):
            faults.append(f"an empty message of {item.get('role')}")
    return faults + [f"the call {identity} has no output" for identity in waiting]


def _anthropic(body: Json) -> list[str]:
    """The user begins and ends; results come first in the message after their calls."""
    faults, waiting = [], set[str]()
    messages = body["messages"]
    if messages[0]["role"] != "user":
        faults.append("it does not begin with user")
    for message in messages:
        blocks = message["content"]
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        kinds = [block["type"] == "tool_result" for block in blocks]
        if set(results) != waiting or len(results) != len(waiting):
            faults.append(f"results {results} for the calls {sorted(waiting)}")
        if kinds != sorted(kinds, reverse=True):
            faults.append("a result behind other blocks")
        if not blocks or any(block["type"] == "text" and not block["text"].strip()
                             for block in blocks):
            faults.append(f"an empty block of {message['role']}")
        waiting = {block["id"] for block in blocks if block["type"] == "tool_use"}
    return faults + _ends_with(messages, ("user",))


def _gemini(body: Json) -> list[str]:
    """As many function responses as calls, with the same names, directly after them."""
    faults, waiting = [], list[str]()
    contents = body["contents"]
    for content in contents:
        parts = content.get("parts")
        if not parts:
            faults.append(f"an empty content of {content['role']}")
            continue
        answered = [part["functionResponse"]["name"] for part in parts
                    if "functionResponse" in part]
        if answered != waiting:
            faults.append(f"responses {answered} for the calls {waiting}")
        waiting = [part["functionCall"]["name"] for part in parts if "functionCall" in part]
    return faults + _ends_with(contents, ("user",))


def _ollama(body: Json) -> list[str]:
    """As many results as calls, directly after them."""
    faults, waiting = [], 0
    messages = [message for message in body["messages"] if message["role"] != "system"]
    for message in messages:
        if message["role"] == "tool":
            waiting -= 1
            continue
        if waiting:
            faults.append(f"{message['role']} follows calls with {-waiting:+} results")
        waiting = len(message.get("tool_calls") or ())
    if waiting:
        faults.append("it ends with calls without results")
    return faults + _ends_with(messages, ("user", "tool"))


RULES: dict[str, Callable[[Json], list[str]]] = {
    "ollama": _ollama, "openai": _chat, "openai-responses": _responses, "mistral": _mistral,
    "anthropic": _anthropic, "gemini": _gemini, "cohere": _chat,
}
