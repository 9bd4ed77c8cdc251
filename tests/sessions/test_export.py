"""Exports, read by the programs they are made for: json, csv, sqlite3 and psql."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import sqlite3
import subprocess
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal

import pytest

from core.config.formats import FORMATS
from core.errors import SessionNotFound, StoreFull, UsageError
from core.messages import (Image, Message, Text, Thinking, ToolCall, ToolResult, Usage,
                           tool_message, user_message)
from core.sessions.export import EXPORTERS, export_session, exporter, fenced, harmless_cell
from core.sessions.portable import local_time
from core.store.message_json import message_from_dict
from core.store.identity import new_message_id
from core.store.rows import SessionRow, StoredMessage
from core.store.text import from_database
from db import Store, open_store
from tests import postgres

NASTY = ("it's \\ 'q' \"d\" ;\n-- x\n\\! \\i :name $$ \0 \ud800 \x1a0000 \u4e2d \U0001f600 ```` "
         "\r\n<script>")
WHOLE = (
    Message("system", (Text("be kind"),)),
    user_message(NASTY, (Image("image/png", "AAAA", "a.png"),)),
    Message("assistant", (Thinking("hm\nhm", {"anthropic": {"signature": "\ud83d"}}), Text("=1+1"),
                          ToolCall("1", "look", {"a": NASTY}),
                          ToolCall("2", "look", {}, "{broken")),
            "demo/m", Usage(1, 2, None, {"s": 0.5}), "tool_calls"),
    tool_message((ToolResult("1", "look", "@SUM(1)"), ToolResult("2", "look", "no", True))),
    Message("assistant", (Text("half"),), "demo/m", None, "interrupted"),
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(str(tmp_path / "s.db"))
    store.create_session("20260101-1000-abcd", "=cmd's\n\0 title", "demo/m", 1000.5)
    for message in WHOLE:
        state: Literal["interrupted", "complete"] = ("interrupted" if message.finish
                                                     == "interrupted" else "complete")
        store.add_message("20260101-1000-abcd", new_message_id(), message, state)
    yield store
    store.close()


def exported(store: Store, format: str, *, raw_csv: bool = False) -> str:
    pieces: list[str] = []
    assert export_session(store, "abcd", format, write=pieces.append,
                          raw_csv=raw_csv) == "20260101-1000-abcd"
    text = "".join(pieces)
    text.encode()
    return text


def test_every_format_is_an_exporter() -> None:
    assert set(EXPORTERS) == set(FORMATS)
    assert all(write.__doc__ for write in EXPORTERS.values())


def test_json_is_lossless(store: Store) -> None:
    whole = json.loads(exported(store, "json"))
    assert tuple(message_from_dict(row) for row in whole["messages"]) == WHOLE
    assert (whole["id"], whole["title"], whole["created"]) == ("20260101-1000-abcd",
                                                               "=cmd's\n\0 title", 1000.5)
    assert [row["state"] for row in whole["messages"]] == ["complete"] * 4 + ["interrupted"]


def test_an_empty_session_is_exported(store: Store) -> None:
    store.create_session("empty", "", "", 1.0)
    for format in FORMATS:
        pieces: list[str] = []
        export_session(store, "empty", format, write=pieces.append)
        assert format != "json" or json.loads("".join(pieces))["messages"] == []


def test_csv_runs_nothing(store: Store) -> None:
    made = exported(store, "csv").encode()
    assert made.count("\ufeff".encode()) == 1      # at its start, where Excel looks for it
    rows = list(csv.reader(io.StringIO(made.decode("utf-8-sig"), newline=""), strict=True))
    raw = list(csv.reader(io.StringIO(exported(store, "csv", raw_csv=True), newline=""),
                          strict=True))
    assert [row[6] for row in rows] == ["kind", "text", "text", "image", "thinking", "text",
                                        "tool_call", "tool_call",
                                        "tool_result", "tool_error", "text"]
    assert {len(row) for row in rows} == {9}
    assert (rows[5][8], rows[8][8], raw[5][8], raw[8][8]) == ("'=1+1", "'@SUM(1)", "=1+1",
                                                              "@SUM(1)")
    assert raw[2][8] == NASTY.replace("\ud800", "\ufffd")
    assert not [cell for row in rows for cell in row if cell.lstrip()[:1] in tuple("=+-@\t\r")]


ZONES = ("UTC", "CET-1CEST,M3.5.0,M10.5.0/3", "NST3:30NDT,M3.2.0,M11.1.0", "<+0545>-5:45",
         "<+14>-14", "<-12>12", "LHST-10:30LHDT-11,M10.1.0,M4.1.0")
CLOCKS_BACK = 1_792_890_000     # 25 October 2026, 03:00 in Berlin, which becomes 02:00


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def choose(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()
    yield choose
    monkeypatch.undo()
    time.tzset()


def test_no_two_moments_look_the_same(zone: Callable[[str], None]) -> None:
    seed = int(os.environ.get("STREAM_CHAT_TEST_SEED") or random.randrange(1 << 32))
    print(f"STREAM_CHAT_TEST_SEED={seed}")
    chance = random.Random(seed)
    for name in ZONES:
        zone(name)
        moments = [CLOCKS_BACK + chance.randrange(-7_200, 7_200) for _ in range(20)]
        moments += [chance.randrange(4_000_000_000) for _ in range(100)]
        assert [datetime.fromisoformat(local_time(moment)).timestamp()
                for moment in moments] == moments
    assert local_time(-1e300) and local_time(1e300)


@pytest.mark.parametrize("form", ["csv", "html"])
def test_the_hour_that_is_repeated_in_autumn(form: str, zone: Callable[[str], None]) -> None:
    zone("CET-1CEST,M3.5.0,M10.5.0/3")
    times = [CLOCKS_BACK - 1_800.0, CLOCKS_BACK + 1_800.0]
    session = SessionRow("1", "20261025-0230-abcd", "t", "demo/m", times[0], times[1], 2)
    made = "".join(EXPORTERS[form](session, [
        StoredMessage(number, user_message("x"), "complete", True, moment)
        for number, moment in enumerate(times, 1)]))
    shown = re.findall(r"2026-10-25[T ]02:30:00[+]0[12]:00", made)[-2:]
    assert [datetime.fromisoformat(each).timestamp() for each in shown] == times


@pytest.mark.parametrize("cell",
                         ["=1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", " =1", "\u00a0=1",
                          "\uff1d1", "|x", "%x", "\0=1"])
def test_dangerous_cells(cell: str) -> None:
    assert harmless_cell(cell) == "'" + cell


def test_harmless_cells_stay() -> None:
    assert [harmless_cell(cell) for cell in ("", "a=1", " ", "1-2")] == ["", "a=1", " ", "1-2"]


def test_text_and_markdown(store: Store) -> None:
    text, markdown = exported(store, "text"), exported(store, "markdown")
    assert ("[You]\nit's" in text and "(tool call look) {" in text
            and "[Assistant (demo/m)] - interrupted\nhalf" in text)
    assert ("## You\n\nit's" in markdown and "> hm\n> hm" in markdown
            and "*(image a.png)*" in markdown)
    assert fenced("a ```` b") == "`````\na ```` b\n`````"


def expected_rows() -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in WHOLE]


def test_sql_loads_into_sqlite(store: Store, tmp_path: Path) -> None:
    database = sqlite3.connect(":memory:")
    for _ in range(2):
        database.executescript(exported(store, "sql"))
    assert (database.execute("SELECT id, created FROM sessions").fetchall()
            == [("20260101-1000-abcd", 1000.5)])
    rows = database.execute("SELECT role, text FROM messages ORDER BY position").fetchall()
    assert [(role, from_database(text)) for role, text in rows] == expected_rows()


def test_sql_loads_into_postgresql(store: Store, postgres_url: str) -> None:
    import psycopg
    url = postgres.new_database(postgres_url)
    psql = os.path.join(postgres.binaries() or "", "psql")
    for _ in range(2):
        done = subprocess.run([psql, "-X", "-q", "-v", "ON_ERROR_STOP=1", url],
                              input=exported(store, "sql"), text=True,
                              encoding="utf-8", capture_output=True, timeout=60)
        assert (done.returncode,
                [line for line in done.stderr.splitlines() if "NOTICE" not in line]) == (0, [])
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT role, text FROM messages ORDER BY position").fetchall()
        assert [(role, from_database(text)) for role, text in rows] == expected_rows()


# ---- files

def test_a_file_is_written_whole(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "out.md"
    target.write_text("old")
    export_session(store, "abcd", "markdown", str(target))
    assert target.read_text(encoding="utf-8").endswith("half\n")
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_a_failing_export_leaves_the_old_file(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.write_text("old")

    def broken(session: SessionRow, messages: Sequence[StoredMessage]) -> Iterator[str]:
        yield "new"
        raise ZeroDivisionError
    exporter("broken")(broken)
    try:
        with pytest.raises(ZeroDivisionError):
            export_session(store, "abcd", "broken", str(target))
    finally:
        del EXPORTERS["broken"]
    assert target.read_text() == "old" and {path.name for path in tmp_path.iterdir()} >= {"out"}
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_places_that_cannot_be_written(store: Store, tmp_path: Path) -> None:
    for place, error in ((tmp_path / "none" / "x", UsageError), (tmp_path, UsageError),
                         (Path("/dev/full"), StoreFull),
                         (Path("/proc/x"), UsageError), (tmp_path / "s.db" / "x", StoreFull)):
        with pytest.raises(error) as caught:
            export_session(store, "abcd", "json", str(place))
        assert str(place) in caught.value.message and caught.value.hint


def test_a_device_can_be_the_output(store: Store) -> None:
    export_session(store, "abcd", "json", os.devnull)
    assert not os.path.isfile(os.devnull)


def test_unknown_names(store: Store) -> None:
    with pytest.raises(UsageError) as caught:
        export_session(store, "abcd", "pdf")
    assert all(format in caught.value.hint for format in FORMATS)
    with pytest.raises(SessionNotFound):
        export_session(store, "zzzz", "json")


def test_the_memory_of_an_export_does_not_grow_with_the_session(store: Store,
                                                                tmp_path: Path) -> None:
    for place in range(120):
        store.add_message("20260101-1000-abcd", new_message_id(),
                          user_message(f"{place}" + "-" * 100_000), "complete")
    target = tmp_path / "out"
    for format in ("json", "jsonl", "markdown", "csv", "sql"):
        tracemalloc.start()
        try:
            export_session(store, "abcd", format, str(target))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert target.stat().st_size > 12_000_000 > 2 * peak, format
