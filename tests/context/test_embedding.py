"""Choosing context by meaning: ranking, requests, caching, and that no failure stops a
conversation.
"""

from __future__ import annotations

import array
import asyncio
import math
import re
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from core.chat.conversation import Chat
from core.config import Settings
from core.context.embedding import Embedder, Limits, digest_of, packed, unpacked
from core.context.search import Spot, fuse_spots
from core.errors import StoreBusy, StoreFull
from core.events import Event, MessageAdded, Notice
from core.messages import user_message
from core.model_manager import Providers, build_model_list
from core.session_manager import Session
from core.store.sqlite.store import SqliteStore
from db import Store
from tests.fake_server import Answer, Pause, Received, Stall, json_answer, text_answer
from tests.meanings import FILES, QUESTION, Meanings, make_files
from tests.pseudo_terminal import CTRL_C, Terminal

Environment = dict[str, str]
ALONE = "The context is ranked by words alone, without the embeddings of "


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "work"
    for name, text in make_files("help").items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(place)
    return place


@pytest.fixture
def server() -> Iterator[Meanings]:
    with Meanings(models=("echo", "embed")) as opened:
        yield opened


def open_chat(server: Meanings, store: Store | None = None, **values: Any) -> Chat:
    settings = Settings({"model": "ollama/echo", "ollama_host": server.url, "num_ctx": 4096,
                         "retry_initial_delay": 0.0,
                         "save": store is not None, "embedding_model": "ollama/embed", **values})
    return Chat(settings, Session(store), Providers(settings), build_model_list(settings)[0],
                open_session=lambda name: Session(store))


async def attach(chat: Chat, limits: Limits) -> None:
    await chat.attach("help")
    assert chat.context.embedder is not None
    chat.context.embedder.limits = limits


async def ask(chat: Chat, text: str = QUESTION) -> list[str]:
    """The notices of a turn, which must get an answer."""
    events: list[Event] = [event async for event in chat.turn(user_message(text))]
    assert (isinstance(events[-1], MessageAdded)
            or any(isinstance(event, MessageAdded) for event in events))
    return [event.text for event in events if isinstance(event, Notice)]


async def ask_once(chat: Chat, *questions: str, limits: Limits = Limits()) -> list[list[str]]:
    await attach(chat, limits)
    told = [await ask(chat, question) for question in questions or (QUESTION,)]
    await chat.close()
    return told


def taken(chat: Chat) -> list[str]:
    return [item.name for item in chat.context.items if item.included]


# ---- in the whole program

def run(program: list[str], arguments: list[str], environment: Environment, cwd: Path) -> str:
    done = subprocess.run([*program, *arguments], env=environment, cwd=cwd,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_words_alone_choose_the_wrong_file_and_a_second_run_asks_for_nothing(
        server: Meanings, program: list[str], environment: Environment, folder: Path) -> None:
    environment |= {"OLLAMA_HOST": server.url, "STREAM_CHAT_MODEL": "echo"}
    asked = ["--num-ctx", "4096", "--context", "help", QUESTION]
    line = run(program, asked, environment, folder)
    assert (re.match(r"context: 1 of 4 files.* left out: .*help/access.txt", line)
            and not server.texts())
    environment["STREAM_CHAT_EMBEDDING_MODEL"] = "ollama/embed"
    line = run(program, asked, environment, folder)
    assert (re.match(r"context: \d of 4 files", line) and "help/access.txt" not in line
            and ALONE not in line)
    texts = server.texts()
    assert texts[0] == QUESTION and len(texts) == len(set(texts)) >= 5
    assert run(program, asked, environment, folder) == line and server.texts() == texts
    (folder / "help" / "new.txt").write_text("A new file.\n", encoding="utf-8")
    run(program, [*asked[:-1], "what else?"], environment, folder)
    assert sorted(server.texts()[len(texts):]) == ["A new file.", "what else?"]
    database = sqlite3.connect(folder.parent / "home" / ".local/share/stream-chat/sessions.db")
    assert (database.execute("SELECT DISTINCT model FROM embeddings").fetchall()
            == [("ollama/embed",)])
    assert (database.execute("SELECT count(*) FROM embeddings").fetchone()
            == (len(set(server.texts())),))


def test_without_saving_nothing_is_kept(server: Meanings, program: list[str],
                                        environment: Environment, folder: Path) -> None:
    environment |= {"OLLAMA_HOST": server.url, "STREAM_CHAT_MODEL": "echo"}
    arguments = ["--no-save", "--embedding-model", "ollama/embed", "--num-ctx", "4096", "--context",
                 "help", QUESTION]
    for _ in range(2):
        assert "help/access.txt" not in run(program, arguments, environment, folder)
    assert not (folder.parent / "home" / ".local/share/stream-chat/sessions.db").exists()
    assert len(server.texts()) == 2 * len(set(server.texts()))


# ---- in a chat

def test_a_second_question_asks_for_itself_alone(server: Meanings, folder: Path) -> None:
    async def scenario() -> None:
        chat = open_chat(server)
        await chat.attach("help")
        await ask(chat)
        assert "help/access.txt" in taken(chat) and "help/kitchen.txt" not in taken(chat)
        before = len(server.texts())
        await ask(chat, "where is bread made?")
        assert (server.texts()[before:] == ["where is bread made?"]
                and "help/kitchen.txt" in taken(chat))
        await chat.close()
    asyncio.run(scenario())


def test_what_fits_is_not_compared(server: Meanings, folder: Path) -> None:
    async def scenario() -> None:
        chat = open_chat(server, num_ctx=65536)
        assert ((await ask_once(chat))[0][0].startswith("context: 4 of 4 files")
                and not server.texts())
    asyncio.run(scenario())


def test_only_so_many_pieces_and_in_batches(server: Meanings, folder: Path) -> None:
    async def scenario() -> None:
        await ask_once(open_chat(server), limits=Limits(compared=12, batch=2))
        sizes = [len(request.json["input"])
                 for request in server.requests if request.path == "/api/embed"]
        assert (max(sizes) == 2 and 4 <= sum(sizes) <= 13
                and any("People saw the sign" in text for text in server.texts())), sizes
    asyncio.run(scenario())


def test_pieces_of_a_file_that_is_too_large(server: Meanings, folder: Path) -> None:
    filler = "".join(f"The sea and its waves, part {number}.\n" for number in range(600))
    (folder / "all.txt").write_text(filler + FILES["access.txt"] * 3 + filler, encoding="utf-8")

    async def scenario(chat: Chat) -> str:
        await chat.attach("all.txt")
        await ask(chat)
        await chat.close()
        return chat.context.last.block
    assert "credentials" in asyncio.run(scenario(open_chat(server)))
    assert "credentials" not in asyncio.run(scenario(open_chat(server, embedding_model=None)))


# ---- what goes wrong

class Broken(Meanings):
    """Sends this response to requests for embeddings; None means a correct one."""

    script: Any = None

    def _route(self, request: Received) -> Answer:
        if request.path == "/api/embed" and self.script is not None:
            answer: Answer = self.script(request.json["input"])
            return answer
        return super()._route(request)


def vectors(make: Any) -> Any:
    return lambda texts: json_answer({"embeddings": [make(place) for place, _ in enumerate(texts)]})


@pytest.mark.parametrize(("script", "reason"), [
    (lambda texts: json_answer({"error": 'model "embed" not found, try pulling it first'}, 404),
     "no model 'embed'"),
    (lambda texts: json_answer({"error": "this model does not support embeddings"}, 501),
     "does not support embeddings"),
    (lambda texts: text_answer("404 page not found", 404), "404"),
    (lambda texts: text_answer("not JSON"), ""),
    (lambda texts: json_answer({"embeddings": [[1.0, 2.0]]}), "requested, 1 came"),
    (vectors(lambda place: [1.0] * (2 + place % 2)), "they differ in length"),
    (vectors(lambda place: [float("nan"), 1.0]), "not a number"),
    (vectors(lambda place: ["1", "2"]), "not a number"),
    (lambda texts: Answer((Stall(),)), "no answer within 0.3 s"),
    (lambda texts: json_answer({"error": "boom"}, 500), "boom")])
def test_no_failure_stops_the_conversation(script: Any, reason: str, folder: Path) -> None:
    limits = Limits(patience=0.3 if "no answer within" in reason else 60.0, rest=0.0)

    async def scenario() -> None:
        with Broken(models=("echo", "embed")) as server:
            server.script = script
            chat = open_chat(server)
            first, second = await ask_once(chat, QUESTION, "and now?", limits=limits)
            (told,) = [text for text in first if text.startswith(ALONE)]
            assert (told.startswith(f"{ALONE}ollama/embed: ") and reason in told
                    and first[0].startswith("context:"))
            assert not [text for text in second if text.startswith(ALONE)], "it is told once"
    asyncio.run(scenario())


def test_a_model_that_is_back_is_asked_again_after_a_rest(folder: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        with Broken(models=("echo", "embed")) as server:
            server.script = lambda texts: json_answer({"error": "boom"}, 500)
            chat = open_chat(server)
            await chat.attach("help")
            assert any(text.startswith(ALONE) for text in await ask(chat))
            server.script, count = None, len(server.texts())
            await ask(chat)
            assert len(server.texts()) == count, "it rests"
            assert "help/kitchen.txt" not in taken(chat)
            embedder = chat.context.embedder
            assert embedder is not None
            embedder._rests_until = 0.0
            await ask(chat, "where is bread made?")
            assert len(server.texts()) > count and "help/kitchen.txt" in taken(chat)
            await chat.close()
    asyncio.run(scenario())


@pytest.mark.parametrize(("values", "reason"), [
    ({"embedding_model": "openai/text-embedding-3-small", "local_only": True}, "(--local-only)"),
    ({"embedding_model": "ollama/embed:cloud", "local_only": True}, "(--local-only)"),
    ({"embedding_model": "demo/demo"}, "demo does not support embeddings"),
    ({"embedding_model": "nobody/x",
      "providers": {"nobody": {"base_url": "http://127.0.0.1:1/v1"}}}, "127.0.0.1:1"),
    ({"embedding_model": "ollama/"}, "does not name a model")])
def test_who_is_not_asked(server: Meanings, folder: Path, values: dict[str, Any],
                          reason: str) -> None:
    async def scenario() -> None:
        given = dict(values)
        providers = given.pop("providers", {})
        settings = Settings({"model": "ollama/echo", "ollama_host": server.url, "num_ctx": 4096,
                             "save": False, **given},
                            providers=providers, environment={"OPENAI_API_KEY": "sk-never-sent"})
        chat = Chat(settings, Session(None), Providers(settings), build_model_list(settings)[0],
                    open_session=lambda name: Session(None))
        (told,) = await ask_once(chat)
        assert [text for text in told if text.startswith(ALONE) and reason in text], told
        assert not server.texts()
    asyncio.run(scenario())


def test_the_address_and_the_key_of_the_chat_are_not_those_of_another_provider(
        server: Meanings, folder: Path) -> None:
    settings = Settings({"model": "openai/echo", "base_url": server.url,
                         "embedding_model": "mistral/mistral-embed"},
                        environment={"OPENAI_API_KEY": "sk-openai",
                                     "MISTRAL_API_KEY": "sk-mistral"})
    endpoint = Providers(settings).open("mistral").endpoint
    assert endpoint.base_url.startswith("https://api.mistral.ai") and endpoint.key == "sk-mistral"


def test_stopping_leaves_at_once_and_keeps_what_came(folder: Path) -> None:
    async def scenario() -> None:
        with Broken(models=("echo", "embed")) as server:
            def script(texts: list[str]) -> Answer:
                if QUESTION in texts:
                    return json_answer({"embeddings": [server.vector(text) for text in texts]})
                return Answer((Stall(),))
            server.script = script
            chat = open_chat(server)
            await attach(chat, Limits(batch=2))
            turn = asyncio.ensure_future(ask(chat))
            while sum(request.path == "/api/embed" for request in server.requests) < 2:
                await asyncio.sleep(0.01)
            turn.cancel()
            with pytest.raises(asyncio.CancelledError):
                await turn
            stalled = [request for request in server.requests if request.path == "/api/embed"][1]
            assert (await asyncio.to_thread(stalled.done.wait, 5)
                    and stalled.outcome == "client_left")
            server.script, before = None, len(server.texts())
            await ask(chat)
            assert QUESTION not in server.texts()[before:]
            await chat.close()
    asyncio.run(scenario())


def test_the_time_that_choosing_takes_is_not_the_models(folder: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        with Broken(models=("echo", "embed")) as server:
            server.script = lambda texts: Answer((Pause(1.5), b"{}"))
            store = SqliteStore(str(tmp_path / "sessions.db"))
            chat = open_chat(server, store)
            await chat.attach("help")
            await ask(chat)
            embedder = chat.context.embedder
            assert embedder is not None
            embedder._rests_until = 0.0
            stopped = asyncio.ensure_future(ask(chat))
            while len([request for request in server.requests if request.path == "/api/embed"]) < 2:
                await asyncio.sleep(0.01)
            stopped.cancel()
            await asyncio.gather(stopped, return_exceptions=True)
            (call,) = store.calls()
            assert (call.seconds < 1.4 and (call.finish, call.error)
                    == ("stop", None)), "what was never sent is no call"
            await chat.close()
            store.close()
    asyncio.run(scenario())


# ---- what is kept

class Counting:
    """Returns vectors of `size` numbers and counts the texts."""

    def __init__(self, size: int = 4) -> None:
        self.size, self.asked = size, list[str]()

    async def __call__(self, texts: Any) -> list[list[float]]:
        self.asked += texts
        return [[float(len(text)), *([1.0] * (self.size - 1))] for text in texts]


def similar(store: Store | None, embed: Counting, texts: list[str]) -> dict[str, float]:
    return asyncio.run(Embedder("p/m", embed, store).similarities("q", texts))


def test_vectors_of_another_length_are_asked_for_anew(tmp_path: Path) -> None:
    store = SqliteStore(str(tmp_path / "s.db"))
    texts = [f"text {'x' * number}" for number in range(100)]
    small, large = Counting(4), Counting(6)
    first = similar(store, small, texts)
    assert (len(small.asked) == 101 and set(first) == set(map(digest_of, texts))
            and all(0 < near <= 1 for near in first.values()))
    assert similar(store, Counting(4), texts) == pytest.approx(first)
    found = similar(store, large, [*texts, "new"])
    assert sorted(large.asked) == sorted(["q", *texts, "new"]) and len(found) == 101
    again = Counting(6)
    assert len(similar(store, again, [*texts, "new"])) == 101 and not again.asked
    store.add_vectors("p/m", {digest_of("new"): b"abc",
                              digest_of(texts[0]): packed(array.array("f", [math.nan] * 6))}, 1000)
    assert (len(similar(store, again, [*texts, "new"])) == 101
            and sorted(again.asked) == sorted(["new", texts[0]]))
    store.close()


def test_a_store_that_refuses_does_no_harm(tmp_path: Path) -> None:
    class Full(SqliteStore):
        def add_vectors(self, *arguments: Any) -> None:
            raise StoreFull("There is no room.")

        def vectors(self, *arguments: Any) -> dict[str, bytes]:
            raise StoreFull("There is no room.")
    store, embed = Full(str(tmp_path / "s.db")), Counting()
    embedder = Embedder("p/m", embed, store)
    for _ in range(2):
        assert len(asyncio.run(embedder.similarities("q", ["a", "b"]))) == 2
    assert embed.asked == ["q", "a", "b"] and not embedder.take_news()
    store.close()


def test_a_locked_database_is_waited_for_once(tmp_path: Path) -> None:
    """It is not written after each batch, since writing blocks everything else."""
    refused: list[int] = []

    class Counted(SqliteStore):
        def add_vectors(self, model: str, vectors: Mapping[str, bytes], most: int) -> None:
            try:
                super().add_vectors(model, vectors, most)
            except StoreBusy:
                refused.append(len(vectors))
                raise
    store = Counted(str(tmp_path / "s.db"), busy_seconds=0.01)
    other = sqlite3.connect(store.place, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    embedder = Embedder("p/m", Counting(), store)
    texts = [f"text {number}" for number in range(200)]
    assert len(asyncio.run(embedder.similarities("q", texts))) == 200 and refused == [32]
    other.execute("ROLLBACK")
    asyncio.run(embedder.similarities("q", ["soon after"]))
    embedder._kept_from = 0.0
    asyncio.run(embedder.similarities("q", ["after the rest"]))
    soon, later = digest_of("soon after"), digest_of("after the rest")
    assert list(store.vectors("p/m", [soon, later])) == [later]
    store.close()
    other.close()


def test_progress_is_told_while_the_model_is_slow() -> None:
    told: list[tuple[str, int]] = []

    async def slow(texts: Any) -> list[list[float]]:
        await asyncio.sleep(0.05)
        return [[1.0, 0.0] for _ in texts]
    embedder = Embedder("p/m", slow, limits=Limits(batch=3, step=0.01))
    asyncio.run(embedder.similarities("q", ["a", "b", "c", "d"],
                                      lambda what, count: told.append((what, count))))
    assert set(told) == {("embedding with p/m", 0), ("embedding with p/m", 3)}


def test_ctrl_c_in_the_terminal(program: list[str], environment: Environment, folder: Path) -> None:
    with Broken(models=("echo", "embed")) as server:
        server.script = lambda texts: Answer((Stall(),))
        environment |= {"OLLAMA_HOST": server.url, "STREAM_CHAT_MODEL": "echo",
                        "STREAM_CHAT_EMBEDDING_MODEL": "ollama/embed"}
        with Terminal([*program, "--num-ctx", "4096", "--context", "help", QUESTION], environment,
                      cwd=folder) as terminal:
            terminal.wait("embedding with ollama/embed: 0, 1 s")
            terminal.send(CTRL_C)
            assert terminal.exit_status() == 130
        assert not any(request.path == "/api/chat" and request.json["messages"]
                       for request in server.requests)


def test_nothing_to_compare() -> None:
    embed = Counting()
    assert (similar(None, embed, []) == {}
            and asyncio.run(Embedder("p/m", embed).similarities(" ", ["a"])) == {}
            and not embed.asked)


# ---- the parts

def test_words_and_meaning_are_added() -> None:
    """Each score is relative to the best one; a piece less similar than the median counts only by
    its words.
    """
    spots = [Spot("a", (0, 5), 3.0), Spot("b", (0, 5), 1.5)]
    similar = {("c", (0, 5)): 0.9, ("b", (0, 5)): 0.7, ("d", (0, 5)): 0.2}
    scores = {spot.name: spot.score for spot in fuse_spots(spots, similar)}
    assert scores == pytest.approx(
        {"a": 0.55, "b": 0.55 * 0.5 ** 3.0 + 0.45 / 3, "c": 0.45})
    assert [spot.name for spot in fuse_spots(spots, similar)] == ["a", "c", "b"]
    assert fuse_spots([], {}) == [] and fuse_spots([], {("a", (0, 5)): 0.5}) == []


def test_packing() -> None:
    vector = array.array("f", [1.0, -0.5])
    assert packed(vector) == b"\0\0\x80\x3f\0\0\0\xbf" and unpacked(packed(vector)) == vector
    assert (unpacked(b"") is None and unpacked(b"abc") is None
            and unpacked(packed(array.array("f", [math.inf]))) is None)
