"""Databases, earlier chats, pages, commands and documents as context:
real SQLite, PostgreSQL and loopback servers.
"""

from __future__ import annotations

import asyncio
import http.server
import io
import sqlite3
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from core.context_loader import (ContextError, ContextSet, Prepared, load_context_from_database,
                                 plan_budget)
from core.messages import Message, Text, user_message
from core.store.identity import new_message_id
from db import Store, open_store
from tests import postgres


async def agree(command: str) -> bool:
    return True


async def refuse(command: str) -> bool:
    return False


def load(root: Path, source: str, question: str = "", **options: object) -> Prepared:
    async def go() -> Prepared:
        # keyword arguments of one call each
        context = ContextSet(root=str(root), **options)  # type: ignore[arg-type]
        await context.add(source)
        return await context.prepare(question, plan_budget(32_768))
    return asyncio.run(go())


def refused(root: Path, source: str, **options: object) -> str:
    with pytest.raises(ContextError) as caught:
        load(root, source, **options)
    assert caught.value.exit_code == 2
    return caught.value.message


# ---- SQLite

@pytest.fixture
def shop(tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE orders (id integer primary key, customer text, "
                           "total real)")
        rows = [("Ada", 12.5), ("Bo, Jr.", 7.0), ("Cy", None)]
        connection.executemany("INSERT INTO orders (customer, total) VALUES (?, ?)", rows)
        connection.execute('CREATE TABLE "odd ""name" (x)')
    connection.close()
    return tmp_path


@pytest.mark.processes
def test_a_table_and_a_query(shop: Path) -> None:
    block = load(shop, "sqlite:///shop.db?table=orders").block
    assert 'id,customer,total\n1,Ada,12.5\n2,"Bo, Jr.",7.0\n3,Cy,NULL\n[3 rows]' in block
    assert ("customer\nAda\n[1 rows]"
            in load(shop, "sqlite:///shop.db?query=SELECT customer FROM orders WHERE id = 1").block)
    assert "[0 rows]" in load(shop, 'sqlite:///shop.db?table=odd "name').block
    assert "Ada" in load_context_from_database(
        f"sqlite:///{shop}/shop.db?table=orders").items[0].text  # type: ignore[operator]


@pytest.mark.parametrize(("source", "reason"), (
    ("sqlite:///shop.db?table=nothing", "there is no table nothing; tables: odd \"name, orders"),
    ("sqlite:///gone.db?table=orders", "there is no such file"),
    ("sqlite:///note.txt?table=orders", "is not an SQLite database"),
    ("sqlite:///shop.db?query=DELETE FROM orders", "Only reading"),
    ("sqlite:///shop.db?query=SELECT 1; DROP TABLE orders", "one statement at a time"),
    ("sqlite:///shop.db?query=ATTACH 'x.db' AS x", "Only reading"),
    ("sqlite:///shop.db?query=SELECT absent FROM orders", "no such column"),
))
@pytest.mark.processes
def test_queries_that_fail(shop: Path, source: str, reason: str) -> None:
    (shop / "note.txt").write_text("not a database")
    assert reason in refused(shop, source)
    assert "Ada" in load(shop, "sqlite:///shop.db?table=orders").block
    assert not (shop / "x.db").exists()


@pytest.mark.processes
def test_rows_are_bounded(shop: Path) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
    result = load(shop, f"sqlite:///shop.db?query={endless}", "4999")
    assert any("there are more rows than these" in note for note in result.notes)


# ---- PostgreSQL

@pytest.fixture(scope="module")
def server(postgres_url: str) -> str:
    import psycopg
    url = postgres.new_database(postgres_url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA sales")
        connection.execute("CREATE TABLE sales.orders (id int, customer text)")
        connection.execute("INSERT INTO sales.orders SELECT n, 'customer ' || n FROM "
                           "generate_series(1, 20) n")
    postgres.reader_url(url)
    return url


@pytest.fixture
def read_only(server: str) -> str:
    """The address of a role that may only read."""
    return server.replace("//chat@", "//reader@")


def test_a_postgresql_table(read_only: str, tmp_path: Path) -> None:
    server = read_only
    result = load(tmp_path, f"{server}?table=sales.orders", "who is customer 7?")
    assert "id,customer\n1,customer 1\n" in result.block and "[20 rows]" in result.block
    assert "count\n20\n" in load(tmp_path,
                                 f"{server}?query=SELECT count(*) FROM sales.orders").block


@pytest.mark.parametrize("query",
                         ("DELETE FROM sales.orders",
                          "WITH d AS (DELETE FROM sales.orders RETURNING 1) SELECT * FROM d",
                          "SELECT 1; DROP TABLE sales.orders", "SELECT pg_read_file('/etc/passwd')",
                          "SELECT nothing"))
def test_postgresql_is_only_read(read_only: str, tmp_path: Path, query: str) -> None:
    server = read_only
    assert refused(tmp_path, f"{server}?query={query}")
    assert "[20 rows]" in load(tmp_path, f"{server}?table=sales.orders").block


@pytest.mark.parametrize("rows", (4_999, 5_000, 5_001, 2_000_000))
def test_more_rows_than_are_taken_end(read_only: str, tmp_path: Path, rows: int) -> None:
    result = load(tmp_path, f"{read_only}?query=SELECT i FROM generate_series(1, {rows}) i", "4999")
    assert any("there are more rows than these" in note for note in result.notes) is (rows > 5_000)


def test_a_superuser_is_refused_unless_you_insist(server: str, tmp_path: Path) -> None:
    assert "so it can do more than read" in refused(tmp_path, f"{server}?table=sales.orders")
    assert "[20 rows]" in load(tmp_path, f"{server}?allow_superuser=yes&table=sales.orders").block


def test_no_server_and_no_table(server: str, tmp_path: Path) -> None:
    reader = server.replace("//chat@", "//reader@")
    assert 'relation "gone" does not exist' in refused(tmp_path, f"{reader}?table=gone")
    message = refused(tmp_path,
                      f"postgresql://me:secret@127.0.0.1:{postgres.free_port()}/x?table=t")
    assert "secret" not in message


@pytest.mark.processes
def test_any_other_database_needs_its_package(tmp_path: Path) -> None:
    try:
        import sqlalchemy  # noqa: F401
    except ImportError:
        assert "sqlalchemy" in refused(tmp_path, "mysql://host/shop?table=orders")


# ---- earlier chats

@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(str(tmp_path / "sessions.db"))
    for number in range(5):
        name = f"2026111{number}-0900-abc{number}"
        opened.create_session(name, f"chat {number}", "demo/m", 1_000.0 + number)
        talk = [user_message(f"question about topic{number}"),
                Message("assistant", (Text(f"answer{number} for it"),))]
        if number == 2:
            talk += [user_message("the Pool leaks"),
                     Message("assistant", (Text("close it: pool.dispose()"),)),
                     user_message("thanks"),
                     Message("assistant", (Text("you are welcome"),))]
        for message in talk:
            opened.add_message(name, new_message_id(), message, "complete")
            time.sleep(0.002)   # message ids sort by the millisecond
    yield opened
    opened.close()


def test_all_earlier_chats(store: Store, tmp_path: Path) -> None:
    result = load(tmp_path, "db", store=store, session="20261114-0900-abc4")
    assert [name for name in result.included] == [f"session 2026111{number}-0900-abc{number}"
                                                  for number in (3, 2, 1, 0)]
    assert "user: question about topic1\n\nassistant: answer1 for it" in result.block
    assert "topic4" not in result.block


def test_one_by_its_id(store: Store, tmp_path: Path) -> None:
    assert load(tmp_path, "db:20261112", store=store).included == ("session 20261112-0900-abc2",)
    assert load(tmp_path, "db:abc3", store=store).included == ("session 20261113-0900-abc3",)
    store.add_message("20261110-0900-abc0", new_message_id(),
                      user_message("words with 2026 in them"), "complete")
    assert "could be several sessions" in refused(tmp_path, "db:2026", store=store)
    assert "There is no session" in refused(tmp_path, "db:zzz", store=store)


@pytest.mark.parametrize("source", ('db:"pool leaks"', "db:pool leaks", "db:Leaks"))
def test_words_in_earlier_chats(store: Store, tmp_path: Path, source: str) -> None:
    block = load(tmp_path, source, store=store).block
    assert "user: the Pool leaks\n\nassistant: close it: pool.dispose()" in block
    assert "assistant: answer2 for it" in block and "welcome" not in block
    assert 'session="session 20261112-0900-abc2"' in block


def test_no_chats(tmp_path: Path) -> None:
    assert "--no-save" in refused(tmp_path, "db")
    empty = open_store(str(tmp_path / "empty.db"))
    assert "there are no earlier sessions" in refused(tmp_path, "db", store=empty)
    assert "no earlier message" in refused(tmp_path, 'db:"words"', store=empty)
    empty.close()


def test_words_in_chats_kept_in_postgresql(server: str, tmp_path: Path) -> None:
    opened = open_store(server, share=True)
    opened.create_session("20261101-1000-zzzz", "t", "demo/m", 1.0)
    opened.add_message("20261101-1000-zzzz", new_message_id(), user_message("the zebra's crossing"),
                       "complete")
    assert "the zebra's crossing" in load(tmp_path, 'db:"zebra cross"', store=opened).block
    opened.close()


# ---- commands

@pytest.mark.processes
def test_a_command_is_asked_for_first(tmp_path: Path) -> None:
    assert "needs your consent" in refused(tmp_path, "!touch made")
    assert "needs your consent" in refused(tmp_path, "!touch made", ask=refuse)
    assert not (tmp_path / "made").exists()
    (tmp_path / "made").write_text("x")
    assert ">\nmade\n<" in load(tmp_path, "!ls", ask=agree).block


@pytest.mark.processes
def test_commands_that_fail(tmp_path: Path) -> None:
    assert "printed nothing and ended with 3" in refused(tmp_path, "!exit 3", ask=agree)
    assert "ended with 127" in load(tmp_path, "!no-such-command-here", ask=agree).block
    assert "was stopped; only the first and last 2 MB" in load(tmp_path, "!yes", "y",
                                                               ask=agree).notes[0]


@pytest.mark.processes
def test_a_long_output_is_kept_from_both_ends(tmp_path: Path) -> None:
    """The last lines, which are the newest, are kept.

    The note of what is missing reaches the model and the user.
    """
    context = ContextSet(root=str(tmp_path), ask=agree)
    assert asyncio.run(context.add("!seq 1 2000000; exit 3")) == []
    item, = context.items
    lines = (item.text or "").split("\n")
    assert (lines[0] == "1" and lines[-2] == "2000000"
            and any("bytes are left out here" in line for line in lines))
    assert item.note == "ended with 3; only the first and last 2 MB of its output were read"


@pytest.mark.processes
def test_a_command_can_be_stopped(tmp_path: Path) -> None:
    async def go() -> None:
        context = ContextSet(root=str(tmp_path), ask=agree)
        task = asyncio.create_task(context.add("!sleep 60"))
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    started = time.monotonic()
    asyncio.run(go())
    assert time.monotonic() - started < 20   # the thread has ended too: run() waits for it


# ---- pages

PAGE = ("<html><head><title>Tides</title><script>x()</script></head><body><p>High water at "
        "7.</p></body></html>")


class _Pages(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/gone" else 200)
        self.send_header("Content-Type",
                         "image/png" if self.path == "/picture" else "text/html; charset=utf-8")
        self.end_headers()
        if self.path == "/endless":
            try:
                while True:
                    self.wfile.write(b"<p>" + b"word " * 10_000)
            except OSError:
                return
        self.wfile.write(PAGE.encode())

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def pages() -> Iterator[str]:
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_address[1]}"
    finally:
        made.shutdown()
        made.server_close()


def test_pages(tmp_path: Path) -> None:
    with pages() as where:
        block = load(tmp_path, f"{where}/tides").block
        assert (f'page="{where}/tides"' in block and "Title: Tides\nHigh water at 7." in block
                and "x()" not in block)
        assert "404" in refused(tmp_path, f"{where}/gone")
        assert "not text" in refused(tmp_path, f"{where}/picture")
        assert "only its first 4 MB were read" in load(tmp_path, f"{where}/endless",
                                                       "word").notes[0]
    assert "127.0.0.1" in refused(tmp_path, f"{where}/tides")


# ---- documents

def office(parts: dict[str, str]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return made.getvalue()


A = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
S = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
SHEET = f'<w {S}><sheetData><row><c t="s"><v>0</v></c><c><v>4.5</v></c></row></sheetData></w>'
T = 'xmlns:t="urn:oasis:names:tc:opendocument:xmlns:text:1.0"'


@pytest.mark.parametrize(("name", "parts", "shown"), (
    ("talk.pptx", {"ppt/slides/slide10.xml": f"<s {A}><a:p><a:r><a:t>last</a:t></a:r></a:p></s>",
                   "ppt/slides/slide2.xml": f"<s {A}><a:p><a:r><a:t>Hello</a:t></a:r><a:r><a:t> "
                   "you</a:t></a:r></a:p></s>"},
     "[slide 1]\nHello you\n[slide 2]\nlast"),
    ("sums.xlsx", {"xl/sharedStrings.xml": f"<sst {S}><si><t>name</t></si></sst>",
                   "xl/worksheets/sheet1.xml": SHEET},
     "[sheet 1]\nname | 4.5"),
    ("letter.odt",
     {"content.xml": f"<o {T}><t:h>Dear</t:h><t:p>all of <t:span>you</t:span></t:p></o>"},
     "Dear\nall of you"),
))
@pytest.mark.processes
def test_office_documents(tmp_path: Path, name: str, parts: dict[str, str], shown: str) -> None:
    (tmp_path / name).write_bytes(office(parts))
    assert shown in load(tmp_path, name).block


@pytest.mark.processes
def test_documents_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bomb.pptx").write_bytes(_bomb())
    (tmp_path / "broken.xlsx").write_bytes(b"no zip")
    (tmp_path / "empty.odt").write_bytes(office({"content.xml": f"<o {T}/>"}))
    assert "bomb.pptx: is damaged or protected" in refused(tmp_path, "bomb.pptx")
    assert "broken.xlsx: is damaged or protected" in refused(tmp_path, "broken.xlsx")
    assert "contains no text" in refused(tmp_path, "empty.odt")


def _bomb() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ppt/slides/slide1.xml", b" " * (80 << 20))
    return made.getvalue()


def _deflated(name: str, text: str) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return made.getvalue()


@pytest.mark.parametrize(("name", "part", "begin", "unit", "end"), (
    ("a.xlsx", "xl/worksheets/sheet1.xml", f"<w {S}><row><c><v>one</v></c></row><row>", "<c/>",
     "</row></w>"),
    ("a.pptx", "ppt/slides/slide1.xml", f"<s {A}><a:p><a:t>one</a:t></a:p><a:p>", "<a:x/>",
     "</a:p></s>"),
    ("a.odt", "content.xml", f"<o {T}><t:p>one</t:p>", "<t:x/>", "</o>"),
))
@pytest.mark.processes
def test_documents_of_millions_of_elements_take_little_memory(
        tmp_path: Path, name: str, part: str, begin: str, unit: str, end: str) -> None:
    (tmp_path / name).write_bytes(_deflated(part, begin + unit * 2_100_000 + end))
    loads: list[Prepared] = []
    tracked = _peak_growth(lambda: loads.append(load(tmp_path, name)))
    assert "one" in loads[0].block and any("only its first" in note for note in loads[0].notes)
    assert tracked < 120 << 10   # KiB; a tree of them takes 280 MB


def _peak_growth(work: Callable[[], object]) -> int:
    import resource
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


@pytest.mark.processes
def test_one_long_text_in_very_many_cells(tmp_path: Path) -> None:
    cells = '<c t="s"><v>0</v></c>' * 20_000
    (tmp_path / "a.xlsx").write_bytes(office({
        "xl/sharedStrings.xml": f"<sst {S}><si><t>{'word ' * 20_000}</t></si></sst>",
        "xl/worksheets/sheet1.xml": f"<w {S}><sheetData><row>{cells}</row></sheetData></w>"}))
    assert any("only its first" in note for note in load(tmp_path, "a.xlsx").notes)


@pytest.mark.processes
def test_pdf_and_word_need_their_packages(tmp_path: Path) -> None:
    for name, package in (("a.pdf", "pypdf"), ("a.docx", "docx")):
        (tmp_path / name).write_bytes(b"%PDF-1.4")
        try:
            __import__(package)
        except ImportError:
            assert "requirements-docs.txt" in refused(tmp_path, name)
        else:
            assert "is damaged or protected" in refused(tmp_path, name)
