"""Long chats: whole turns are left out or summarised, calls keep their results,
and nothing is deleted.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from core.errors import UsageError
from core.messages import Message, Text, ToolCall, ToolResult, tool_message, user_message
from core.providers import Options, Request
from core.window.compaction import Plan, is_due, plan_compaction, split_turns, trim_history
from core.sessions.summary import compacted_ids, find_summary, replace_places, summary_messages
from core.store.identity import new_message_id
from db import Store, open_store
from tests import postgres


def count(messages: Sequence[Message]) -> int:
    return sum(len(message.text) + sum(len(result.content) for result in message.tool_results)
               for message in messages)


def reply(text: str) -> Message:
    return Message("assistant", (Text(text),), "demo/m", None, "stop")


def tool_turn(number: int, size: int = 100) -> list[Message]:
    call = ToolCall(f"c{number}", "read_file", {"path": "a"})
    return [user_message(f"question {number} " + "x" * size),
            Message("assistant", (call,), finish="tool_calls"),
            tool_message((ToolResult(call.id, call.name, "y" * size),)), reply(f"answer {number}")]


def conversation(turns: int, size: int = 100) -> list[Message]:
    return [message for number in range(turns) for message in tool_turn(number, size)]


def assert_valid(messages: Sequence[Message]) -> None:
    """What a provider accepts: the user begins, and every call is followed by its result."""
    assert messages[0].role == "user"
    for message, after in zip(messages, [*messages[1:], None], strict=True):
        if message.tool_calls:
            assert (after is not None and [result.id for result in after.tool_results]
                    == [call.id for call in message.tool_calls])
        if message.tool_results:
            assert message is not messages[0]


def test_turns() -> None:
    messages = [Message("system", (Text("s"),)), *conversation(2)]
    assert [(turn.first, turn.end) for turn in split_turns(messages)] == [(0, 5), (5, 9)]
    assert split_turns([]) == []
    assert [(turn.first, turn.end) for turn in split_turns([reply("alone")])] == [(0, 1)]


def test_what_fits_stays_as_it_is() -> None:
    messages = conversation(3)
    assert trim_history(messages, 10_000, count).messages == tuple(messages)
    assert trim_history([], 0, count).messages == ()


def test_the_oldest_turns_are_left_out_and_told() -> None:
    messages = conversation(6)
    trimmed = trim_history(messages, count(messages) // 2, count)
    assert trimmed.messages == tuple(messages[12:])
    assert trimmed.left_out == tuple(range(12))
    assert trimmed.notice.startswith("The oldest 12 of 24 messages were not sent")


def test_the_last_turn_and_pinned_ones_stay() -> None:
    messages = conversation(6)
    trimmed = trim_history(messages, 0, count, pinned={5})
    assert trimmed.messages == (*messages[4:8], *messages[20:])


def test_random_conversations_stay_valid() -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    dice = random.Random(seed)
    for _ in range(200):
        messages = [message for number in range(dice.randrange(1, 9)) for message in (
            tool_turn(number, dice.randrange(300)) if dice.random() < 0.5
            else [user_message("q" * dice.randrange(300)), reply("a" * dice.randrange(300))])]
        room = dice.randrange(2_000)
        pinned = set(dice.sample(range(len(messages)), dice.randrange(2)))
        trimmed = trim_history(messages, room, count, pinned=pinned)
        assert_valid(trimmed.messages)
        assert len(trimmed.messages) + len(trimmed.left_out) == len(messages)
        plan = plan_compaction(messages, room, count, pinned=pinned)
        if plan is not None:
            assert not pinned & set(plan.hidden)
            assert_valid(replace_places(messages, plan.hidden,
                                        summary_messages(plan, reply("short"), plan.hidden)))


def a_plan(messages: Sequence[Message], room: int, most: int | None = None) -> Plan:
    plan = plan_compaction(messages, room, count, most=most)
    assert plan is not None
    return plan


def test_the_newest_turns_are_kept() -> None:
    messages = conversation(10)
    plan = a_plan(messages, count(messages))
    kept = [message for place, message in enumerate(messages) if place not in plan.hidden]
    assert kept == messages[len(plan.hidden):]
    assert 0 < count(kept) <= count(messages) * 0.35
    assert plan.tokens == count(messages) - count(kept)


def test_nothing_to_summarise() -> None:
    assert plan_compaction([], 100, count) is None
    assert plan_compaction(conversation(1), 1, count) is None


def test_the_request_for_the_summary_is_bounded() -> None:
    messages = conversation(10)
    one = count(messages[:4])
    plan = a_plan(messages, 100, most=one * 3)
    assert plan.hidden == tuple(range(12))
    base = Request("m", tuple(messages), "be kind",
                   options=Options(max_tokens=9_000, temperature=0.1, response_format="json"))
    request = plan.request(base)
    assert request.messages[:-1] == tuple(messages[:12]) and request.messages[-1].role == "user"
    assert (request.tools, request.options.max_tokens,
            request.options.response_format) == ((), 1_200, None)
    assert request.system == "be kind" and request.options.temperature == 0.1


@pytest.mark.parametrize("bad",
                         (Message("assistant", (), finish="stop"),
                          Message("assistant", (Text("half"),), finish="truncated"),
                          Message("assistant", (Text("no"),), finish="refusal")))
def test_no_summary_hides_nothing(bad: Message) -> None:
    with pytest.raises(UsageError):
        summary_messages(Plan((0, 1), 5, ()), bad, (1, 2))


@pytest.mark.parametrize(("old", "length", "refused"),
                         [(10, 999, False), (10, 1_001, True), (9_000, 8_000, False),
                          (9_000, 9_500, True)])
def test_a_summary_that_saves_nothing_is_refused(old: int, length: int, refused: bool) -> None:
    plan = Plan((0, 1), 100, (user_message("x" * (old // 2)), user_message("x" * (old - old // 2))))
    if not refused:
        plan.check_length(length)
        return
    with pytest.raises(UsageError, match="longer than the 2 messages"):
        plan.check_length(length)


def test_due() -> None:
    assert is_due(800, 1_000) and not is_due(700, 1_000)


def fill(store: Store, messages: Sequence[Message]) -> list[int]:
    store.create_session("s", "t", "demo/m", 1.0)
    ids = [new_message_id() for _ in messages]
    for identity, message in zip(ids, messages, strict=True):
        store.add_message("s", identity, message, "complete")
    return ids


@pytest.fixture(params=("sqlite", pytest.param("postgresql", marks=pytest.mark.processes)))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    in_postgres = request.param == "postgresql"
    url = (postgres.new_database(request.getfixturevalue("postgres_url")) if in_postgres
           else str(tmp_path / "s.db"))
    opened = open_store(url)
    yield opened
    opened.close()


def test_compacting_and_taking_it_back_in_the_store(store: Store) -> None:
    """Two successive compactions are undone one by one; every row stays available."""
    messages = conversation(6)
    ids = fill(store, messages)
    states = [(list(messages), list(ids))]
    for words in ("first summary", "second summary"):
        plan = a_plan(messages, count(messages))
        hidden = [ids[place] for place in plan.hidden]
        pair = summary_messages(plan, reply(words), hidden)
        first = new_message_id()
        store.replace_messages("s", hidden, ((first, pair[0]), (first + 1, pair[1])))
        messages = replace_places(messages, plan.hidden, pair)
        ids = replace_places(ids, plan.hidden, (first, first + 1))
        stored = store.load_messages("s")
        assert ([entry.message for entry in stored] == messages
                and [entry.id for entry in stored] == ids)
        assert_valid(messages)
        states.append((list(messages), list(ids)))
        store.add_message("s", new_message_id(), user_message("and on " + "z" * 400), "complete")
        store.add_message("s", new_message_id(), reply("yes"), "complete")
        messages = [entry.message for entry in store.load_messages("s")]
        ids = [entry.id for entry in store.load_messages("s")]
    assert len(store.load_messages("s", hidden=True)) == 24 + 2 * 4
    for before in (states[1], states[0]):
        place = find_summary(messages)
        assert place is not None
        store.restore_messages("s", compacted_ids(messages[place]), ids[place:place + 2])
        messages = [entry.message for entry in store.load_messages("s")]
        ids = [entry.id for entry in store.load_messages("s")]
        assert messages[:len(before[0])] == before[0]
    assert find_summary(messages) is None
    assert store.find_session("s").message_count == len(messages)
