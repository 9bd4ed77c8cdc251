"""The page's operations and the resulting HTML: safe, independent of how text is split, and with
the same words as in a terminal.
"""

from __future__ import annotations

import json
import random
import re
from html.parser import HTMLParser

import pytest

from core.rendering.page import HtmlBuilder, PageStream, to_html
from core.rendering.parser.operations import Json
from tests.rendering.test_meaning import MORE
from tests.rendering.test_rendering import FRAGMENTS, cuts, show

ELEMENTS = set("p h1 h2 h3 h4 h5 h6 ul ol li blockquote figure figcaption pre code div table tr th "
               "td hr em strong del a span br".split())
ATTRIBUTES = {"class", "href", "rel", "title", "value"}
ATTACKS = ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))",
           "<javascript:alert(1)>",
           "[x](data:text/html,x)", "![x](javascript:y)", "[a]: vbscript:x\n\n[a]",
           "\"onmouseover=alert(1) x=\"", "`</code><script>`",
           "```\"><script>\n</pre><script>\n```\n", "| <script> |\n|---|\n| </td><script> |\n",
           "$</span><script>x$", "[x](http://a\"onclick=b)",
           "&lt;script&gt;", "&#60;script&#62;", "http://a.b/\"><script>", "[<b>](http://x)",
           "[x](JaVaScRiPt:alert(1))", "<svg/onload=x>",
           "[x](java&#10;script:alert(1))", "[x](\\javascript:alert(1))", "\x00<b\x00>", "\ud800",
           "\u202e"]


def html_of(chunks: list[str]) -> str:
    stream, builder = PageStream(), HtmlBuilder()
    for chunk in [*chunks, ""]:
        operations: list[Json] = stream.feed(chunk)
        for operation in json.loads(json.dumps(operations)):
            builder.apply(operation)
    for operation in stream.finish():
        builder.apply(operation)
    return builder.html()


class Reader(HTMLParser):
    """What a page would show, asserting that it consists only of the allowed elements."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in ELEMENTS and {name for name, _ in attributes} <= ATTRIBUTES, (tag, attributes)
        for name, value in attributes:
            assert name != "href" or re.match(r"https?://|mailto:", value or "",
                                              re.IGNORECASE), value
        if tag not in ("em", "strong", "del", "a", "span", "code"):
            self.text.append(f" {dict(attributes).get('value', '')} ")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(html: str) -> str:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return "".join(reader.text)


def document(rng: random.Random, extra: list[str]) -> str:
    return "".join(rng.choice([*FRAGMENTS, *MORE, *extra]) for _ in range(rng.randint(1, 16)))


@pytest.mark.parametrize("seed", range(6))
def test_the_page_does_not_depend_on_the_cuts(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(50):
        text = document(rng, [])
        flat = re.sub(r"</(em|strong|del|code|span)><\1[^>]*>", "", html_of([text]))
        assert re.sub(r"</(em|strong|del|code|span)><\1[^>]*>", "",
                      html_of(cuts(text, rng))) == flat, (seed, text)


@pytest.mark.parametrize("seed", range(6))
def test_a_terminal_shows_the_same_words(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(40):
        text = document(rng, []).replace("![alt](u)",
                                         "![alt](http://h/x_y)").replace("](http://h/x_y)",
                                                                         "](http://h/x_y) ")
        page = re.findall(r"[^\W_]", read(html_of([text])))
        rows = "\n".join(show([text], width=240, height=60)
                         .rows()).replace(" (http://h/x_y)", "").replace(" (http://x)", "")
        words = re.findall(r"[^\W_]", rows)
        assert words == page, (seed, text)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_of_a_reply_becomes_part_of_the_page(attack: str) -> None:
    for context in ["{}", "**{}**", "# {}\n", "- {}\n", "> {}\n", "[{}](http://a.b)",
                    "```{}\nx\n```\n", "```\n{}\n```\n",
                    "| {} |\n|---|\n| {} |\n", "[x]({})", "<{}>", "${}$", "![{}]({})",
                    "[{}]: {}\n\n[{}]"]:
        text = context.replace("{}", attack)
        for html in (html_of([text]), html_of(list(text)), to_html(text)):
            read(html)
            assert "<script" not in html and not re.search("[\x00\u202e\ud800]", html)


def test_builders_refuse_what_is_not_of_the_set() -> None:
    builder = HtmlBuilder()
    hostile: list[Json] = [["open", "script"],
                           ["text", "<b>", ["onclick", "script"], "javascript:x"], ["close", "p"],
                           ["retag", "h1"],
                           ["open", "td", "\" onclick=x"], ["unknown", "x"], ["tail", "<i>"]]
    for operation in hostile:
        builder.apply(operation)
    assert read(builder.html()).split() == ["<b>", "<i>"]
    assert "<script" not in builder.html() and "onclick=x\"" not in builder.html().replace("&quot;",
                                                                                           "")


def test_the_json_form() -> None:
    stream = PageStream()
    found = [*stream.feed("1. a **b**\n\n```py\nx = 1\n```\n[w](http://h) \\(x^2\\)\n\nT\n="),
             *stream.finish()]
    assert found == [
        ["open", "ol"], ["open", "li", "1."], ["open", "p"], ["text", "a "],
        ["text", "b", ["strong"]], ["close", "p"], ["close", "li"],
        ["close", "ol"], ["open", "code", "py", True], ["text", "x = "],
        ["text", "1", ["number"]], ["text", "\n"], ["close", "code"],
        ["open", "p", "", True], ["text", "w", ["end"], "http://h"], ["text", " "],
        ["text", "x²", ["math"], "", "\\(x^2\\)"],
        ["close", "p"], ["open", "p", "", True], ["text", "T"], ["tail", "="], ["retag", "h1"],
        ["close", "h1"], ["tail", ""]]


def test_links_that_are_defined_later_are_known_where_the_reply_is_whole() -> None:
    assert '<a href="http://a.b"' in to_html("[words][x]\n\n[x]: http://a.b\n")
