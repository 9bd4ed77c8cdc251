"""One contract for searches: the same queries give the same sessions in SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from core.errors import UsageError
from core.messages import Message, Text, Thinking, ToolCall, ToolResult, tool_message, user_message
from core.session_manager import Session
from core.sessions.search import found_sessions, search
from db import Store, open_store
from tests import postgres


@pytest.fixture(scope="module",
                params=["sqlite", pytest.param("postgresql", marks=pytest.mark.processes)])
def store(request: pytest.FixtureRequest,
          tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    if request.param == "sqlite":
        made = open_store(str(tmp_path_factory.mktemp("search") / "s.db"))
        fill(made)
        yield made
        made.close()
        return
    made = open_store(postgres.new_database(request.getfixturevalue("postgres_url")))
    fill(made)
    yield made
    made.close()


SAID = {
    "c": ("cats and dogs", "a cat sat on the mat"),
    "cpp": ("how do I learn C++ well?", "Begin with a book."),
    "file": ("what is in stream_chat.py", "It calls main(); see /etc/passwd too (on 3.11)."),
    "version": ("python 3.110 is out", "and 13.11 too"),
    "chinese": ("我们讨论一下量子纠缠的问题", "好的"),
    "japanese": ("日本語の文章を検索する", "はい"),
    "korean": ("한국어로검색하기", "네"),
    "accents": ("Un café à Zürich", "naïve résumé"),
    "quantum": ("quantum physics of the mat", "physics is quantum, not magic"),
    "scope": ("what is std::vector in a.b.c", "use .env and #include <vector>"),
    "hindi": ("हिन्दी में लिखो", "ठीक है"),
    "apostrophe": ("don't stop", "it\u2019s fine"),
}


def fill(store: Store) -> None:
    for title, (question, reply) in SAID.items():
        session = Session(store, model="ollama/llama3" if title != "quantum" else "openai/gpt-4")
        session.title = f"title {title}"
        session.add_user(user_message(question))
        thought = (Thinking("pondering deeply"),) if title == "quantum" else ()
        session.add_reply(Message("assistant", (*thought, Text(reply)), session.model, None,
                                  "stop"))
        session.end_turn()
        if title == "cpp":
            store.update_session(session.id, tags="code learning")
    tools = Session(store, model="ollama/llama3")
    tools.title = "title tools"
    tools.add_user(user_message("look it up"))
    call = ToolCall("1", "web_search", {"query": "zebra stripes"})
    tools.add_reply(Message("assistant", (Text("one moment"), call), "m", None, "tool_calls"))
    tools.add_reply(tool_message((ToolResult("1", "web_search", "Stripes confuse flies."),)))
    tools.add_reply(Message("assistant", (Text("Flies, it seems."),), "m", None, "stop"))
    tools.rewind(0)
    tools.add_user(user_message("something else"))
    tools.add_reply(Message("assistant", (Text("yes"),), "m", None, "stop"))
    tools.end_turn()
    gone = Session(store, model="ollama/llama3")
    gone.title = "title gone"
    gone.add_user(user_message("cats in the trash"))
    gone.end_turn()
    store.shelve_session(gone.id, "trash")


@pytest.mark.parametrize(("query", "wanted"), [
    ("cats", "c"), ("cat", "c"), ("ca*", "c accents file"), ("mat sat", "c"), ("sat mat", "c"),
    ('"on the mat"', "c"), ('"the on mat"', ""), ("mat", "c quantum"), ("mat -quantum", "c"),
    ('mat -"cat sat"', "quantum"), ("C++", "cpp"), ("c++", "cpp"), ("stream_chat.py", "file"),
    ("stream", "file"), ("chat", "file"), ("/etc/passwd", "file"), ("passwd", "file"),
    ("3.11", "file"), ("13.11", "version"), ("3.110", "version"), ("量子", "chinese"),
    ("子纠", "chinese"), ("纠子", ""), ("検索", "japanese"), ("語の文", "japanese"), ("검색", "korean"),
    ("국어", "korean"), ("cafe", "accents"), ("CAFÉ", "accents"), ("zurich resume", ""),
    ("naive resume", "accents"), ("quantum physics", "quantum"),
    ('"quantum physics"', "quantum"), ('"physics quantum"', ""), ("std::vector", "scope"),
    ("a.b.c", "scope"), (".env", "scope"), ("#include", "scope"), ("हिन्दी", "hindi"),
    ("dont", "apostrophe"), ("don't", "apostrophe"), ("its", "apostrophe"),
    ("pondering", "quantum"), ("zebra", ""), ("zebra in:branches", "tools"),
    ("flies in:branches", "tools"), ("in:title cpp", "cpp"), ("cpp", "cpp"),
    ("title in:title", " ".join([*SAID, "tools"])), ("book in:answer", "cpp"),
    ("book in:question", ""), ("learn in:answer", ""), ("mat model:gpt", "quantum"),
    ("mat provider:ollama", "c"), ("learn tag:code", "cpp"), ("learn tag:other", ""),
    ("tag:learning", "cpp"), ("mat after:2020-01-01", "c quantum"), ("mat before:2020", ""),
    ("nothing of this", ""), ("'", ""), ('"', ""), ("- * ()", ""),
    ("a AND b OR NOT c NEAR(", ""), ("cat\0s", "")])
def test_a_query_finds_the_same_in_both_databases(store: Store, query: str, wanted: str) -> None:
    found = {entry.session.title.removeprefix("title ") for entry in search(store, query, limit=50)}
    assert found == set(wanted.split())
    if not query.startswith("tag:"):
        assert {row.title.removeprefix("title ") for row in found_sessions(store, query)} == found


def test_tools_are_found_in_their_place(store: Store) -> None:
    (found,) = search(store, "stripes in:branches")
    assert ([hit.role for hit in found.hits] == ["tool", "assistant"]
            or [hit.role for hit in found.hits] == ["assistant", "tool"])


def test_snippets_show_the_words_where_they_stand(store: Store) -> None:
    wanted = {"cafe": "café", "量子": "量子", "C++": "C++", "passwd": "passwd",
              '"quantum physics"': "quantum physics"}
    for query, shown in wanted.items():
        found = search(store, query)
        hit = found[0].hits[0]
        assert [hit.snippet[start:end] for start, end in hit.marks][0] == shown, query


def test_the_last_word_may_go_on_where_it_is_typed(store: Store) -> None:
    assert {row.title for row in store.sessions(20, "quan")} == {"title quantum"}
    assert {row.title for row in store.sessions(0, "physics quan")} == {"title quantum"}
    assert store.sessions(20, "q") == []


def test_a_wrong_filter_says_what_is_right(store: Store) -> None:
    with pytest.raises(UsageError, match="in:nowhere"):
        search(store, "x in:nowhere")
    with pytest.raises(UsageError, match="not a date"):
        search(store, "x after:someday")
