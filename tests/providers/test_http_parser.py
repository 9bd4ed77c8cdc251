"""HTTP responses are read as h11 reads them, however they are split, and damage only ends them."""

from __future__ import annotations

import random
from dataclasses import dataclass

import h11
import pytest

from core.providers.http.parser import AnswerParser, EndedEarly, NotHttp

WORDS = ("data: {}", "\n\n", "ä", "x" * 300, "", " ", "0", "5\r\n", "HTTP/1.1 200 OK\r\n\r\n", "\0")


@dataclass
class Made:
    """An answer as bytes; `closes`: the connection ends behind it."""

    raw: bytes
    closes: bool


def body_of(chance: random.Random) -> bytes:
    return "".join(chance.choices(WORDS, k=chance.randrange(12))).encode()


def chunked(chance: random.Random, body: bytes) -> bytes:
    made, rest = b"", body
    while rest:
        size = chance.randint(1, len(rest))
        line = f"{size:x}" if chance.random() < 0.7 else f"{size:X}".zfill(6)
        extension = chance.choice(("", "", "", ";name=value", ";a"))
        made += f"{line}{extension}\r\n".encode() + rest[:size] + b"\r\n"
        rest = rest[size:]
    trailer = chance.choice(("", "", "expires: never\r\n", "a: 1\r\nb: 2\r\n"))
    return made + f"{'0' * chance.randint(1, 3)}\r\n{trailer}\r\n".encode()


def answer(chance: random.Random) -> Made:
    body, closes = body_of(chance), False
    headers = [("Content-Type", "text/event-stream"), ("X-One", "a"), ("x-one", "b"), ("Empty", ""),
               ("Long", "a b\r\n  c")]
    chance.shuffle(headers)
    headers = headers[:chance.randrange(len(headers) + 1)]
    match chance.randrange(4):
        case 0:
            headers.append(("Content-Length", str(len(body))))
            sent = body
        case 1:
            sent, closes = body, True
        case _:
            headers.append((chance.choice(("Transfer-Encoding", "transfer-encoding")), "chunked"))
            sent = chunked(chance, body)
    if chance.random() < 0.2:
        headers.append(("Connection", chance.choice(("close", "keep-alive"))))
    early = "".join(chance.choices(
        ("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
        k=chance.choice((0, 0, 0, 1, 2))))
    reason = chance.choice((" OK", " ", " Very good indeed"))
    status = chance.choice((200, 200, 200, 404, 500, 204 if not sent else 201))
    if status == 204:
        sent, closes, headers = (b"", False,
                                 [header for header in headers
                                  if header[0].lower() != "transfer-encoding"])
    gap = chance.choice((": ", ":", ":  "))
    head = f"{early}HTTP/1.1 {status}{reason}\r\n" + "".join(f"{name}{gap}{value}\r\n"
                                                             for name, value in headers) + "\r\n"
    return Made(head.encode() + sent, closes)


def cut(chance: random.Random, raw: bytes) -> list[bytes]:
    edges = sorted(chance.choices(range(len(raw) + 1), k=chance.choice((0, 1, 5, 40))))
    return [raw[start:end] for start, end in zip([0, *edges], [*edges, len(raw)]) if start < end]


def by_h11(raw: bytes, closes: bool) -> tuple[int, dict[str, str], bytes, bool]:
    """Status, headers, body, and whether the response is complete."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method="POST", target="/",
                            headers=[("host", "x"), ("content-length", "0")]))
    parser.send(h11.EndOfMessage())
    parser.receive_data(raw)
    if closes:
        parser.receive_data(b"")
    status, headers, body = 0, {}, b""
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError:
            return status, headers, body, False
        match event:
            case h11.Response():
                status = event.status_code
                for raw_name, raw_value in event.headers:
                    name, value = raw_name.decode(), raw_value.decode("latin-1")
                    headers[name] = f"{headers[name]}, {value}" if name in headers else value
            case h11.Data():
                body += event.data
            case h11.EndOfMessage():
                return status, headers, body, True
            case h11.InformationalResponse():
                continue
            case _:
                return status, headers, body, False


def by_ours(pieces: list[bytes], closes: bool) -> tuple[int, dict[str, str], bytes, bool]:
    parser, body = AnswerParser(), b""
    for piece in [*pieces, *([b""] if closes else [])]:
        parser.feed(piece)
        try:
            if parser.read_head() is not None:
                body += parser.read_body()
                body += parser.read_body()     # nothing, or what is wrong
        except NotHttp:
            break
    head = parser.head
    return ((head.status, dict(head.headers), body, parser.over) if head is not None
            else (0, {}, b"", False))


def test_ten_thousand_answers_are_read_as_h11_reads_them() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(10_000):
        made = answer(chance)
        raw, closes = made.raw, made.closes
        if chance.random() < 0.3:      # the connection ends early
            raw, closes = raw[:chance.randrange(len(raw) + 1)], True
        assert by_ours(cut(chance, raw), closes) == by_h11(raw, closes), raw


def test_damage_ends_an_answer_and_nothing_else() -> None:
    """Data before the damage is returned; h11 and our parser agree on which responses are complete.
    """
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    for _ in range(5_000):
        made = answer(chance)
        raw = bytearray(made.raw)
        for _ in range(chance.randint(1, 3)):
            place = chance.randrange(len(raw))
            raw[place:place + chance.randrange(2)] = bytes(
                [chance.choice((0, 10, 13, 32, 48, 58, 255, chance.randrange(256)))])
        one, many = (by_ours([bytes(raw)], made.closes),
                     by_ours(cut(chance, bytes(raw)), made.closes))
        assert one[:2] == many[:2] and one[2] == many[2], bytes(raw)


@pytest.mark.parametrize(("raw", "reusable"), [
    (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab", True),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: close\r\n\r\nab", False),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: Upgrade, Close\r\n\r\nab", False),
    (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nab", False),
    (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\nab", True),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nabHTTP/1.1 200 OK\r\n", False),
    (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", True),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na", False)])
def test_a_connection_is_used_again_only_where_both_know_the_end(raw: bytes,
                                                                 reusable: bool) -> None:
    parser = AnswerParser()
    parser.feed(raw)
    parser.read_head()
    parser.read_body()
    parser.read_body()
    assert parser.reusable is reusable


@pytest.mark.parametrize("raw", [
    b"SSH-2.0-OpenSSH_9.6\r\n", b"\x15\x03\x01\x00\x02\x02", b"HTTP/2.0 200 OK\r\n\r\n",
    b"HTTP/1.1 20 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nx: " + b"a" * 200_000])
def test_what_is_no_answer_is_refused(raw: bytes) -> None:
    parser = AnswerParser()
    parser.feed(raw)
    with pytest.raises(NotHttp):
        parser.read_head()


@pytest.mark.parametrize("rest",
                         [b"xyz\r\n", b"-1\r\n", b"2\r\nabc\r\n", b"1" * 5_000,
                          b"0\r\n" + b"a: b\r\n" * 20_000])
def test_damaged_chunks_are_refused(rest: bytes) -> None:
    parser = AnswerParser()
    parser.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + rest)
    parser.read_head()
    with pytest.raises(NotHttp):
        parser.read_body()
        parser.read_body()


def test_an_end_without_an_answer_says_so() -> None:
    parser = AnswerParser()
    parser.feed(b"")
    with pytest.raises(EndedEarly, match="without a response"):
        parser.read_head()
