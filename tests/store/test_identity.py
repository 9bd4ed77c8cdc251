"""Identities never collide and sort by creation: by the million, in threads, after a fork, with a
changing clock.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import strategies as st

from core.store.identity import (Identities, identity_text, made_at, new_message_id,
                                 new_message_ids, new_session_id, new_session_name)
from tests.any_machine import given


def test_a_million_in_one_millisecond_are_different_and_in_order() -> None:
    make = Identities(lambda: 1_800_000_000_000_000_000)
    made = [make() for _ in range(1_000_000)]
    assert all(early < late for early, late in itertools.pairwise(made))
    assert made[-1] < 1 << 128 and made_at(made[0]) == 1_800_000_000.0


@given(st.lists(st.integers(0, 1 << 62), min_size=1, max_size=200))
def test_the_order_holds_whatever_the_clock_does(moments: list[int]) -> None:
    clock = iter(moments)
    make = Identities(lambda: next(clock))
    made = [make() for _ in moments]
    assert all(early < late for early, late in itertools.pairwise(made))
    assert all(identity >> 76 & 0xF == 7 and identity >> 62 & 0b11 == 0b10
               for identity in made), "UUID version 7"


def test_two_programs_with_the_same_clock_and_counter_differ() -> None:
    make, other = Identities(lambda: 10**18), Identities(lambda: 10**18)
    assert not {make() for _ in range(10_000)} & {other() for _ in range(10_000)}


def test_threads() -> None:
    """Identities grow within each thread, and none is created twice."""
    def work(_: int) -> list[int]:
        return [new_message_id() for _ in range(20_000)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(work, range(8)))
    finally:
        sys.setswitchinterval(before)
    assert all(early < late for some in made for early, late in itertools.pairwise(some))
    assert len({identity for some in made for identity in some}) == 160_000


@pytest.mark.processes
def test_a_fork_makes_others() -> None:
    new_message_id()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, "\n".join(map(str, new_message_ids(1_000))).encode())
        os._exit(0)
    os.close(writing)
    ours = set(new_message_ids(1_000))
    with os.fdopen(reading) as file:
        theirs = {int(line) for line in file}
    os.waitpid(child, 0)
    assert len(theirs) == 1_000 and not ours & theirs


def test_session_identities_are_text_that_sorts_in_the_same_order() -> None:
    made = [new_session_id() for _ in range(10_000)]
    assert made == sorted(made) and len(set(made)) == 10_000
    assert all(len(identity) == 26 and identity.isalnum() and identity == identity.lower()
               for identity in made)


def test_names_are_short_and_begin_with_the_time() -> None:
    chance = random.Random(1)
    now = chance.uniform(1e9, 2e9)
    name = new_session_name(now)
    assert (name.startswith(time.strftime("%Y%m%d-%H%M-", time.localtime(now)))
            and len(name) == len("20261121-0412-k3f9"))


@given(st.lists(st.tuples(st.integers(0, 1 << 62), st.integers(0, 5_000)), min_size=1, max_size=20))
def test_several_at_once_are_in_order_too(steps: list[tuple[int, int]]) -> None:
    clock = iter([moment for moment, _ in steps for _ in range(2)])
    make = Identities(lambda: next(clock))
    made = [identity for _, count in steps for identity in (*make.several(count), make())]
    assert all(early < late for early, late in itertools.pairwise(made))
    assert all(identity >> 76 & 0xF == 7 and identity >> 62 & 0b11 == 0b10
               for identity in made), "UUID version 7"


def test_the_text_of_an_identity_holds_all_its_bits() -> None:
    assert identity_text(0) == "0" * 26 and identity_text((1 << 128) - 1) == "7" + "z" * 25
    assert identity_text(1 << 5) == "0" * 24 + "10"


def test_every_random_bit_may_be_set() -> None:
    found = 0
    for _ in range(300):       # a bit that may be set is never set once in 2^300 runs
        found |= new_message_id() & (1 << 62) - 1
    assert found == (1 << 62) - 1


def test_the_first_identity_of_128_bits_holds_its_time() -> None:
    assert made_at(1 << 63) == 0.0 and made_at((1 << 63) - 1) > 1e9
