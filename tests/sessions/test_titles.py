"""Titles of sessions: the words of the first line, without Markdown's marks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.messages import user_message
from core.session_manager import Session
from core.sessions.importing import import_file
from core.sessions.titles import title_of, title_of_text
from db import open_store

TITLES = {
    "\n\n  a\x1b[31m \nb": "a\u241b[31m",
    " \n": "",
    "**Why** does `ls -la` fail?": "Why does ls -la fail?",
    "# A heading #": "A heading",
    "> > ## deep": "deep",
    "- [ ] buy **milk**": "buy milk",
    "1. First": "1. First",
    "***both*** and *more* and ~~less~~": "both and more and less",
    "**use `**kwargs` here**": "use **kwargs here",
    "`*args` and ``a`b``": "*args and a`b",
    "see [the page](https://x.org/a), ![a chart](./a.png)": "see the page, a chart",
    "**\u65e5\u672c**\u8a9e": "\u65e5\u672c\u8a9e",
    # a block of code, a rule and an empty heading have no words in their first line
    "```python\nprint(1)\n```\nWhy?": "print(1)",
    "***\n\n##\nReal": "Real",
    # not marks
    "What does __init__ do in file_name?": "What does __init__ do in file_name?",
    "2 * 3 * 4 = 2**3**4": "2 * 3 * 4 = 2**3**4",
    "f(*args, **kwargs), *.py and *.js": "f(*args, **kwargs), *.py and *.js",
    "C# or F#": "C# or F#",
    "#include <x>": "#include <x>",
    "--help, -5 and arr[i](x)": "--help, -5 and arr[i](x)",
    "It`s `unclosed **b": "It`s `unclosed **b",
    "\\*not\\*": "\\*not\\*",
    "***": "***",
}


@pytest.mark.parametrize(("text", "title"), TITLES.items())
def test_a_title_is_the_first_line_with_words(text: str, title: str) -> None:
    assert title_of_text(text) == title


def test_a_title_has_a_length() -> None:
    assert title_of(user_message("x" * 500)) == "x" * 79 + "\u2026"
    assert title_of(user_message(" \n")) == "(no text)"


@pytest.mark.parametrize("piece", ["*a", "`", "[", "**a", "~~a ", "# ", "> ", "**a *b ",
                                   "[a](https:", "***a ", "`a``b```", "\n", "***\n"])
def test_long_texts_of_marks_are_read_at_once(piece: str) -> None:
    """Every pattern that backtracked over such a text would take minutes."""
    title_of_text(piece * 300_000)


def test_saved_and_imported_sessions_have_the_same_rule(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "sessions.db"))
    Session(store, model="m").add_user(user_message("**Why** does `ls` fail?"))
    chat = [{"mapping": {"a": {"id": "a", "message": {
        "author": {"role": "user"}, "content": {"parts": ["## Is `cp` **safe**?"]}}}},
        "title": "", "current_node": "a"}]
    (tmp_path / "conversations.json").write_text(json.dumps(chat), encoding="utf-8")
    import_file(store, str(tmp_path / "conversations.json"))
    assert sorted(row.title for row in store.sessions()) == ["Is cp safe?", "Why does ls fail?"]
    store.close()
