"""Markdown as models write it: fences, formulas, addresses, tables, lists."""

from __future__ import annotations

import random

import pyte
import pytest

from core.rendering.markdown import MarkdownStream
from core.rendering.theme import Theme
from core.rendering.parser.blocks import Parser
from core.rendering.parser.code_blocks import (closing_fence, code_blocks, ends_in_code,
                                               opening_fence)
from core.rendering.parser.formulas import shown
from core.rendering.parser.operations import Operation, Span
from tests.rendering.test_rendering import FRAGMENTS, cuts, rows, show

MORE = ["$$", "\\[", "\\]", "\\(a", "\\)", "$x$ ", "$5 ", "&amp;", "&am", "<br>", "<a",
        "https://a.b/c_d_ ", "www.x.y ",
        "[a]: http://x\n", "[a] ", "[b][a] ", "====\n", "a | b\n", "--|--\n", "| - |\n", "  \n",
        "\\\n", "> - ", "    - ", "\t"]


def operations(chunks: list[str]) -> list[Operation]:
    """The operations with adjacent text joined and empty text removed."""
    parser, found = Parser(), list[Operation]()
    for chunk in chunks:
        parser.feed(chunk)
        parser.tail()
        found += parser.take()
    parser.finish()
    joined: list[Operation] = []
    for one in [*found, *parser.take()]:
        last = joined[-1] if joined else None
        if (isinstance(one, Span) and isinstance(last, Span) and not one.marks
            and last[1:] == one[1:]):
            joined[-1] = Span(last.text + one.text, *last[1:])
        elif not isinstance(one, Span) or one.text:
            joined.append(one)
    return joined


UNITS = ("*a *b* ", "*a _b ", "**a b* ", "_a *b* ", "[a][", "[a](", "`x ", "<a ", "$a ", "**x",
         "> ", "| a ",
         "*a `b` ", "[*", "~~a *")


@pytest.mark.parametrize("unit", UNITS)
def test_rows_of_delimiters_are_read_the_same_in_any_pieces(unit: str) -> None:
    """Longer than the limit of a construct, so that unfinished ones are abandoned.

    Without caching this takes minutes.
    """
    text = (unit * 400)[:2_600] + "end"
    whole = operations([text])
    assert operations([text[at:at + 17] for at in range(0, len(text), 17)]) == whole
    assert operations(list(text)) == whole


def test_links_within_links_are_read_once() -> None:
    """Only the innermost is a link; trying both readings of each level would take exponential time.
    """
    written = "[a " * 30 + "](http://x)" * 30
    assert sum(isinstance(one, Span) and one.href == "http://x"
               for one in operations([written])) == 1


@pytest.mark.parametrize("seed", range(8))
def test_operations_do_not_depend_on_the_cuts(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(60):
        text = "".join(rng.choice(FRAGMENTS + MORE) for _ in range(rng.randint(1, 14)))
        whole = operations([text])
        assert operations(list(text)) == whole, (seed, text)
        assert operations(cuts(text, rng)) == whole, (seed, text)


@pytest.mark.parametrize("source, expected", [
    ("```python\ndef f():\n    \"\"\"\n    ```\n    f()\n    ```\n    \"\"\"\n    return 1\n```\n\n"
     "That is **all**.\n",
     ["── python · code 1", "def f():", "    \"\"\"", "    ```", "    f()", "    ```", "    \"\"\"",
      "    return 1", "──", "",
      "That is all."]),
    ("````md\n```\nx\n```\n````\nend", ["── md · code 1", "```", "x", "```", "──", "", "end"]),
    ("> ```\n> a\n\nout", ["│ ── code 1", "│ a", "│ ──", "", "out"]),
    ("\\(\\mathbf{x}_{i} + \\mathbf{y}_{j}\\)", ["𝐱ᵢ + 𝐲ⱼ"]),
    ("$a^*$ and $b^*$", ["$a^*$ and $b^*$"]),
    ("\\(2*3*4\\)", ["2*3*4"]),
    ("$$\nA^{*}_{ij}\n- b\n$$", ["$$", "A^{*}_{ij}", "- b", "$$"]),
    ("so \\[\\frac{a+b}{2} \\le c^2\\] holds", ["so (a+b)/2 ≤ c² holds"]),
    ("it costs $5 and $10, $HOME/$USER", ["it costs $5 and $10, $HOME/$USER"]),
    ("$$\nnever *closed*\n\n- b", ["$$", "never *closed*", "", "• b"]),
    ("- foo\n-\n- bar", ["• foo", "•", "• bar"]),
    ("1. foo\n2.\n3. bar", ["1. foo", "2.", "3. bar"]),
    ("see https://web.archive.org/web/*/https://a.example/* now",
     ["see https://web.archive.org/web/*/https://a.example/* now"]),
    ("http://h/__a__/b *x*", ["http://h/__a__/b x"]),
    ("&amp; &lt; a&nbsp;b &#8364; &nosuch;", ["& < a\u00a0b € &nosuch;"]),
    ("| a | b |\n|---|---|\n| x<br>y | 1\t2 |", ["a     b", "───   ───", "x     1 2", "y"]),
    ("Title\n=====\ntext", ["Title", "═════", "", "text"]),
    ("a | b\n--- | ---\n1 | 2\nafter\n\nx",
     ["a       b", "─────   ───", "1       2", "after", "", "x"]),
    ("[d]: http://a.b/c\n\n[words][d] and [d]",
     ["[d]: http://a.b/c", "", "words (http://a.b/c) and d (http://a.b/c)"]),
    ("[words][later]\n\n[later]: http://x.y", ["[words][later]", "", "[later]: http://x.y"]),
    ("- a\n\n      code\n", ["• a", "", "  ── code 1", "  code", "  ──"]),
    ("\tx = 1\n\n\n\ty", ["── code 1", "x = 1", "", "", "y", "──"]),
])
def test_what_is_shown(source: str, expected: list[str]) -> None:
    assert rows(source, width=70) == expected


@pytest.mark.parametrize("source, expected", [
    (r"$E = mc^2$", "E = mc²"), (r"\(\alpha \in \mathbb{R}^n\)", "α ∈ ℝⁿ"), (r"$\frac12$", "1/2"),
    (r"$x\frac{1}{2}$", "x(1/2)"),
    (r"$\frac{1}{2}x$", "(1/2)x"), (r"$\sqrt{x+1}$", "√(x+1)"), (r"$\sqrt[3]{8}$", "∛8"),
    (r"$\sum_{i=1}^{n} i$", "∑ᵢ₌₁ⁿ i"),
    (r"$O(n \log n)$", "O(n log n)"), (r"\[\int_0^1 f(x)\,dx\]", "∫₀¹ f(x) dx"),
    (r"$f'(x)$", "f′(x)"),
])
def test_formulas_as_unicode(source: str, expected: str) -> None:
    assert shown(source) == expected


@pytest.mark.parametrize("source", [
    r"$x^{q}$", r"$x^{a_b}$", r"\(\begin{matrix}a\end{matrix}\)", r"$\unknown$", r"$a & b$",
    r"$\frac{a}{}$", "$x^$", "$}$", "${$",
    r"$\text{a $b$}$", r"$a \\ b$", r"$\left. x\right|$", "$" + "{" * 300 + "$",
])
def test_formulas_that_unicode_cannot_say_stay_as_they_are(source: str) -> None:
    assert shown(source) == source


def test_a_long_cell_after_many_short_rows_has_the_free_width() -> None:
    text = "| key | value |\n|---|---|\n" + "| a | b |\n" * 60 + f"| c | {'word ' * 12}|\n"
    shown_rows = show([text], width=100).rows()
    assert sum("word" in row for row in shown_rows) == 1


def test_a_table_that_is_too_wide_is_a_list() -> None:
    text = ("| Item | Price of one | Weight | Origin |\n|---|---|---|---|\n| Screw | 12.50 | 3.75 "
            "kg | Stuttgart |\n| Nail | 1.25 |  | Bremen |\n")
    assert rows(text, width=30) == ["Item: Screw", "  Price of one: 12.50", "  Weight: 3.75 kg",
                                    "  Origin: Stuttgart", "",
                                    "Item: Nail", "  Price of one: 1.25", "  Origin: Bremen"]


def test_only_the_last_column_wraps() -> None:
    text = "| name | what it does |\n|---|---|\n| alpha | one two three four five six |\n"
    assert rows(text, width=30) == ["name    what it does", "─────   ─────────────────────",
                                    "alpha   one two three four",
                                    "        five six"]


def test_prose_has_88_columns_and_code_the_whole_width() -> None:
    text = "word " * 60 + "\n\n```\n" + "x" * 110 + "\n```\n"
    shown_rows = show([text], width=120).rows()
    assert max(len(row) for row in shown_rows if "word" in row) <= 88
    assert "x" * 110 in shown_rows


def test_an_address_that_does_not_fit_begins_a_row_and_is_whole() -> None:
    address = "https://docs.python.org/3/library/" + "x" * 20 + ".html"
    output = show([f"See [the docs]({address}) for more."], width=40).output
    assert f"({address})" in output


def test_code_stays_together_if_it_fits() -> None:
    assert rows("some words here `git log --all` end", width=26) == ["some words here",
                                                                     "git log --all end"]


def test_a_reply_that_continues_inside_a_fence() -> None:
    for before, after, expected in [
        ("```py\nx = ", "1\n```\nend", ["── code 1 continued", "x = 1", "──", "", "end"]),
        ("````\n```\n", "a\n````\nend", ["── code 1 continued", "a", "──", "", "end"]),
        ("- a\n  ```\n  b\n", "  c\n  ```\n- d", ["  ── code 1 continued", "  c", "  ──", "• d"]),
        ("one tw", "o\n\nx", ["one two", "", "x"]),
        ("- a\n", "- b\n", ["• b"]),
        ("    \"\"\"\n    ```\n", "    x\n", ["── code 1 continued", "x", "──"]),
    ]:
        written: list[str] = []
        stream = MarkdownStream(written.append, lambda: (60, 24), before=before)
        for char in after:
            stream.feed(char)
        stream.finish()
        screen = pyte.Screen(60, 24)
        pyte.Stream(screen).feed("".join(written).replace("\n", "\r\n"))
        assert [row.rstrip() for row in screen.display][:len(expected)] == expected, before


def test_fences_left_open_are_closed_at_the_seam() -> None:
    for text in ["```py\nx", "~~~~\nx\n", "> ```\n> x", "- a\n\n  ```\n  x\n", "```\n    ```\n",
                 "````\n```\n"]:
        assert ends_in_code(text)
        closed = text + closing_fence(text)
        assert not ends_in_code(closed) and code_blocks(closed)[0].source.count("\n") >= 1
        assert not closing_fence(closed) and not opening_fence(closed)
    for text in ["plain", "```\nx\n```\n", "`` ` ``", "```a`b```"]:
        assert not ends_in_code(text) and closing_fence(text) == ""
    assert opening_fence("```python title\nx") == "```python title\n"


def test_the_blocks_of_code_are_numbered_through_the_screen() -> None:
    codes: list[object] = []
    for number in (1, 2):
        stream = MarkdownStream(lambda _: None, lambda: (60, 24),
                                codes=codes)     # type: ignore[arg-type]
        stream.feed(f"```sh\necho {number}\n```\n")
        stream.finish()
    assert codes == [("sh", "echo 1\n"), ("sh", "echo 2\n")]


def test_entities_cannot_steer_the_terminal() -> None:
    output = show(["&#27;[2J &#x9b;31m &#8238;abc &#0; &#xE0041; <http://a&#27;b> "
                   "[x](http://h/&#27;)\n\n[d]: http://h/&#x202e;\n"]).output
    for char in "\x1b[2J", "\x9b", "\u202e", "\x00", "\U000e0041":
        assert char not in output


def test_without_colour_code_has_backticks_and_headings_their_signs() -> None:
    assert show(["## Head\n\nuse `ls`"], color=False).rows()[:3] == ["## Head", "", "use `ls`"]


def test_a_theme_gives_the_styles() -> None:
    written: list[str] = []
    stream = MarkdownStream(written.append, lambda: (60, 24),
                            theme=Theme(accent="38;5;116", dim="2"))
    stream.feed("`x`\n\n- a\n")
    stream.finish()
    assert "\x1b[38;5;116mx" in "".join(written)
