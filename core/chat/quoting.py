"""Checks an answer's quotations against the attached sources, without blocking the event loop."""

from __future__ import annotations

from collections.abc import Sequence

from core.context.files import read_text
from core.context.items import Item
from core.context.loaded_sources import in_own_thread
from core.context.quotes import Material, check_answer, references
from core.context_loader import ContextSet
from core.errors import ContextError
from core.events import QuotesChecked
from core.messages import Message

MOST_BYTES = 20_000_000     # of attached text that is read for one answer
KINDS = frozenset({"file", "document", "page", "stdin", "command", "resource", "table"})


async def check_quotes(context: ContextSet, message: Message) -> QuotesChecked | None:
    """The result of checking an answer's references; None if it has none or nothing is attached."""
    items = _worth_reading(context.items, message.text)
    if message.role != "assistant" or message.tool_calls or not items:
        return None
    answer = message.text
    if next(references(answer, [item.name for item in items]), None) is None:
        return None
    checked = await in_own_thread(lambda: check_answer(answer, _materials(context, items)))
    if not checked.count:
        return None
    return QuotesChecked(checked.count, checked.found, checked.problems, checked.line)


def _worth_reading(items: Sequence[Item], answer: str) -> list[Item]:
    """The items that the model received or its answer names, up to MOST_BYTES."""
    found: list[Item] = []
    room = MOST_BYTES
    for item in items:
        short = item.name.rpartition("/")[2]
        if item.kind in KINDS and (item.included or short in answer) and item.bytes <= room:
            found.append(item)
            room -= item.bytes
    return found


def _materials(context: ContextSet, items: Sequence[Item]) -> list[Material]:
    found: list[Material] = []
    for item in items:
        try:
            text = item.text if item.text is not None else read_text(item, context.guard)
        except ContextError:
            continue        # deleted meanwhile, so quotations from it cannot be checked
        found.append(Material(item.name, text))
    return found
