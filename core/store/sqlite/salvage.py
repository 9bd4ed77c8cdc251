"""Reads the rows of a damaged SQLite file without SQLite, from every readable page.

The format is https://www.sqlite.org/fileformat2.html. B-trees are not followed, so that neither a
damaged header nor a lost interior page hides other pages. Pages in the log (WAL) replace those in
the file.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO

Value = int | float | str | bytes | None
SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
_USUAL = 4096
_LEAF = 0x0D
_MAGIC = b"SQLite format 3\0"
_WAL_MAGIC = (0x377F0682, 0x377F0683)
_MOST_BYTES = 1 << 30


class DamagedFile:
    """The pages of a database file and its log."""

    def __init__(self, path: str) -> None:
        self._file: BinaryIO = open(path, "rb")
        self._log = _open_or_none(f"{path}-wal")
        head = self._file.read(100)
        self.page_size, reserved = _page_size(head), (
            head[20] if len(head) > 20 and head[20] < 64 else 0
        )
        self._in_log: dict[int, int] = (
            _pages_of(self._log, self.page_size) if self._log is not None else {}
        )
        self._usable = self.page_size - reserved
        self._count = max(-(-os.path.getsize(path) // self.page_size), *self._in_log, 0)
        self.lost = 0  # rows that could be read only partly

    @property
    def version(self) -> int:
        """PRAGMA user_version; 0 if the header is lost."""
        head = self._page(1)
        return int.from_bytes(head[60:64], "big") if head.startswith(_MAGIC) else 0

    def close(self) -> None:
        self._file.close()
        if self._log is not None:
            self._log.close()

    def rows(self) -> Iterator[tuple[int, list[Value]]]:
        """Yield the number and the values of each readable row, in page order."""
        for number in range(1, self._count + 1):
            page = self._page(number)
            start = 100 if number == 1 else 0
            if len(page) == self.page_size and page[start] == _LEAF:
                yield from self._leaf(page, start)

    def _page(self, number: int) -> bytes:
        if number in self._in_log and self._log is not None:
            self._log.seek(self._in_log[number])
            return self._log.read(self.page_size)
        self._file.seek((number - 1) * self.page_size)
        return self._file.read(self.page_size)

    def _leaf(self, page: bytes, start: int) -> Iterator[tuple[int, list[Value]]]:
        count = int.from_bytes(page[start + 3:start + 5], "big")
        if start + 8 + 2 * count > self.page_size:
            self.lost += 1
            return
        for place in range(count):
            at = int.from_bytes(page[start + 8 + 2 * place:start + 10 + 2 * place], "big")
            try:
                size, at = _varint(page, at)
                row, at = _varint(page, at)
                yield row, _record(self._payload(page, at, size))
            except (ValueError, IndexError, struct.error):
                self.lost += 1

    def _payload(self, page: bytes, at: int, size: int) -> bytes:
        """Return the payload of a cell, including its overflow pages."""
        most, least = self._usable - 35, (self._usable - 12) * 32 // 255 - 23
        if size > _MOST_BYTES or at > self._usable:
            raise ValueError("not a size")
        if size <= most:
            return _exactly(page[at:at + size], size)
        fits = least + (size - least) % (self._usable - 4)
        here = fits if fits <= most else least
        parts, left = [_exactly(page[at:at + here], here)], size - here
        following, seen = int.from_bytes(page[at + here:at + here + 4], "big"), set[int]()
        while left > 0:
            if not 0 < following <= self._count or following in seen:
                raise ValueError("the chain of pages is broken")
            seen.add(following)
            more = self._page(following)
            piece = _exactly(more[4:4 + min(left, self._usable - 4)], min(left, self._usable - 4))
            parts.append(piece)
            left -= len(piece)
            following = int.from_bytes(more[:4], "big")
        return b"".join(parts)


def _open_or_none(path: str) -> BinaryIO | None:
    try:
        return open(path, "rb")
    except OSError:
        return None


def _page_size(head: bytes) -> int:
    size = int.from_bytes(head[16:18], "big")
    size = 65536 if size == 1 else size
    return size if size in SIZES else _USUAL


def _pages_of(log: BinaryIO, page_size: int) -> dict[int, int]:
    """Return the offset in the log of the newest committed copy of each page."""
    head = log.read(32)
    if (
        len(head) < 32
        or int.from_bytes(head[:4], "big") not in _WAL_MAGIC
        or int.from_bytes(head[8:12], "big") != page_size
    ):
        return {}
    salts, found, pending = head[16:24], dict[int, int](), dict[int, int]()
    while len(frame := log.read(24)) == 24 and frame[8:16] == salts:
        at = log.tell()
        if len(log.read(page_size)) < page_size:
            break
        pending[int.from_bytes(frame[:4], "big")] = at
        if frame[4:8] != b"\0\0\0\0":  # a commit frame
            found.update(pending)
            pending.clear()
    return found


def _exactly(piece: bytes, size: int) -> bytes:
    if len(piece) != size:
        raise ValueError("cut off")
    return piece


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of one to nine bytes; return it and the offset after it. Raises IndexError."""
    number = 0
    for place in range(9):
        byte = data[at + place]
        if place == 8:
            return number << 8 | byte, at + 9
        number = number << 7 | byte & 0x7F
        if byte < 0x80:
            return number, at + place + 1
    raise ValueError("not a number")


def _record(payload: bytes) -> list[Value]:
    """Decode the values of a row. Raises ValueError, IndexError or struct.error."""
    size, at = _varint(payload, 0)
    kinds: list[int] = []
    while at < size:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    if at != size:
        raise ValueError("not a record header")
    values: list[Value] = []
    for kind in kinds:
        length = _LENGTHS.get(kind, (kind - 12) // 2 if kind >= 12 else -1)
        if length < 0:
            raise ValueError("not a serial type")
        values.append(_value(kind, _exactly(payload[at:at + length], length)))
        at += length
    return values


_LENGTHS: Mapping[int, int] = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 7: 8, 8: 0, 9: 0}


def _value(kind: int, data: bytes) -> Value:
    if kind == 0:
        return None
    if kind < 7:
        return int.from_bytes(data, "big", signed=True)
    if kind == 7:
        number: float = struct.unpack(">d", data)[0]
        return number
    if kind < 10:
        return kind - 8
    return data if kind % 2 == 0 else data.decode("utf-8", "replace")
