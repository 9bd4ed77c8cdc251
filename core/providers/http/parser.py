"""Parses an HTTP/1.1 response (RFC 9112): status, headers, body.

It is our own because every token passes through it: servers send a chunk per token, for which
general parsers create an object, and loading one takes a tenth of the start-up of a short answer.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from core.dataclass import dataclass
from core.regex import regex

LARGEST_HEAD = 102_400     # bytes of status and headers, or of trailers
LONGEST_SIZE = 4_096       # bytes of the line before a chunk
_STATUS = regex(rb"HTTP/1\.([0-9]) ([0-9]{3})(?: [^\x00\n]*)?")
_NAME = regex(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_END_OF_LINES = regex(rb"\r?\n\r?\n")
_HEXADECIMAL = regex(rb"[0-9A-Fa-f]{1,15}")
_PLAIN_SIZE = regex(rb"([0-9A-Fa-f]{1,15})\r\n")


class NotHttp(Exception):
    """The data is not an HTTP/1.1 response; the message says why."""


class EndedEarly(NotHttp):
    """The connection ended within the response."""


@dataclass(frozen=True, slots=True)
class Head:
    """The status and headers. Header names are in lower case; repeated headers are joined by
    commas.

    `version` is the number after "HTTP/1.".
    """

    status: int
    headers: dict[str, str]
    version: int


class _State(Enum):
    HEAD = auto()
    LENGTH = auto()        # a known number of bytes
    SIZE = auto()          # the line before a chunk
    CHUNK = auto()
    AFTER_CHUNK = auto()   # the line end behind it
    TRAILER = auto()
    CLOSE = auto()         # until the connection ends
    OVER = auto()


class AnswerParser:
    """Receives bytes with feed(), and returns the head and then the received body.

    `over`: the complete body was returned.
    """

    def __init__(self) -> None:
        self.head: Head | None = None
        self._data = bytearray()
        self._ended = False
        self._state = _State.HEAD
        self._left = 0             # bytes of the body or chunk still missing
        self._trailing = 0         # bytes after the last chunk
        self._failure: NotHttp | None = None    # raised once everything before it was returned

    @property
    def over(self) -> bool:
        return self._state is _State.OVER

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another request: the end of this response is defined,
        and nothing followed it.
        """
        if self.head is None or not self.over or self._data or self._ended:
            return False
        wishes = {wish.strip().lower()
                  for wish in self.head.headers.get("connection", "").split(",")}
        return "close" not in wishes and (self.head.version >= 1 or "keep-alive" in wishes)

    def feed(self, data: bytes) -> None:
        """Add received bytes; b"" means that the connection has ended."""
        self._data += data
        self._ended = self._ended or not data

    # ---- the head

    def read_head(self) -> Head | None:
        """Return the head once it is complete.

        Interim responses (100 Continue, early hints) are skipped. Raises NotHttp.
        """
        while self.head is None:
            # some servers end a response with an extra line
            while self._data.startswith((b"\r", b"\n")):
                del self._data[:1]
            found = _END_OF_LINES.search(self._data)
            if found is None:
                if len(self._data) > LARGEST_HEAD or not self._may_begin():
                    raise NotHttp("the server does not speak HTTP/1.1")
                if self._ended:
                    raise EndedEarly("the server closed the connection without a response"
                                     if not self._data
                                     else "the server closed the connection in the middle of its "
                                     "answer")
                return None
            head = _parsed_head(bytes(self._data[:found.start()]))
            del self._data[:found.end()]
            if head.status == 101:
                raise NotHttp("the server switched to another protocol")
            if head.status >= 200:
                self.head = head
                self._state, self._left = _framing(head)
        return self.head

    def _may_begin(self) -> bool:
        """Return whether the received data can begin a response: a server of another protocol may
        send nothing more.
        """
        return b"HTTP/1.".startswith(self._data[:7])

    # ---- the body

    def read_body(self) -> bytes:
        """Return the received part of the body that was not returned yet.

        Raises NotHttp once everything before the error was returned.
        """
        pieces = self._whole_chunks()
        try:
            while self._failure is None and (piece := self._step()) is not None:
                if piece:
                    pieces.append(piece)
        except NotHttp as problem:
            self._failure = problem
        if not pieces and self._failure is not None:
            raise self._failure
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _whole_chunks(self) -> list[bytes]:
        """The chunks that have come whole and in the usual form: the steps take all else."""
        pieces: list[bytes] = []
        if self._state is not _State.SIZE or self._failure is not None:
            return pieces
        data, place = self._data, 0
        while (size := _PLAIN_SIZE.match(data, place)) is not None:
            start = size.end()
            end = start + int(size[1], 16)
            if end == start or data[end:end + 2] != b"\r\n":
                break
            pieces.append(bytes(data[start:end]))
            place = end + 2
        del data[:place]
        return pieces

    def _step(self) -> bytes | None:
        """Return some bytes of the body (b"" for a step without any); None when more data is
        needed.
        """
        match self._state:
            case _State.SIZE:
                return self._size()
            case _State.CHUNK | _State.LENGTH:
                return self._counted()
            case _State.AFTER_CHUNK:
                return self._after_chunk()
            case _State.TRAILER:
                return self._trailer()
            case _State.CLOSE:
                return self._until_close()
        return None

    def _counted(self) -> bytes | None:
        if not self._left:
            self._state = _State.OVER if self._state is _State.LENGTH else _State.AFTER_CHUNK
            return b""
        if not self._data:
            return self._more()
        taken = bytes(self._data[:self._left])
        del self._data[:self._left]
        self._left -= len(taken)
        return taken

    def _size(self) -> bytes | None:
        line = self._line(LONGEST_SIZE, "a chunk's size line is too long")
        if line is None:
            return None
        size = line.split(b";", 1)[0].strip()
        if _HEXADECIMAL.fullmatch(size) is None:
            raise NotHttp(f"a chunk's size is not a number: {size[:20]!r}")
        self._left = int(size, 16)
        self._state = _State.CHUNK if self._left else _State.TRAILER
        return b""

    def _after_chunk(self) -> bytes | None:
        if self._data.startswith(b"\r\n"):
            del self._data[:2]
        elif self._data.startswith(b"\n"):
            del self._data[:1]
        elif len(self._data) < 2 and b"\r".startswith(self._data):
            return self._more()
        else:
            raise NotHttp("a chunk is longer than its size")
        self._state = _State.SIZE
        return b""

    def _trailer(self) -> bytes | None:
        before = len(self._data)
        line = self._line(max(0, LARGEST_HEAD - self._trailing),
                          "the trailers are too long")
        if line is None:
            return None
        self._trailing += before - len(self._data)
        if not line:
            self._state = _State.OVER
        return b""

    def _line(self, most: int, endless: str) -> bytes | None:
        """Return the next line without its end; None while it is incomplete.

        Raises NotHttp beyond `most` bytes.
        """
        end = self._data.find(b"\n", 0, most + 1)
        if end < 0:
            if len(self._data) > most:
                raise NotHttp(endless)
            return self._more()
        line = bytes(self._data[:end])
        del self._data[:end + 1]
        return line.removesuffix(b"\r")

    def _until_close(self) -> bytes | None:
        if self._ended and not self._data:
            self._state = _State.OVER
        taken = bytes(self._data)
        self._data.clear()
        return taken or None

    def _more(self) -> bytes | None:
        """Return None while more data may arrive. Raises NotHttp at the end of the connection."""
        if self._ended:
            raise EndedEarly("the server closed the connection in the middle of its answer")
        return None


def _parsed_head(data: bytes) -> Head:
    lines = data.replace(b"\r\n", b"\n").split(b"\n")
    status = _STATUS.fullmatch(lines[0])
    if status is None:
        raise NotHttp("the server does not speak HTTP/1.1")
    headers: dict[str, str] = {}
    name = ""
    for line in lines[1:]:
        if line[:1] in (b" ", b"\t") and name:    # folded (obsolete syntax for long values)
            headers[name] += " " + _value(line)
            continue
        raw, colon, value = line.partition(b":")
        if not colon or _NAME.fullmatch(raw) is None:
            raise NotHttp(f"the server sent an invalid header: {line[:40]!r}")
        name = raw.decode("ascii").lower()
        headers[name] = f"{headers[name]}, {_value(value)}" if name in headers else _value(value)
    return Head(int(status[2]), headers, int(status[1]))


def _value(raw: bytes) -> str:
    if b"\0" in raw or b"\r" in raw:
        raise NotHttp("the server sent an invalid header")
    return raw.strip(b" \t").decode("latin-1")


def _framing(head: Head) -> tuple[_State, int]:
    """Return how the body's end is determined, and its length if stated."""
    if head.status in (204, 304):
        return _State.OVER, 0
    coding = head.headers.get("transfer-encoding", "").lower().strip()
    if coding == "chunked":
        return _State.SIZE, 0
    if coding:
        raise NotHttp(f"the server uses an unknown transfer encoding: {coding[:40]}")
    length = head.headers.get("content-length")
    if length is None:
        return _State.CLOSE, 0
    lengths = {part.strip() for part in length.split(",")}
    if len(lengths) > 1 or not re.fullmatch("[0-9]{1,15}", text := lengths.pop()):
        raise NotHttp(f"the length of the response is not a number: {length[:40]}")
    return _State.LENGTH, int(text)
