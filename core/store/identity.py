"""Identities of messages and sessions: 128-bit numbers, unique across programs, that sort by
creation.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# smaller identities come from versions with 63 bits; they stay valid unchanged
OLDEST_NEW = 1 << 63
# Crockford's base 32: sorts like the numbers, without i, l, o and u
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_NAME_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
_VERSION, _VARIANT = 0x7 << 76, 0b10 << 62


class Identities:
    """Makes numbers in the layout of UUID version 7: 48 bits of milliseconds, 12 bits of a counter,
    62 random bits. Each is greater than the one before, even within a millisecond or when the clock
    goes back: the counter continues, and its overflow increments the milliseconds. Safe in threads
    and after a fork.
    """

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self._last = 0             # milliseconds and counter, 60 bits
        self._lock = allocate_lock()
        self._process = os.getpid()

    def __call__(self) -> int:
        return _number(self._reserve(1), os.urandom(8))

    def several(self, count: int) -> list[int]:
        """Return `count` identities, each greater than the one before."""
        first, chance = self._reserve(count), os.urandom(8 * count)
        return [_number(first + place, chance[8 * place:8 * place + 8]) for place in range(count)]

    def _reserve(self, count: int) -> int:
        """Reserve `count` consecutive ticks and return the first."""
        # a thread that the fork did not copy may have held the lock
        if self._process != os.getpid():
            self._process, self._lock = os.getpid(), allocate_lock()
        with self._lock:
            first = max(self._clock() // 1_000_000 << 12, self._last + 1)
            self._last = first + count - 1
        return first


def _number(tick: int, chance: bytes) -> int:
    return (tick >> 12 << 80 | _VERSION | (tick & 0xFFF) << 64 | _VARIANT
            | int.from_bytes(chance, "big") >> 2)


_identities = Identities()


def new_message_id() -> int:
    """Return an identity. It is made before the row is stored, so that storing can be repeated."""
    return _identities()


def new_message_ids(count: int) -> list[int]:
    """Return `count` identities in ascending order."""
    return _identities.several(count)


def new_session_id() -> str:
    """Return a new identity as 26 digits and letters, which sort like the numbers.

    Users see a session's name instead.
    """
    return identity_text(_identities())


def identity_text(number: int) -> str:
    return "".join([_DIGITS[number >> shift & 31] for shift in range(125, -1, -5)])


def new_session_name(now: float) -> str:
    """Return a name for users to see and type, such as 20261121-0412-k3f9. Names may collide; then
    part of the identity tells the sessions apart.
    """
    return time.strftime("%Y%m%d-%H%M-", time.localtime(now)) + name_letters(os.urandom(4))


def short_name(name: str) -> str:
    """Return the last letters of a generated name, such as k3f9, which find its session unless
    another has the same; return any other name in full.
    """
    date, _, rest = name.partition("-")
    minute, _, letters = rest.partition("-")
    made = (len(date) == 8 and date.isdigit() and len(minute) == 4 and minute.isdigit()
            and len(letters) == 4)
    return letters if made else name


def short_names(names: Sequence[str]) -> list[str]:
    """Shorten each name as far as it stays unique in the list: letters, minute and letters, full
    name.
    """
    made = list(map(short_name, names))
    for longer in (_with_minute, str):
        if len(set(made)) == len(made):
            break
        counts = Counter(made)
        made = [longer(full) if counts[short] > 1 else short for full, short in zip(names, made)]
    return made


def _with_minute(name: str) -> str:
    return name[len("20261121-"):] if short_name(name) != name else name


def name_letters(chance: bytes) -> str:
    return "".join(_NAME_LETTERS[byte % 32] for byte in chance)


def made_at(identity: int) -> float:
    """Return when an identity was made, in seconds since 1970; now for one of an earlier version,
    which stores no usable time.
    """
    return (identity >> 80) / 1000 if identity >= OLDEST_NEW else time.time()
