"""Totals over conversations: correct for all, and computed only for new messages."""

from __future__ import annotations

import random
from collections.abc import Sequence

from core.messages import Message, user_message
from core.running_total import LONG, RunningTotal


def test_a_grown_conversation_costs_what_was_added() -> None:
    looked_at: list[Message] = []

    def add(total: int, added: Sequence[Message]) -> int:
        looked_at.extend(added)
        return total + sum(len(message.text) for message in added)
    total = RunningTotal(0, add)
    messages = [user_message(f"question {number}") for number in range(5 * LONG)]
    assert total.of(messages) == sum(len(message.text) for message in messages)
    looked_at.clear()
    messages.append(user_message("one more"))
    assert total.of(messages) == sum(len(message.text) for message in messages)
    assert looked_at == messages[-1:]
    assert total.of(messages) and looked_at == messages[-1:], "nothing is new"


def test_any_change_of_a_conversation_is_seen() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    total: RunningTotal[tuple[str, ...]] = RunningTotal(
        (), lambda words, added: (*words, *(message.text for message in added)))
    conversations = [[user_message(f"{name} {number}") for number in range(2 * LONG)]
                     for name in "ab"]
    for number in range(300):
        messages = chance.choice(conversations)
        match chance.randrange(4):
            case 0:
                messages.append(user_message(f"new {number}"))
            case 1 if messages:
                del messages[chance.randrange(len(messages)):]
            case 2 if messages:
                messages[chance.randrange(len(messages))] = user_message(f"edited {number}")
            case _:
                messages += [user_message(f"more {number} {place}") for place in range(LONG)]
        start = chance.randrange(len(messages) + 1)
        assert total.of(messages) == tuple(message.text for message in messages)
        assert total.of(messages[start:]) == tuple(message.text for message in messages[start:])
