"""File locks: who has one, who waits, and what is left open afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path

import pytest

from core.store.locks import Owner, Queue
from tests.waiting import wait_until

LONG = 30.0        # seconds; nothing here takes so long unless it hangs


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s.db-queue")


def file_of(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def open_on(file: tuple[int, int]) -> int:
    """How many descriptors of this process are open on a file."""
    count = 0
    for descriptor in range(256):
        with suppress(OSError):
            found = os.fstat(descriptor)
            count += (found.st_dev, found.st_ino) == file
    return count


@contextmanager
def nothing_at_zero() -> Iterator[None]:
    """As in a program that was started with its standard input closed."""
    kept = os.dup(0)
    os.close(0)
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_one_has_it_until_it_leaves_or_closes(path: str) -> None:
    first, second = Queue(path, LONG), Queue(path, LONG)
    assert first.try_enter() is True and second.try_enter() is False
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    first.leave()
    assert second.try_enter() is True and first.try_enter() is False
    second.close()
    assert first.try_enter() is True
    first.close()
    first.close()
    first.leave()
    assert open_on(file_of(path)) == 0
    with closing(first), first as acquired:
        assert acquired is True and second.try_enter() is False
        second.close()


def test_standard_input_may_be_closed(path: str) -> None:
    """Then descriptor 0 is the lock's."""
    with nothing_at_zero():
        queue, other = Queue(path, LONG), Queue(path, LONG)
        assert queue.try_enter() and queue.try_enter()
        assert os.fstat(0).st_ino == file_of(path)[1] and open_on(file_of(path)) == 1
        queue.leave()
        assert other.try_enter()
        other.close()
        queue.close()
        assert open_on(file_of(path)) == 0


def test_a_place_without_locks_makes_nobody_wait(tmp_path: Path) -> None:
    queue = Queue(str(tmp_path / "missing" / "s.db-queue"), 0)
    with queue as acquired:
        assert acquired is True
    asyncio.run(queue.come(time.monotonic() + LONG))
    queue.close()


def test_the_next_one_comes_when_the_first_leaves(path: str) -> None:
    with closing(Queue(path, LONG)) as first, closing(Queue(path, LONG)) as second:
        assert first.try_enter()
        threading.Timer(0.1, first.leave).start()
        assert second.enter(LONG) is True and second.try_enter() is True
        assert first.try_enter() is False
        second.leave()
        assert first.try_enter() is True


def test_who_has_given_up_does_not_keep_the_lock(path: str) -> None:
    first, second = Queue(path, LONG), Queue(path, 0)
    assert first.try_enter()
    others = set(threading.enumerate())
    assert second.enter(0.01) is False
    (waits,) = set(threading.enumerate()) - others
    assert waits.daemon        # else the program could not end while others have the lock
    with second as acquired:
        assert acquired is False
    first.leave()
    assert wait_until(lambda: open_on(file_of(path)) == 1)      # each gets it and closes
    assert first.try_enter()
    first.close()
    assert second.enter(LONG) is True
    second.close()
    assert open_on(file_of(path)) == 0


def test_who_is_cancelled_while_it_waits_gives_up(path: str) -> None:
    first, second = Queue(path, LONG), Queue(path, LONG)
    assert first.try_enter() and not second.try_enter()

    async def cancelled() -> None:
        coming = asyncio.ensure_future(second.come(time.monotonic() + LONG))
        await asyncio.sleep(0.1)
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
    asyncio.run(cancelled())
    first.leave()
    assert wait_until(lambda: open_on(file_of(path)) == 1)
    assert second.try_enter() is True and first.try_enter() is False
    second.close()
    first.close()
    assert wait_until(lambda: open_on(file_of(path)) == 0)


def test_who_is_interrupted_while_it_waits_gives_up(path: str) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with closing(Queue(path, LONG)) as first, closing(Queue(path, LONG)) as second:
            assert first.try_enter()
            threading.Timer(0.1, signal.pthread_kill,
                            (threading.get_ident(), signal.SIGUSR1)).start()
            with pytest.raises(KeyboardInterrupt):
                second.enter(LONG)
            first.leave()
            assert wait_until(lambda: open_on(file_of(path)) == 1)
            assert first.try_enter()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_who_closes_while_it_waits_gives_up(path: str) -> None:
    with closing(Queue(path, LONG)) as first, closing(Queue(path, LONG)) as second:
        assert first.try_enter() and not second.try_enter()

        async def closed() -> None:
            coming = asyncio.ensure_future(second.come(time.monotonic() + LONG))
            await asyncio.sleep(0.1)
            assert second.try_enter() is False       # its place in the queue is kept
            second.close()
            first.leave()
            await coming
        asyncio.run(closed())
        assert wait_until(lambda: open_on(file_of(path)) == 1)
        assert second.try_enter() is True and first.try_enter() is False


@pytest.mark.parametrize("surroundings", [nullcontext, nothing_at_zero])
def test_an_event_loop_is_woken_at_once(
        surroundings: Callable[[], AbstractContextManager[None]], path: str) -> None:
    with (surroundings(), closing(Queue(path, LONG)) as second,
          closing(Queue(path, LONG)) as first):
        assert second.try_enter()
        second.leave()
        assert first.try_enter() and not second.try_enter()
        limit = time.monotonic() + LONG

        async def come() -> None:
            asyncio.get_running_loop().call_later(0.2, first.leave)
            await second.come(limit)
        asyncio.run(come())
        assert time.monotonic() < limit
        assert second.try_enter() is True and first.try_enter() is False


def test_an_event_loop_waits_no_longer_than_it_wants(path: str) -> None:
    with closing(Queue(path, LONG)) as first, closing(Queue(path, LONG)) as second:
        assert first.try_enter() and not second.try_enter()
        asyncio.run(second.come(time.monotonic() + 0.1))
        assert open_on(file_of(path)) == 2
        first.leave()
        assert wait_until(lambda: open_on(file_of(path)) == 1)
        assert second.try_enter() is True and first.try_enter() is False


def test_an_owner_is_there_until_it_closes(tmp_path: Path) -> None:
    place = str(tmp_path / "s.db")
    owner, other = Owner(place), Owner(place)
    name = owner.name()
    assert owner.name() == name != other.name()
    held = file_of(f"{place}-live-{name}")
    assert stat.S_IMODE(os.stat(f"{place}-live-{name}").st_mode) == 0o600
    assert other.is_gone(name) is False and open_on(held) == 1
    owner.close()
    owner.close()
    assert open_on(held) == 0 and not os.path.exists(f"{place}-live-{name}")
    assert other.is_gone(name) is True
    os.unlink(f"{place}-live-{other.name()}")
    other.close()
    assert owner.name() != name
    owner.close()
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_there_even_if_others_clear_up_meanwhile(tmp_path: Path) -> None:
    """Another program may take the new file for an abandoned one before it is locked."""
    place, over = str(tmp_path / "s.db"), threading.Event()

    def clear_up() -> None:
        other = Owner(place)
        while not over.is_set():
            other.sweep()
    clearing = threading.Thread(target=clear_up)
    clearing.start()
    try:
        for _ in range(200):
            with closing(Owner(place)) as owner:
                assert os.path.exists(f"{place}-live-{owner.name()}")
    finally:
        over.set()
        clearing.join()


def test_what_is_left_of_a_killed_owner_goes(tmp_path: Path) -> None:
    place = tmp_path / "s.db"
    owner = Owner(str(place))
    name = owner.name()
    left = [tmp_path / f"s.db-live-{number:016x}" for number in range(3)]
    for path in (*left, place, tmp_path / "other.db-live-1"):
        path.touch()
    held = file_of(str(left[0]))
    assert owner.is_gone(f"{0:016x}") is True and not left[0].exists() and open_on(held) == 0
    owner.sweep()
    assert {path.name for path in tmp_path.iterdir()} == {"s.db", "other.db-live-1",
                                                          f"s.db-live-{name}"}
    assert owner.is_gone("x" * 300) is False        # no such name can be looked for
    owner.close()
