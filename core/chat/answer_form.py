"""Checks that an answer has the requested form, and asks the model once to repair it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from core.errors import UsageError, WrongForm
from core.events import Event, Notice
from core.messages import Message, user_message
from core.providers.parameters import schema_of
from core.safe_text import safe_line

MOST_SHOWN = 200      # characters of a fault
LARGEST = 20_000      # characters of a schema that is repeated in the request for a repair


async def in_form(turn: AsyncGenerator[Event, None], wanted: Any,
                  messages: Callable[[], Sequence[Message]],
                  ask: Callable[[Message], AsyncGenerator[Event, None]]) -> AsyncGenerator[Event,
                                                                                           None]:
    """Yield the events of a turn and, if its answer does not have the form, of a second turn that
    repairs it.

    `messages` returns the conversation after a turn. Raises WrongForm if the second answer does not
    have the form either.
    """
    async with aclosing(turn) as events:
        async for event in events:
            yield event
    fault = fault_of(last_answer(messages()), wanted)
    if not fault:
        return
    yield Notice(f"The answer does not have the requested form: {fault}. It is requested once "
                 "more.")
    async with aclosing(ask(user_message(repair_words(fault, wanted)))) as events:
        async for event in events:
            yield event
    fault = fault_of(last_answer(messages()), wanted)
    if fault:
        raise WrongForm("The answer does not have the requested form, even after a second request: "
                        f"{fault}.",
                        "Both answers are saved. A larger model, or a simpler schema, may help.")


def last_answer(messages: Sequence[Message]) -> str | None:
    """The text of the last reply; None if it is not complete, which is reported elsewhere."""
    last = messages[-1] if messages else None
    if last is None or last.role != "assistant" or last.finish != "stop":
        return None
    begun = max((place for place, message in enumerate(messages) if message.role != "assistant"),
                default=-1)
    return "".join(message.text for message in messages[begun + 1:])


def fault_of(answer: str | None, wanted: Any) -> str:
    """What is wrong with the answer, in words; "" if nothing is, or if there is no answer."""
    if answer is None:
        return ""
    try:
        value = json.loads(answer, parse_constant=_refuse)
    except (ValueError, RecursionError) as problem:
        return f"it is not JSON ({safe_line(str(problem), MOST_SHOWN)})"
    schema = schema_of(wanted)
    return _misfit(value, schema) if schema is not None else ""


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON value")


def _misfit(value: Any, schema: Mapping[str, Any]) -> str:
    """The most relevant mismatch between a value and a JSON schema; "" if it matches.

    References to other documents are not followed. Raises UsageError for such a reference.
    """
    # the package has no types
    from jsonschema.exceptions import best_match  # type: ignore[import-untyped]
    # the package has no types
    from jsonschema.validators import validator_for  # type: ignore[import-untyped]
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    validator = validator_for(schema)(schema, registry=Registry())
    try:
        error = best_match(validator.iter_errors(value))
    except Unresolvable as problem:
        raise UsageError(f"The schema refers to {safe_line(str(problem), MOST_SHOWN)}, which is "
                         "not in it.",
                         "Include the referenced schema in the file.") from problem
    if error is None:
        return ""
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}"
                    for step in error.absolute_path)
    return safe_line(f"{place.removeprefix('.')}: {error.message}" if place else error.message,
                     MOST_SHOWN)


def repair_words(fault: str, wanted: Any) -> str:
    """The request to repair an answer, in words for the model."""
    schema = json.dumps(schema_of(wanted), ensure_ascii=False)
    form = ("as JSON" if schema == "null" or len(schema) > LARGEST
            else f"as JSON that matches this schema: {schema}")
    return (f"Your answer does not have the requested form: {fault}. Write the whole "
            f"answer again, {form}\nWrite only the JSON: no other text, and no code fence.")
