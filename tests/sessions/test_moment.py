"""Parts of a conversation are the same whether its messages are loaded or not."""

from __future__ import annotations

import random
from typing import Any

import pytest

from core.messages import Message, user_message
from core.session_manager import Session, open_session
from core.sessions.moment import Moment
from core.store.database import Statement
from db import Store
from tests.sessions.test_loaded import Open, change, keep, open_one, opened, reply, turns

__all__ = ["open_one"]


def words(part: list[tuple[int, Message]]) -> list[tuple[int, str, str]]:
    return [(identity, message.role, message.text) for identity, message in part]


def whole_of(session: Session) -> Moment:
    """The same conversation with everything loaded."""
    assert len(session.messages) == session.count
    return session.moment()


def test_any_part_is_that_of_the_whole_and_loads_nothing(open_one: Open) -> None:
    store, said = open_one(), turns(200, random.Random(21))
    keep(store, "long", said, frozenset({1, 2, 500, len(said) - 1}))
    session, whole = opened(store), whole_of(open_session(store, name="long"))
    waiting, moment = session.waiting, session.moment()
    assert moment.count == whole.count and whole.waiting == 0
    dice = random.Random(22)
    for first in (0, 1, waiting - 3, waiting, moment.count - 2, moment.count,
                  *(dice.randrange(moment.count) for _ in range(20))):
        end = first + dice.randrange(60)
        assert words(moment.part(first, end)) == words(whole.part(first, end)), (first, end)
        assert moment.turn_start(first) == whole.turn_start(first)
        assert moment.turn_end(first) == whole.turn_end(first)
    for place, identity in enumerate(whole.ids):
        if place % 40 == 0 or place >= waiting:
            assert moment.place_of(identity) == place
    assert session.waiting == waiting


def test_a_turn_of_many_messages_begins_at_its_question(open_one: Open) -> None:
    store = open_one()
    said = [user_message("one"), *(reply(f"piece {number}") for number in range(50)),
            user_message("two"), reply("end")]
    keep(store, "many", said)
    moment = open_session(store, name="many").moment()
    assert [moment.turn_start(place, 7) for place in (0, 1, 30, 50, 51, 52)] == [0, 0, 0, 0, 51, 51]
    assert [moment.turn_end(place, 7) for place in (0, 1, 30, 50, 51, 52)] == [51] * 4 + [53] * 2


def test_what_cannot_be_read_keeps_its_place(open_one: Open) -> None:
    store, said = open_one(), turns(200, random.Random(23))
    keep(store, "long", said)
    damage(store, store.load_messages("long")[4].id)
    moment = opened(store).moment()
    part = moment.part(0, 8)
    assert [message.text for _, message in part] == [
        "" if place == 4 else message.text for place, message in enumerate(said[:8])]


def damage(store: Store, identity: int) -> None:
    database: Any = store
    key = database.database.key(identity)
    database.database.write([Statement("UPDATE messages SET parts = '{' WHERE id = ?", (key,))])


def test_a_hidden_message_has_the_place_of_what_follows_it(open_one: Open) -> None:
    store, said = open_one(), turns(200, random.Random(24))
    keep(store, "long", said, frozenset({7, 8}))
    moment = opened(store).moment()
    hidden = [entry.id for entry in store.load_messages("long", hidden=True) if not entry.active]
    assert [moment.place_of(identity) for identity in hidden] == [7, 7]
    assert moment.place_of(12345) is None


def test_two_moments_are_compared_by_what_both_loaded(open_one: Open) -> None:
    store = open_one()
    keep(store, "long", turns(200, random.Random(25)))
    session = opened(store)
    before = session.moment()
    assert session.before(session.recent[0]) and session.waiting < before.waiting
    assert before.is_same(session.moment()) and session.moment().is_same(before)
    assert whole_of(session).is_same(before)
    session.add_user(user_message("more"))
    after = session.moment()
    assert not before.is_same(after) and before.in_common(after) == before.count
    assert after.beginning(before.count).is_same(before)
    assert after.beginning(3).count == 3 and before.beginning(3).ids == ()
    session.rewind(session.question_place(4))
    assert before.in_common(session.moment()) == session.count


@pytest.mark.parametrize("act", ["undo", "retry", "redo", "rewind", "compact"])
def test_the_outline_of_a_session_has_the_form_of_its_tree(open_one: Open, act: str) -> None:
    store, said = open_one(), turns(60, random.Random(act))
    keep(store, "s", said)
    session = open_session(store, name="s")
    assert not session.has_hidden()
    for _ in range(3):
        change(session, act, 4)
        session.add_user(user_message("and then"))
        session.add_reply(reply("this"))
        session.end_turn()
    tree, outline = session.tree(), session.outline()
    assert session.has_hidden() or act == "redo"
    assert (outline.parents, outline.children, outline.end) == (
        tree.parents, tree.children, tree.end)
    for identity in tree.entries:
        assert outline.versions(identity) == tree.versions(identity)
        assert outline.newest_end(identity) == tree.newest_end(identity)
    assert outline.to_show(tree.end) == tree.to_show(tree.end)
