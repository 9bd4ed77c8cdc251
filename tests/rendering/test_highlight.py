"""Highlighting of code with the rules of Pygments, loaded state by state."""

from __future__ import annotations

import re
import sys

import pytest
from pygments.lexer import RegexLexer
from pygments.lexers import find_lexer_class_by_name
from pygments.token import Number, Text

from core.rendering.highlight import Highlighter
from core.rendering.lexer_rules import lexer_by_states

LANGUAGES = ("python", "js", "ts", "c", "cpp", "csharp", "java", "go", "rust", "php", "bash",
             "html", "css", "sql", "toml", "diff", "lua", "haskell", "scala", "julia")
SOURCE = '''#!/usr/bin/env thing
<?php $a = ["k" => 1]; ?><p class="x">text &amp; more</p>
import os, sys; use std::io; #include <stdio.h>
/* a comment
   of two lines */ // and one more
-- and { one } more
@decorator
class Größe(Base[int]): pass
def f(x: int = 0x1f, *rest) -> str: return f'{x!r} {1e3}' + """a
b"""
fn main<'a>(s: &'a str) -> Result<(), E> { let y = "esc\\n\\u00e9"; match y { _ => Ok(()) } }
SELECT name, 'it''s' FROM t WHERE id = 1 AND x LIKE '%a' ORDER BY 2;
[section]
key = "value" ; $HOME ${HOME:-none} `cmd` $(cmd | grep -v x)
module Main where; main = do { print (map (+1) [1..3]) }
+added
-removed
const re = /ab+c/gi; let t = `a ${b} c`; #define MAX 10
'''


@pytest.mark.parametrize("language", LANGUAGES)
def test_rules_that_are_read_when_needed_find_what_pygments_finds(language: str) -> None:
    lexer = find_lexer_class_by_name(language)
    assert (list(lexer_by_states(lexer).get_tokens_unprocessed(SOURCE))
            == list(lexer().get_tokens_unprocessed(SOURCE)))


class Broken(RegexLexer):
    """Has a state whose pattern cannot be compiled."""

    tokens = {"root": [(r"\d+", Number), (r"\(", Text, "inner"), (r".", Text)],
              "inner": [(r"(", Text)]}


def test_what_code_does_not_come_to_is_not_compiled() -> None:
    """The first block of Python took 130 ms before, in the middle of a reply."""
    lexer = lexer_by_states(Broken)
    assert list(lexer.get_tokens_unprocessed("17")) == [(0, Number, "17")]
    with pytest.raises(re.error):
        list(lexer.get_tokens_unprocessed("(17"))


def test_a_name_is_one_name_in_every_script() -> None:
    letters = [chr(code) for code in range(sys.maxunicode) if f"a{chr(code)}".isidentifier()]
    name = "".join(["a", *letters])
    assert ("bold", name) in Highlighter("python").line(f"def {name}(x): pass")
    starts = [letter for letter in letters if letter.isidentifier()]
    highlighter = Highlighter("python")
    for letter in starts[::297]:
        assert ("bold", f"{letter}b ") in highlighter.line(f"class {letter}b : pass"), hex(
            ord(letter))
