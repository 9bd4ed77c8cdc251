"""HTTP transport: decoding does not depend on splits, failures have clear errors, and no received
data is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import tracemalloc
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import pytest
from hypothesis import strategies as st

from core.config.network import is_loopback
from core.errors import (AuthFailed, BadResponse, ConnectFailed, ProviderError, RateLimited,
                         StreamBroken)
from core.events import Delta, Finished, TextDelta, ThinkingDelta, ToolCallDelta
from core.providers import Endpoint
from core.providers.http import transport
from core.providers.http.decoder import EventDecoder, ServerEvent, join_deltas
from core.providers.http.http1 import NoConnection, Response
from core.providers.http.transport import read_events, read_json_lines, read_lines
from core.retry.headers import retry_after
from tests.any_machine import given
from tests.dialects import run as run_provider
from tests.fake_server import (Answer, Cut, FakeServer, Pause, Reset, Stall, Step, cut_at,
                               json_answer, lines_answer, pieces, sse_answer, text_answer)

Reader = Callable[[Response, Endpoint], AsyncGenerator[list[Any], None]]


def refused(status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
    return RateLimited(body.decode(), retry_after=retry_after(headers), status=status)


async def collect(server_url: str, reader: Reader, *, got: list[Any] | None = None,
                  idle: float = 20.0,
                  headers: Mapping[str, str] | None = None, longest: int = 64 << 20) -> list[Any]:
    """Everything that one exchange returned; `got` has it even if the exchange fails."""
    endpoint = Endpoint(server_url, host="fake", idle_timeout=idle, connect_timeout=5.0,
                        longest=longest)
    items: list[Any] = [] if got is None else got
    async with transport.open_client(endpoint, headers) as client:
        async with transport.exchange(client, endpoint, "/x", {"a": 1}, refused) as response:
            async with contextlib.aclosing(reader(response, endpoint)) as batches:
                async for batch in batches:
                    items += batch
    return items


def ask(steps: Answer | list[Answer], reader: Reader = read_json_lines, **more: Any) -> list[Any]:
    with FakeServer(steps) as server:
        return asyncio.run(collect(server.url, reader, **more))


# ---- decoding

EVENTS = ("\ufeffdata: one\n\nevent: ping\ndata: {}\n\n: comment\n\ndata:two\r\ndata: a\u2028b "
          "ü\U0001f600\r\n\r\nid: 7\nretry: 1\nevent: done\rdata\rdata:  x\r\r\n\n"
          "data: last").encode()
DECODED = [ServerEvent("message", "one"), ServerEvent("ping", "{}"),
           ServerEvent("message", "two\na\u2028b ü\U0001f600"),
           ServerEvent("done", "\n x"), ServerEvent("message", "last")]


def test_events_in_one_piece() -> None:
    decoder = EventDecoder()
    assert decoder.feed(EVENTS) + decoder.close() == DECODED


@given(st.lists(st.integers(0, len(EVENTS)), max_size=40))
def test_events_do_not_depend_on_cuts(cuts: list[int]) -> None:
    decoder = EventDecoder()
    edges = [0, *sorted(cuts), len(EVENTS)]
    events = [event for start, end in zip(edges, edges[1:])
              for event in decoder.feed(EVENTS[start:end])]
    assert events + decoder.close() == DECODED


@given(st.lists(st.sampled_from(["data: a", "data:b", "event: e", ": c", "", "", "x", "data"]),
                max_size=12),
       st.sampled_from(["\n", "\r\n", "\r"]), st.integers(1, 9))
def test_line_ends_do_not_matter(lines: list[str], end: str, size: int) -> None:
    plain, other = EventDecoder(), EventDecoder()
    expected = plain.feed("".join(line + "\n" for line in lines).encode()) + plain.close()
    data = "".join(line + end for line in lines).encode()
    got = [event for start in range(0, len(data), size)
           for event in other.feed(data[start:start + size])]
    assert got + other.close() == expected


def test_an_event_ended_by_a_lone_cr_is_not_held_back() -> None:
    assert EventDecoder().feed(b"data: x\r\r") == [ServerEvent("message", "x")]


VALUES = [{"t": "ä\u2028\U0001f600"}, {"t": "\\ \" \n"}, {}, {"n": [1, None, True]}]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_json_lines_over_a_socket(size: int, framing: str) -> None:
    data = b"\r\n \n".join(json.dumps(value, ensure_ascii=False).encode() for value in VALUES)
    assert ask(Answer(pieces(data, size), framing=framing)) == VALUES


def test_raw_bytes_that_are_not_utf8_do_not_end_the_stream() -> None:
    assert ask(Answer([b'{"t":"\xff"}\n'])) == [{"t": "\ufffd"}]


def test_a_line_that_is_no_json_ends_the_stream_after_what_stood_before_it() -> None:
    got: list[Any] = []
    with pytest.raises(BadResponse) as caught:
        ask(Answer([b'{"a":1}\n<html>\n{"a":2}\n']), got=got)
    assert got == [{"a": 1}] and "<html>" in caught.value.message


def test_a_gzip_answer_is_decoded() -> None:
    body = gzip.compress(b'{"a":1}\n{"a":2}\n')
    assert ask(Answer(pieces(body, 5), headers={"Content-Encoding": "gzip"})) == [{"a": 1},
                                                                                  {"a": 2}]


def test_a_broken_gzip_answer_is_a_broken_stream() -> None:
    with pytest.raises(StreamBroken):
        ask(Answer([b"not gzip at all"], headers={"Content-Encoding": "gzip"}))


def test_identity_is_asked_for() -> None:
    with FakeServer(json_answer({})) as server:
        asyncio.run(collect(server.url, read_json_lines))
    request = server.requests[0]
    assert (request.method, request.path, request.headers["accept-encoding"],
            request.json) == ("POST", "/x", "identity", {"a": 1})


@pytest.mark.parametrize("reader", [read_lines, read_events])
def test_an_endless_line_is_bounded(reader: Reader) -> None:
    with pytest.raises(BadResponse):
        ask(Answer([b"data: " + b"x" * 50_000] * 40), reader, longest=100_000)


def test_an_endless_event_is_bounded() -> None:
    with pytest.raises(BadResponse):
        ask(Answer([b"data: " + b"x" * 5_000 + b"\n"] * 400), read_events, longest=100_000)


@pytest.mark.parametrize("body",
                         [b'{"z":[' + b"{}," * 300_000 + b"0]}",
                          b'{"z":' + b"[0,{}," * 10 + b"0" + b",[]" * 600_000],
                         ids=["objects", "lists"])
@pytest.mark.parametrize("reader", [read_json_lines, None], ids=["stream", "document"])
def test_a_document_of_very_many_values_is_not_read(reader: Reader | None, body: bytes) -> None:
    """A value of two bytes takes a hundred in memory,
    and reading millions of them cannot be stopped.
    """
    async def fetch(url: str) -> Any:
        endpoint = Endpoint(url, host="openai")
        async with transport.open_client(endpoint) as client:
            return await transport.fetch_json(client, endpoint, "/m", refused)
    with pytest.raises(BadResponse, match=r"sent more data at once than an? \w+ server would: "
                       r"over 8 MB or 500,000 values"):
        if reader is not None:
            ask(Answer([body + b"\n"]), reader, longest=8 << 20)
        else:
            with FakeServer(Answer([body])) as server:
                asyncio.run(fetch(server.url))


def test_a_token_per_chunk_is_not_a_frame_per_token() -> None:
    """Servers send an HTTP chunk per token; 3,000 of them must not take 3,000 frames (50 s)."""
    batches: list[int] = []

    async def counted(response: Response, endpoint: Endpoint) -> AsyncGenerator[list[Any], None]:
        async with contextlib.aclosing(read_json_lines(response, endpoint)) as lines:
            async for batch in lines:
                batches.append(len(batch))
                yield batch

    assert len(ask(lines_answer({"n": number} for number in range(3000)), counted)) == 3000
    assert len(batches) < 600


def test_the_first_token_does_not_wait_for_the_second() -> None:
    with FakeServer(Answer([b'{"a":1}\n', Stall()])) as server:
        async def first() -> Any:
            endpoint = Endpoint(server.url)
            async with transport.open_client(endpoint) as client:
                async with transport.exchange(client, endpoint, "/", {}, refused) as response:
                    async with contextlib.aclosing(read_json_lines(response, endpoint)) as batches:
                        async for batch in batches:
                            return batch
        assert asyncio.run(asyncio.wait_for(first(), 10)) == [{"a": 1}]


# ---- failures

BODY = b'{"a":1}\n{"a":2}\n{"a":3}\n'


@pytest.mark.parametrize("end", [Cut(), Reset()])
@pytest.mark.parametrize("framing", ["chunked", "length"])
@pytest.mark.parametrize("at", [1, 8, 13, 24])
def test_a_lost_connection_keeps_what_came(end: Step, framing: str, at: int) -> None:
    steps: list[Step] = [*cut_at(BODY, at, Pause(0.03)), end]
    headers = {"Content-Length": "999"} if framing == "length" else {}
    got: list[Any] = []
    with pytest.raises(StreamBroken):
        ask(Answer(steps, framing=framing, headers=headers), got=got)
    assert got == [{"a": 1}, {"a": 2}, {"a": 3}][:at // 8]


@pytest.mark.parametrize("end", [Cut(), Reset()])
def test_a_connection_lost_before_the_answer_can_be_tried_again(end: Step) -> None:
    with pytest.raises(ConnectFailed) as caught:
        ask(Answer([end], framing="raw"))
    assert caught.value.retryable


def test_a_stall_in_the_answer() -> None:
    got: list[Any] = []
    with pytest.raises(StreamBroken) as caught:
        ask(Answer([b'{"a":1}\n', Stall()]), got=got, idle=0.2)
    assert got == [{"a": 1}] and "0.2 s" in caught.value.message


def test_a_stall_before_the_answer() -> None:
    with pytest.raises(ConnectFailed):
        ask(Answer([Stall()], framing="raw"), idle=0.2)


@pytest.mark.parametrize(("reader", "beat"), [
    (read_json_lines, b"\n"), (read_json_lines, b"{}\n"), (read_events, b": still here\n\n"),
    (read_events, b"event: ping\ndata: {\"type\": \"ping\"}\n\n")])
def test_signs_of_life_do_not_hold_off_the_idle_timeout(reader: Reader, beat: bytes) -> None:
    steps = [step for _ in range(200) for step in (Pause(0.05), beat)]
    with pytest.raises(StreamBroken) as caught:
        ask(Answer(steps), reader, idle=0.4)
    assert "signs of life" in caught.value.message


def test_content_holds_off_the_idle_timeout() -> None:
    events = [b"data: x\n\n", b": ping\n\n"] * 8
    assert len(ask(sse_answer(events, delay=0.05), read_events, idle=0.5)) == 8


def test_nobody_listens() -> None:
    with FakeServer(json_answer({})) as server:
        pass
    with pytest.raises(ConnectFailed) as caught:
        asyncio.run(collect(server.url, read_json_lines))
    assert caught.value.message == f"No connection to {server.url}: Connection refused."


def test_a_failure_of_tls_is_named() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    async def use() -> None:
        async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
            await collect(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}",
                          read_json_lines)

    with pytest.raises(ConnectFailed) as caught:
        asyncio.run(use())
    assert "SSL" in caught.value.message


@pytest.mark.parametrize("url",
                         ["http://", "ftp://127.0.0.1", "http://[::1", "127.0.0.1:1",
                          "http://127.0.0.1:x"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ProviderError) as caught:
        asyncio.run(collect(url, read_json_lines))
    assert "base-url" in caught.value.hint


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_refused_and_no_key_goes_along(status: int) -> None:
    with FakeServer(json_answer({})) as other:
        moved = text_answer("", status, {"Location": other.url + "/x"})
        with FakeServer(moved) as server, pytest.raises(BadResponse) as caught:
            asyncio.run(collect(server.url, read_json_lines,
                                headers={"authorization": "Bearer secret"}))
    assert caught.value.status == status and other.connections == 0
    assert f"redirects to {other.url}/x ({status})" in caught.value.message
    assert server.requests[0].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize(("place", "shown"), [
    ("https://user:secret@sso.example/login?token=secret#x", "https://sso.example/login"),
    ("/elsewhere", "/elsewhere"), ("http://[::1", "redirects elsewhere"),
    (None, "instead of an answer")])
def test_where_a_redirect_leads(place: str | None, shown: str) -> None:
    moved = text_answer("", 302, {} if place is None else {"Location": place})
    with FakeServer(moved) as server, pytest.raises(BadResponse) as caught:
        asyncio.run(collect(server.url, read_json_lines))
    assert shown in caught.value.message and "secret" not in caught.value.message


@pytest.mark.parametrize("key", ["se\ncret", "se\u2019cret", "secret\x00"])
def test_a_key_that_http_cannot_carry_is_not_quoted(key: str) -> None:
    with pytest.raises(AuthFailed) as caught:
        asyncio.run(collect("http://127.0.0.1:1", read_json_lines,
                            headers={"authorization": f"Bearer {key}"}))
    assert "cret" not in caught.value.message + caught.value.hint


def test_an_error_status_goes_through_the_mapper() -> None:
    with pytest.raises(RateLimited) as caught:
        ask(text_answer("slow down", 429, {"Retry-After": "3"}))
    assert (caught.value.message, caught.value.retry_after, caught.value.status) == ("slow down",
                                                                                     3.0, 429)


def test_a_broken_error_body_does_not_hide_the_status() -> None:
    with pytest.raises(RateLimited) as caught:
        ask(Answer([b"slow", Pause(0.02), Reset()], 429))
    assert caught.value.message == "slow"


def test_an_endless_error_body_is_cut() -> None:
    with pytest.raises(RateLimited) as caught:
        ask(Answer([b"x" * 60_000] * 40, 429))
    assert len(caught.value.message) == transport.MAX_ERROR_BODY


def test_loopback_is_not_sent_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert ask(json_answer({"a": 1})) == [{"a": 1}]


def test_an_unusable_proxy_setting_is_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "nonsense://x")
    with pytest.raises(ProviderError) as caught:
        transport.open_client(Endpoint("http://example.org"))
    assert "ALL_PROXY" in caught.value.hint


@pytest.mark.parametrize(("url", "expected"), [
    ("http://localhost:1/v1", True), ("http://LOCALHOST", True), ("http://api.localhost.", True),
    ("http://127.9.9.9:8", True),
    ("http://[::1]:1", True), ("http://0.0.0.0:1", True), ("http://[::]:1", True),
    ("http://[::ffff:127.0.0.1]", True),
    ("http://127.0.0.1.example.org", False), ("https://example.org", False),
    ("http://10.0.0.1", False), ("", False),
    ("http://[::1", False),
])
def test_is_loopback(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


@pytest.mark.parametrize("packed", [False, True])
def test_a_document_without_an_end_is_not_read_to_it(packed: bool) -> None:
    blank = b" " * 60_000
    steps, headers = ([gzip.compress(blank * 2000)] if packed else [blank] * 50_000,
                      {"Content-Encoding": "gzip"} if packed else {})

    async def fetch(url: str) -> Any:
        endpoint = Endpoint(url, host="fake", longest=1 << 20)
        async with transport.open_client(endpoint) as client:
            return await transport.fetch_json(client, endpoint, "/m", refused)
    tracemalloc.start()
    with (FakeServer(Answer(steps, 200, headers, "application/json")) as server,
          pytest.raises(BadResponse)):
        tracemalloc.reset_peak()
        asyncio.run(fetch(server.url))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


def test_fetch_json() -> None:
    async def fetch(url: str) -> Any:
        endpoint = Endpoint(url)
        async with transport.open_client(endpoint) as client:
            return await transport.fetch_json(client, endpoint, "/m", refused)

    with FakeServer([json_answer({"a": 1}), text_answer("<html>")]) as server:
        assert asyncio.run(fetch(server.url)) == {"a": 1}
        with pytest.raises(BadResponse):
            asyncio.run(fetch(server.url))
    assert (server.requests[0].method, server.requests[0].body) == ("GET", b"")


# ---- leaving early

def test_cancelling_closes_the_connection() -> None:
    with FakeServer(Answer([b'{"a":1}\n', Stall()])) as server:
        async def cancelled() -> None:
            task = asyncio.create_task(collect(server.url, read_json_lines))
            await asyncio.to_thread(server.wait_for)
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(server.requests[0].done.wait, 5)
        asyncio.run(cancelled())
    assert server.requests[0].outcome == "client_left"


def test_cancelling_before_the_answer_closes_the_connection() -> None:
    with FakeServer(Answer([Stall()], framing="raw")) as server:
        async def cancelled() -> None:
            task = asyncio.create_task(collect(server.url, read_json_lines))
            await asyncio.to_thread(server.wait_for)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(server.requests[0].done.wait, 5)
        asyncio.run(cancelled())
    assert server.requests[0].outcome == "client_left"


def test_leaving_the_loop_closes_the_connection_and_ends_the_reading_task() -> None:
    with FakeServer(Answer([b'{"a":1}\n', Stall()])) as server:
        async def left() -> None:
            endpoint = Endpoint(server.url)
            async with transport.open_client(endpoint) as client:
                async with transport.exchange(client, endpoint, "/", {}, refused) as response:
                    async with contextlib.aclosing(read_json_lines(response, endpoint)) as batches:
                        async for _ in batches:
                            break
                assert len(asyncio.all_tasks()) == 1
                assert await asyncio.to_thread(server.requests[0].done.wait, 5)
        asyncio.run(left())
    assert server.requests[0].outcome == "client_left"


def test_a_slow_reader_holds_the_server_back() -> None:
    """Read-ahead is limited: 64 MB are not read into memory while the reader handles the first
    line.
    """
    with FakeServer(Answer([b"x" * 1_000_000 + b"\n"] * 64)) as server:
        async def read() -> int:
            endpoint = Endpoint(server.url)
            async with transport.open_client(endpoint) as client:
                async with transport.exchange(client, endpoint, "/", {}, refused) as response:
                    async with contextlib.aclosing(read_lines(response, endpoint)) as batches:
                        async for _ in batches:
                            await asyncio.sleep(0.5)
                            assert not server.requests[0].done.is_set()
                            break
            return 0
        asyncio.run(read())


# ---- joining

def test_neighbours_of_one_part_are_joined() -> None:
    deltas: list[Delta] = [ThinkingDelta("a"), ThinkingDelta("b"), TextDelta("c"), TextDelta("d"),
                           TextDelta("e", 1),
                           TextDelta("f", 1, {"x": {}}), TextDelta("g", 1), ToolCallDelta(0, "i"),
                           TextDelta("h"), Finished("stop")]
    assert list(join_deltas(deltas)) == [
        ThinkingDelta("ab"), TextDelta("cd"), TextDelta("e", 1), TextDelta("f", 1, {"x": {}}),
        TextDelta("g", 1),
        ToolCallDelta(0, "i"), TextDelta("h"), Finished("stop")]


def test_joining_loses_nothing_to_an_error() -> None:
    def failing() -> Any:
        yield TextDelta("a")
        yield TextDelta("b")
        raise StreamBroken("over")

    got: list[Delta] = []
    with pytest.raises(StreamBroken):
        for delta in join_deltas(failing()):
            got.append(delta)
    assert got == [TextDelta("ab")]


@pytest.mark.parametrize(("headers", "expected"), [
    ({}, None), ({"retry-after": "7"}, 7.0), ({"retry-after": "0.5"}, 0.5),
    ({"retry-after": "-3"}, 0.0),
    ({"retry-after": "soon"}, None), ({"retry-after": "inf"}, None), ({"retry-after": "nan"}, None),
    ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
    ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
    ({"retry-after-ms": "inf"}, None), ({"retry-after": "Thu, 01 Jan 1970 00:01:00 GMT"}, 60.0),
    ({"retry-after": "Wed, 31 Dec 1969 00:01:00 GMT"}, 0.0),
])
def test_retry_after(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after(headers, now=0.0) == expected


def test_the_fake_server_repeats_its_last_answer() -> None:
    with FakeServer([json_answer({"n": 1}), json_answer({"n": 2})]) as server:
        results = [asyncio.run(collect(server.url, read_json_lines)) for _ in range(3)]
    assert results == [[{"n": 1}], [{"n": 2}], [{"n": 2}]]


@pytest.mark.parametrize(("cause", "url", "again"), [
    (ConnectionRefusedError(111, "x"), "http://127.0.0.1:1", False),
    (ConnectionRefusedError(111, "x"), "http://192.0.2.1", True),
    (socket.gaierror(-2, "Name or service not known"), "http://nowhere.invalid", False),
    (OSError(113, "x"), "http://192.0.2.1", True)])
def test_what_does_not_heal_is_not_asked_again(cause: OSError, url: str, again: bool) -> None:
    with pytest.raises(ConnectFailed) as caught:
        with transport._named_failures(Endpoint(url)):
            raise NoConnection("all failed") from cause
    assert caught.value.retryable is again and "Errno" not in caught.value.message


def test_a_connection_that_ends_early_is_told_in_words() -> None:
    with pytest.raises(StreamBroken,
                       match="the server closed the connection in the middle of its answer"):
        ask(Answer([b'{"a":1}\n', Cut()]))


@pytest.mark.parametrize("said, sent", [
    ("a\x00b", "a\ufffdb"), ("a\\u0000b", "a\\u0000b"), ("\\\x00", "\\\ufffd"),
    ("\\\\u0000\x00", "\\\\u0000\ufffd"),
    ("\ud800\x00", "\ufffd\ufffd"), ("\ud83d\ude00", "\U0001f600")])
def test_what_a_strict_server_refuses_is_replaced_on_the_wire(said: str, sent: str) -> None:
    with FakeServer(json_answer({"data": []})) as server:
        with contextlib.suppress(ProviderError):      # what it answers does not matter here
            run_provider("openai", server.url, lambda provider: provider.embed("m", [said]))
        assert server.requests[0].json["input"] == [sent]
