"""Streams become lines, events and values, however the network cuts them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from core.errors import BadResponse, StreamBroken
from core.events import Delta, Finished, TextDelta, ThinkingDelta
from core.providers import Endpoint
from core.providers.http.decoder import (MOST_VALUES, EventDecoder, LineDecoder, ServerEvent,
                                         TooMuch, join_deltas, load_json, named, parse_json,
                                         plausible_count, readable)

EXACT = 9_007_199_254_740_992      # integers below are exact in every JSON parser
SERVER = Endpoint("http://x", host="openai", longest=5 << 19)


def cuts(stream: bytes) -> Iterator[list[bytes]]:
    """The stream whole, in bytes with empty reads between them, and cut once at every place."""
    yield [stream]
    yield [piece for byte in stream for piece in (bytes([byte]), b"")]
    for place in range(1, len(stream)):
        yield [stream[:place], stream[place:]]


@pytest.mark.parametrize(("stream", "lines", "rest"), [
    (b"", [], b""), (b"a", [], b"a"), (b"a\nb", [b"a"], b"b"),
    (b"\n\na\r\n", [b"", b"", b"a\r"], b"")])
def test_lines(stream: bytes, lines: list[bytes], rest: bytes) -> None:
    for pieces in cuts(stream):
        decoder = LineDecoder()
        assert [line for piece in pieces for line in decoder.feed(piece)] == lines
        assert decoder.size == len(rest)
        assert decoder.close() == rest
        assert decoder.size == 0 and decoder.close() == b""


@pytest.mark.parametrize(("stream", "events"), [
    (b"data: a\n\ndata: b\n\n", [("message", "a"), ("message", "b")]),
    (b"data: a\r\n\r\ndata: b\r\r", [("message", "a"), ("message", "b")]),
    (b"data: a\r\n\ndata: b\r\n", [("message", "a"), ("message", "b")]),
    (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [("message", "a")]),
    (b"event: x\ndata: a\n\ndata: b\n\n", [("x", "a"), ("message", "b")]),
    (b"event: x\n\ndata: b", [("message", "b")]),
    (b"data:a\ndata:  b\ndata\n\n", [("message", "a\n b\n")]),
    (b": a comment\nid: 1\nretry: 5\ndata: a\n\n", [("message", "a")]),
    (b"event:x\ndata: \xff\n\n", [("x", "\ufffd")]),
    (b"data:\n\n\n\n", [("message", "")]),
    (b"", []), (b"\r", []),
])
def test_events(stream: bytes, events: list[tuple[str, str]]) -> None:
    for pieces in cuts(stream):
        decoder = EventDecoder()
        found = [event for piece in pieces for event in decoder.feed(piece)] + decoder.close()
        assert found == [ServerEvent(*event) for event in events], pieces
        assert decoder.held == 0 and decoder.close() == []


def test_what_an_event_without_end_holds() -> None:
    decoder = EventDecoder()
    decoder.feed(b"event: x\ndata: 1234\nda")
    assert decoder.held == 2 + 5 + 64
    decoder.feed(b"ta: 5\n")
    assert decoder.held == 5 + 64 + 2 + 64
    decoder.feed(b"\n")
    assert decoder.held == 0


@pytest.mark.parametrize("text", [
    "{}", ' {"a": 1}', '{"a": {"b": [1, null]}} \t\r\n', "[1]", "1", "null", '"a"', "NaN"])
def test_a_value(text: str) -> None:
    expected = json.loads(text)
    for form in (text, text.encode(), "\ufeff" + text, b"\xef\xbb\xbf" + text.encode()):
        assert repr(parse_json(form, SERVER)) == repr(expected)


@pytest.mark.parametrize("text", ["", "{", "{}{}", "{} x", "{}\x0b", "[1]]", "[" * 100_000, "<b>a"])
def test_no_value(text: str) -> None:
    with pytest.raises(BadResponse, match="http://x did not respond like an openai server") as no:
        parse_json(text, SERVER)
    assert repr(text.strip()[:80]) in str(no.value.message) or text == "<b>a"
    assert no.value.hint == "Check --base-url and --provider."


def test_bytes_that_are_no_text_end_nothing() -> None:
    assert parse_json(b'{"a": "\xff"}', SERVER) == {"a": "\ufffd"}


def test_more_values_than_memory_has_room_for() -> None:
    most = f"[{'0,' * (MOST_VALUES - 2)}0]"
    assert len(load_json(most)) == MOST_VALUES - 1
    assert len(load_json(f'["{"," * (MOST_VALUES - 1)}"]')) == 1
    for text in (f"[{'0,' * MOST_VALUES}0]", f"[{'{},' * (MOST_VALUES // 2)}0]"):
        with pytest.raises(TooMuch):
            load_json(text)
        with pytest.raises(BadResponse, match="openai server would: over 2.5 MB or 500,000 values"):
            parse_json(text, SERVER)


@pytest.mark.parametrize(("host", "name"), [
    ("openai", "an openai server"), ("vllm", "a vllm server"), ("", "a chat server")])
def test_the_kind_of_server(host: str, name: str) -> None:
    assert named(Endpoint("http://x", host=host)) == name


@pytest.mark.parametrize(("text", "shown"), [
    ("plain <b>text</b>", "plain <b>text</b>"),
    (" <html><title>\n Not \n Found </title><p>more", "Not Found"),
    ("<!DOCTYPE html><TITLE lang=en>A</TITLE>", "A"),
    ("<html><title> </title><style>p {\n}</style><p>a<br>b", "a b"),
    ("<body><script>x()</script>a", "a"), ("<h1>a</h1>", "a"), ("<center>a", "a"),
    ("<html></html>", "<html></html>"), ("see <html>", "see <html>")])
def test_a_page_instead_of_an_answer(text: str, shown: str) -> None:
    assert readable(text) == shown


@pytest.mark.parametrize(("value", "count"), [
    (0, 0), (1, 1), (EXACT - 1, EXACT - 1), (EXACT, None), (-1, None),
    (True, None), (1.0, None), ("1", None), (None, None)])
def test_a_number_of_tokens(value: Any, count: int | None) -> None:
    assert plausible_count(value) == count and type(plausible_count(value)) is type(count)


EXTRA = TextDelta("x", 0, {"a": 1})
JOINED: list[tuple[list[Delta], list[Delta]]] = [
    ([], []),
    ([TextDelta("a")], [TextDelta("a")]),
    ([TextDelta("a"), TextDelta("b"), TextDelta("c")], [TextDelta("abc")]),
    ([TextDelta("a", 1), TextDelta("b", 1), TextDelta("c", 2)],
     [TextDelta("ab", 1), TextDelta("c", 2)]),
    ([TextDelta("a"), ThinkingDelta("b"), ThinkingDelta("c"), TextDelta("d")],
     [TextDelta("a"), ThinkingDelta("bc"), TextDelta("d")]),
    ([TextDelta("a"), EXTRA, TextDelta("b"), EXTRA],
     [TextDelta("a"), EXTRA, TextDelta("b"), EXTRA]),
    ([EXTRA, EXTRA], [EXTRA, EXTRA]),
    ([TextDelta("a"), TextDelta("b"), Finished("stop"), TextDelta("c")],
     [TextDelta("ab"), Finished("stop"), TextDelta("c")]),
]


@pytest.mark.parametrize(("deltas", "joined"), JOINED)
@pytest.mark.parametrize("fails", [False, True])
def test_pieces_are_joined(deltas: list[Delta], joined: list[Delta], fails: bool) -> None:
    """What came before an error comes before it."""
    def read() -> Iterator[Delta]:
        yield from deltas
        if fails:
            raise StreamBroken("broken")
    found: list[Delta] = []
    try:
        for delta in join_deltas(read()):
            found.append(delta)
    except StreamBroken:
        assert fails
    else:
        assert not fails
    assert found == joined
