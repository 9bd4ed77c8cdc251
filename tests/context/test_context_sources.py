"""Sources of context, and @path in a prompt."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.context.sources import (ContextError, Mention, Source, complete_mention, find_mentions,
                                  hide_password, missing_mentions,
                                  parse_context_arg)


@pytest.mark.parametrize(("text", "expected"), (
    ("notes.md", [Source("file", "notes.md", "notes.md")]),
    ("a.md, b.md,", [Source("file", "a.md", "a.md"), Source("file", "b.md", "b.md")]),
    ("src/**/*.py", [Source("glob", "src/**/*.py", "src/**/*.py")]),
    ("-", [Source("stdin", "-")]),
    ("db", [Source("sessions", "db")]),
    ("db:20261121-0412-k3f9", [Source("session", "db:20261121-0412-k3f9", "20261121-0412-k3f9")]),
    ('db:"pool, leak"', [Source("session", 'db:"pool, leak"', "pool, leak", words=True)]),
    ("db:pool leak", [Source("session", "db:pool leak", "pool leak", words=True)]),
    ("https://example.org/a?b=c",
     [Source("page", "https://example.org/a?b=c", "https://example.org/a?b=c")]),
    ("!git log --format=%h,%s",
     [Source("command", "!git log --format=%h,%s", "git log --format=%h,%s")]),
    ("a.md,!git diff, x",
     [Source("file", "a.md", "a.md"), Source("command", "!git diff, x", "git diff, x")]),
    ("sqlite:///shop.db?table=orders",
     [Source("sql", "sqlite:///shop.db?table=orders", "sqlite:///shop.db", table="orders")]),
    ("sqlite:///shop.db?query=SELECT a, b FROM t WHERE x = 'p&q+r%'",
     [Source("sql", "sqlite:///shop.db?query=SELECT a, b FROM t WHERE x = 'p&q+r%'",
             "sqlite:///shop.db",
             query="SELECT a, b FROM t WHERE x = 'p&q+r%'")]),
    ("sqlite:///shop.db?query=SELECT+a%2C+b+FROM+t",
     [Source("sql", "sqlite:///shop.db?query=SELECT+a%2C+b+FROM+t", "sqlite:///shop.db",
             query="SELECT a, b FROM t")]),
    ("postgresql://me:secret@host/shop?sslmode=require&table=public.orders",
     [Source("sql", "postgresql://me:***@host/shop?sslmode=require&table=public.orders",
             "postgresql://me:secret@host/shop?sslmode=require", table="public.orders")]),
    ("'a, b.md'", [Source("file", "a, b.md", "a, b.md")]),
    ("", []),
), ids=lambda value: value[:30] if isinstance(value, str) else None)
def test_sources(text: str, expected: list[Source]) -> None:
    assert parse_context_arg(text) == expected


def test_names_that_exist_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a,b.txt").write_text("x")
    (tmp_path / "[draft].txt").write_text("x")
    (tmp_path / "docs").mkdir()
    assert parse_context_arg("a,b.txt") == [Source("file", "a,b.txt", "a,b.txt")]
    assert parse_context_arg("[draft].txt,docs") == [
        Source("file", "[draft].txt", "[draft].txt"), Source("directory", "docs", "docs")]


@pytest.mark.parametrize("bad",
                         ("!", "db:", 'db:""', "mysql://host/shop", "sqlite:///shop.db?query="))
def test_sources_that_cannot_be_read(bad: str) -> None:
    with pytest.raises(ContextError) as caught:
        parse_context_arg(bad)
    assert caught.value.exit_code == 2 and caught.value.hint


def test_passwords_are_not_shown() -> None:
    assert hide_password("postgresql://me:se@cret@host/x") == "postgresql://me:***@host/x"
    with pytest.raises(ContextError) as caught:
        parse_context_arg("postgresql://me:secret@host/shop")
    assert "secret" not in caught.value.message


def test_mentions(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    (tmp_path / "my file.txt").write_text("x")
    (tmp_path / "src").mkdir()
    text = ('Compare @notes.md, (@src/) and @"my file.txt". Not me@notes.md, @property or '
            '@missing.md!')
    found = find_mentions(text, str(tmp_path))
    assert [mention.path for mention in found] == ["notes.md", "src/", "my file.txt"]
    assert [text[mention.start:mention.end] for mention in found] == ["@notes.md", "@src/",
                                                                      '@"my file.txt"']
    assert find_mentions("@notes.md", str(tmp_path)) == [Mention(0, 9, "notes.md")]


def test_mentions_of_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    text = """See @notes.md, @gone.md, (@src/gone.py)! @./gone @~/gone.d/x @/gone/x @"my gone.txt" and @gone.md again, but not
    me@notes.md, @types/node, @property, @app.route("/x"), @functools.wraps(f), @someone, @1.2, @user@example.org or @."""
    assert missing_mentions(text, str(tmp_path)) == ["gone.md", "src/gone.py", "./gone",
                                                     "~/gone.d/x", "/gone/x", "my gone.txt"]


def test_completion(tmp_path: Path) -> None:
    for name in ("notes.md", "Nothing.txt", "my file.txt", ".hidden"):
        (tmp_path / name).write_text("x")
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "sky.md").write_text("x")
    root = str(tmp_path)
    assert complete_mention("see @n", root) == ["@Nothing.txt", "@night/", "@notes.md"]
    assert complete_mention("see @night/", root) == ["@night/sky.md"]
    assert complete_mention("see @my", root) == ['@"my file.txt"']
    assert complete_mention('see @"my f', root) == ['@"my file.txt"']
    assert complete_mention("see @.h", root) == ["@.hidden"]
    assert ".hidden" not in " ".join(complete_mention("@", root))
    assert complete_mention("no mention", root) == [] and complete_mention("@gone/x", root) == []
