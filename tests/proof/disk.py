"""A disk after a power cut, made from the writes of a program that strace recorded.

Synced data is on the disk. Of later writes, any part is: none, all, the first ones, or any sectors
of any of them. New, renamed and deleted names stay in order, as in a journal.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

CALLS = ("openat,write,pwrite64,fsync,fdatasync,ftruncate,unlink,unlinkat,rename,sendto,exit_group")
STRACE = ("strace", "-f", "-y", "-ttt", "-xx", "-s", "4000000", "--seccomp-bpf", "-e",
          f"trace={CALLS}")
SECTOR = 512
_LINE = re.compile(r"(?P<pid>\d+) +(?P<time>[\d.]+) (?P<rest>.*)")
_CALL = re.compile(r"(?P<name>\w+)\((?P<given>.*)\) += (?P<result>-?\d+)")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(?P<rest>.*)")
_TEXT = r'"(?P<text>(?:\\x[0-9a-f]{2})*)"'
_FILE = re.compile(r"(?P<number>\d+)<(?P<path>(?:\\x[0-9a-f]{2})*)>")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the system that succeeded. `path` is that of the descriptor, or the name."""

    time: float
    name: str
    number: int = -1
    path: str = ""
    data: bytes = b""
    other: str = ""
    place: int = 0
    flags: str = ""
    meanwhile: int = 0            # how many calls of other threads ended while this one ran


@dataclass(slots=True)
class _File:
    synced: bytearray = field(default_factory=bytearray)
    writes: list[tuple[int, bytes | None]] = field(default_factory=list)     # None: cut off there
    moments: list[int] = field(default_factory=list)     # after how many calls each write ended
    size: int = 0


@dataclass(frozen=True, slots=True)
class _Change:
    """A name that refers to this file from now on, or to none."""

    name: str
    file: _File | None
    moment: int


class Disk:
    """The files of one folder, built from calls in order."""

    def __init__(self, folder: str, *, lies: bool = False) -> None:
        """`lies`: syncs are reported but not done."""
        self._folder, self._lies = folder, lies
        self._now: dict[str, _File] = {}
        self._safe: dict[str, _File] = {}
        self._changes: list[_Change] = []
        self._taken = 0

    def take(self, call: Call) -> None:
        self._taken += 1
        if not call.path.startswith(self._folder):
            return
        match call.name:
            case "openat" if "O_CREAT" in call.flags and call.path not in self._now:
                self._name(call.path, _File())
            case "openat" if "O_TRUNC" in call.flags and call.path in self._now:
                self._write(call.path, 0, None)
            case "write":
                self._write(call.path, self._now[call.path].size, call.data)
            case "pwrite64":
                self._write(call.path, call.place, call.data)
            case "ftruncate":
                self._write(call.path, call.place, None)
            case "fsync" | "fdatasync":
                self._sync(call.path, self._taken - 1 - call.meanwhile)
            case "unlink" | "unlinkat":
                self._name(call.path, None)
            case "rename" if call.path in self._now:
                moved = self._now[call.path]
                self._name(call.other, moved)
                self._name(call.path, None)

    def after_cut(self, chance: random.Random, folder: Path) -> None:
        """Write into the folder what a power cut may have left at this moment."""
        names = dict(self._safe)
        for change in self._changes[:chance.randint(0, len(self._changes))]:
            _apply(names, change)
        for name, file in names.items():
            target = folder / name.removeprefix(self._folder).lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(_some(file, chance))

    def _name(self, name: str, file: _File | None) -> None:
        change = _Change(name, file, self._taken)
        _apply(self._now, change)
        self._changes.append(change)

    def _write(self, name: str, place: int, data: bytes | None) -> None:
        file = self._now.setdefault(name, _File())
        file.writes.append((place, data))
        file.moments.append(self._taken)
        file.size = place if data is None else max(file.size, place + len(data))

    def _sync(self, name: str, begun: int) -> None:
        """Keep what was done before the sync began, and any part of what another thread did since.
        """
        if self._lies:
            return
        while self._changes and self._changes[0].moment <= begun:
            _apply(self._safe, self._changes.pop(0))
        file = self._now.get(name)
        if file is not None:
            count = sum(moment <= begun for moment in file.moments)
            for place, data in file.writes[:count]:
                _put(file.synced, place, data)
            del file.writes[:count], file.moments[:count]


def _apply(names: dict[str, _File], change: _Change) -> None:
    if change.file is None:
        names.pop(change.name, None)
    else:
        names[change.name] = change.file


def _put(content: bytearray, place: int, data: bytes | None) -> None:
    if data is None:
        del content[place:]
        return
    content.extend(bytes(max(0, place - len(content))))
    content[place:place + len(data)] = data


def _some(file: _File, chance: random.Random) -> bytes:
    """The content with some of the writes that were not synced."""
    content, kind = bytearray(file.synced), chance.randrange(4)
    whole = chance.randint(0, len(file.writes)) if kind == 1 else len(file.writes)
    for place, data in file.writes[:whole] if kind else ():
        if kind < 3 or data is None:
            _put(content, place, data)
            continue
        for at in range(0, len(data), SECTOR):
            if chance.random() < 0.5:
                _put(content, place + at, data[at:at + SECTOR])
    return bytes(content)


def calls(log: Path) -> Iterator[Call]:
    """The calls of a recording, in the order of their ends; those that failed are left out."""
    begun: dict[str, tuple[str, int]] = {}
    count = 0
    with open(log, encoding="ascii", errors="replace") as lines:
        for line in lines:
            found = _LINE.match(line)
            if not found:
                continue
            rest, since = found["rest"], count
            if rest.endswith("<unfinished ...>"):
                begun[found["pid"]] = rest.removesuffix("<unfinished ...>").rstrip(), count
                continue
            resumed = _RESUMED.match(rest)
            if resumed:
                start, since = begun.pop(found["pid"], ("", count))
                rest = start + resumed["rest"]
            call = _call(float(found["time"]), rest)
            if call is not None:
                yield replace(call, meanwhile=count - since)
                count += 1


def _call(time: float, text: str) -> Call | None:
    if text.startswith("exit_group"):
        return Call(time, "exit_group")
    found = _CALL.match(text)
    if not found or found["result"].startswith("-"):
        return None
    name, given = found["name"], found["given"]
    texts = [_decoded(match["text"]) for match in re.finditer(_TEXT, given)]
    if name in ("openat", "unlink", "unlinkat", "rename"):
        names = [os_name.decode("utf-8", "surrogateescape") for os_name in texts]
        return Call(time, name, path=names[0], other=names[-1], flags=given.rpartition('"')[2])
    file = _FILE.match(given)
    if not file:
        return None
    path = _decoded(file["path"]).decode("utf-8", "surrogateescape")
    data = texts[0][:int(found["result"])] if texts else b""
    last = given.rpartition(", ")[2]
    place = int(last) if name in ("pwrite64", "ftruncate") else 0
    return Call(time, name, int(file["number"]), path, data, place=place)


def _decoded(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
