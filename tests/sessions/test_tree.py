"""The tree of a session's messages: parents, branches, versions and what is shown."""

from __future__ import annotations

import pytest

from core.messages import Message, Text, ToolCall
from core.sessions.tree import Tree
from core.store.rows import StoredMessage

# number, role (c: an assistant that calls a tool), parent, whether it is shown
Row = tuple[int, str, int | None, int]


def tree(*rows: Row, summaries: dict[int, list[int]] | None = None) -> Tree:
    """`summaries`: which messages a summary stands for."""
    return Tree([entry(*row, (summaries or {}).get(row[0])) for row in rows])


def entry(number: int, role: str, parent: int | None, shown: int,
          stands_for: list[int] | None) -> StoredMessage:
    extra = {"stream_chat": {"compacted": stands_for}} if stands_for else None
    message = {"u": Message("user", (Text("q", extra),)),
               "a": Message("assistant", (Text("a"),)),
               "c": Message("assistant", (ToolCall("1", "look", {}),)),
               "t": Message("tool", ())}[role]
    return StoredMessage(number, message, "complete", bool(shown), 0.0, "", parent)


LINE = ((1, "u", 0, 1), (2, "a", 1, 1), (3, "u", 2, 1), (4, "a", 3, 1))


def test_a_line_has_one_branch() -> None:
    line = tree(*LINE)
    assert line.end == 4 and line.path(4) == [1, 2, 3, 4] and line.path(2) == [1, 2]
    assert line.path(77) == [] and line.newest_end(2) == 4 and line.newest_end(4) == 4
    (branch,) = line.branches()
    assert (branch.end, branch.last.id, branch.length, branch.shared, branch.shown) == (
        4, 4, 4, 4, True)
    assert tree().end == 0 and tree().branches() == [] and tree().to_show(0) == set()


def test_branches_share_what_is_before_them() -> None:
    """The second question was edited, the first answer repeated."""
    made = tree((1, "u", 0, 1), (2, "a", 1, 0), (3, "u", 2, 0), (4, "a", 3, 0), (5, "u", 2, 0),
                (6, "a", 5, 0), (7, "a", 1, 1))
    assert [(each.end, each.length, each.shared, each.shown) for each in made.branches()] == [
        (4, 4, 1, False), (6, 4, 1, False), (7, 2, 2, True)]
    assert made.newest_end(1) == 7 and made.newest_end(2) == 6 and made.newest_end(3) == 4
    assert (made.versions(2).ids, made.versions(2).at) == ((2, 7), 0)
    assert (made.versions(7).ids, made.versions(7).at) == ((2, 7), 1)
    assert (made.versions(5).ids, made.versions(5).at) == ((3, 5), 1)
    assert (made.versions(1).ids, made.versions(1).at) == ((1,), 0)
    assert made.to_show(6) == {1, 2, 5, 6}


def test_another_role_is_no_version() -> None:
    made = tree((1, "u", 0, 1), (2, "a", 1, 0), (3, "u", 1, 1))
    assert made.versions(2).ids == (2,) and made.versions(3).ids == (3,)


def test_undone_in_the_middle_of_a_branch() -> None:
    made = tree((1, "u", 0, 1), (2, "a", 1, 1), (3, "u", 2, 0), (4, "a", 3, 0))
    assert [(each.end, each.length, each.shared, each.shown) for each in made.branches()] == [
        (4, 4, 2, False), (2, 2, 2, True)]
    nothing = tree((1, "u", 0, 0), (2, "a", 1, 0))
    assert nothing.end == 0
    assert [(each.end, each.shared, each.shown) for each in nothing.branches()] == [(2, 0, False)]


# the summary is stored at the place of the last message that it stands for, without a parent
SUMMARY = ((1, "u", 0, 0), (2, "a", 1, 0), (5, "u", None, 1), (6, "a", 5, 1), (3, "u", 2, 1),
           (4, "a", 3, 1))


def test_a_summary_stands_for_the_messages_of_its_branch() -> None:
    """It is no branch of its own while nothing follows it."""
    made = tree(*SUMMARY, summaries={5: [1, 2]})
    assert made.end == 4 and [each.end for each in made.branches()] == [4]
    assert made.to_show(4) == {3, 4, 5, 6}
    assert made.to_show(1) == {1}        # not all of its messages are on this path
    assert made.newest_end(1) == 4
    assert made.versions(3).ids == (3,)
    assert (made.versions(5).ids, made.versions(5).at) == ((5,), 0)


def test_a_hidden_summary_is_not_shown_again() -> None:
    rows = [(*row[:3], 0) if row[0] in (5, 6) else row for row in SUMMARY]
    assert tree(*rows, summaries={5: [1, 2]}).to_show(4) == {1, 2, 3, 4}
    half = [(*row[:3], 0) if row[0] == 6 else row for row in SUMMARY]
    assert tree(*half, summaries={5: [1, 2]}).to_show(4) == {3, 4, 5}


def test_a_summary_that_is_followed_is_a_branch() -> None:
    made = tree((1, "u", 0, 0), (2, "a", 1, 0), (5, "u", None, 1), (6, "a", 5, 1),
                (7, "u", 6, 1), (8, "a", 7, 1), summaries={5: [1, 2]})
    assert [(each.end, each.length, each.shared) for each in made.branches()] == [
        (2, 2, 0), (8, 4, 4)]
    assert made.newest_end(1) == 2 and made.newest_end(5) == 8
    assert made.to_show(8) == {5, 6, 7, 8} and made.to_show(2) == {5, 6}


@pytest.mark.parametrize(("rows", "parents"), [
    # all shown: one line
    ("1u+ 2a+ 3u+", {1: 0, 2: 1, 3: 2}),
    # hidden before the shown: a repeated answer
    ("1u+ 2a- 3a+ 4u+", {1: 0, 2: 1, 3: 1, 4: 3}),
    # two hidden turns, then another question in the place of the first
    ("1u- 2a- 3u- 4a- 5u+", {1: 0, 2: 1, 3: 2, 4: 3, 5: 0}),
    # a result follows a call, not an answer, and an answer follows the result
    ("1u+ 2c- 3t- 4a- 5a+", {1: 0, 2: 1, 3: 2, 4: 3, 5: 1}),
    ("1u+ 2a- 3t-", {1: 0, 2: 1, 3: 1}),
    ("1u+ 2a- 3a-", {1: 0, 2: 1, 3: 1}),
    ("1u- 2u-", {1: 0, 2: 0}),
    # of several that it may follow, the last
    ("1u- 2u- 3a-", {1: 0, 2: 0, 3: 2}),
    # hidden ones from before the shown one do not count
    ("1u- 2u+ 3a- 4a-", {1: 0, 2: 0, 3: 2, 4: 2}),
])
def test_parents_that_were_not_stored(rows: str, parents: dict[int, int]) -> None:
    made = tree(*((int(row[0]), row[1], None, int(row[2] == "+")) for row in rows.split()))
    assert made.parents == parents


@pytest.mark.parametrize(("stored", "parents"), [
    ({1: 0, 2: 1}, {1: 0, 2: 1}),
    ({1: 9, 2: 1}, {1: 0, 2: 1}),                    # the parent is lost
    ({1: 1, 2: 1}, {1: 0, 2: 1}),
    ({1: 2, 2: 1}, {1: 0, 2: 1}),
    ({1: 3, 2: 1, 3: 2, 4: 3}, {1: 0, 2: 1, 3: 2, 4: 3}),
    ({1: 0, 2: 3, 3: 2, 4: 1}, {1: 0, 2: 0, 3: 2, 4: 1}),
    ({1: 2, 2: 3, 3: 2}, {1: 2, 2: 0, 3: 2}),        # the way to a circle stays
])
def test_a_circle_is_opened(stored: dict[int, int], parents: dict[int, int]) -> None:
    made = tree(*((number, "u", parent, 1) for number, parent in stored.items()))
    assert made.parents == parents
