"""Tracks running requests and recent speed of each server or model, across programs."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TextIO

from core.config.private_file import write_private
from core.dataclass import dataclass, field

FORGET = 600.0  # half-life of measurements in seconds
LONGEST = 3_600.0  # seconds after which a running request counts as lost
MOST = 200  # most entries kept


@dataclass(frozen=True, slots=True)
class Load:
    """`busy` is the number of running requests, `seconds` the time to the first content.

    `last` is when it was last used; `down` means that it failed recently.
    """

    busy: int = 0
    seconds: float = 0.0
    last: float = 0.0
    down: bool = False


@dataclass(slots=True)
class _Entry:
    seconds: float = 0.0
    measured: float = 0.0
    last: float = 0.0
    down: float = 0.0  # avoided until then
    busy: list[tuple[int, float]] = field(default_factory=list)  # (process, start time)


class Loads:
    """Loads in a file shared by all programs of this user; without a path, in memory.

    If the file cannot be read or written, only this program's loads are known.
    """

    def __init__(self, path: str = "", clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self._own: dict[str, _Entry] = {}

    def look(self) -> Mapping[str, Load]:
        """Return the loads by name; a missing name was never used."""
        now = self._clock()
        return {name: self._load(entry, now) for name, entry in self._read().items()}

    @staticmethod
    def _load(entry: _Entry, now: float) -> Load:
        faded = entry.seconds * 0.5 ** (max(0.0, now - entry.measured) / FORGET)
        return Load(len(entry.busy), faded, entry.last, entry.down > now)

    def begin(self, name: str) -> None:
        """Record the start of a request."""
        now = self._clock()
        with self._changing() as entries:
            entry = entries.setdefault(name, _Entry())
            entry.busy.append((os.getpid(), now))
            entry.last = now

    def end(self, name: str, seconds: float | None) -> None:
        """Record the end of a request; `seconds` is the time to its first content, None if there
        was none.
        """
        now = self._clock()
        with self._changing() as entries:
            entry = entries.setdefault(name, _Entry())
            own = next((each for each in entry.busy if each[0] == os.getpid()), None)
            if own is not None:
                entry.busy.remove(own)
            if seconds is not None:
                known = self._load(entry, now).seconds
                entry.seconds = 0.7 * known + 0.3 * seconds if known else seconds
                entry.measured = now

    def note_down(self, name: str, seconds: float) -> None:
        """Record a failure after which it is avoided for `seconds`; 0 means it works again."""
        if seconds or self.look().get(name, Load()).down:
            with self._changing() as entries:
                entries.setdefault(name, _Entry()).down = (
                    self._clock() + seconds if seconds else 0.0
                )

    # ---- the file

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, _Entry]]:
        if not self._path:
            yield self._own
            return
        with contextlib.ExitStack() as stack:
            lock = self._locked(stack)
            entries = self._read()
            yield entries
            if lock is not None:
                self._write(entries)

    def _locked(self, stack: contextlib.ExitStack) -> TextIO | None:
        """Return the locked lock file; None if it cannot be created."""
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            file = stack.enter_context(open(f"{self._path}.lock", "a", encoding="utf-8"))
        except OSError:
            return None
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def _read(self) -> dict[str, _Entry]:
        if not self._path:
            return self._own
        try:
            with open(self._path, encoding="utf-8") as file:
                stored = json.load(file)
            return {str(name): self._entry(value) for name, value in stored.items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}

    def _entry(self, value: Any) -> _Entry:
        since = self._clock() - LONGEST
        busy = [(int(process), float(begun)) for process, begun in value["busy"]]
        alive = [each for each in busy if each[1] > since and _runs(each[0])]
        return _Entry(
            float(value["seconds"]),
            float(value["measured"]),
            float(value["last"]),
            float(value["down"]),
            alive,
        )

    def _write(self, entries: dict[str, _Entry]) -> None:
        newest = sorted(entries, key=lambda name: entries[name].last)[-MOST:]
        kept = {
            name: {
                "seconds": entry.seconds,
                "measured": entry.measured,
                "last": entry.last,
                "down": entry.down,
                "busy": entry.busy,
            }
            for name in newest
            if (entry := entries[name])
        }
        with contextlib.suppress(OSError):
            write_private(self._path, json.dumps(kept), sync=False)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError, ValueError):
        return True  # another user's file
    return True
