"""The streaming renderer: what a terminal shows, however the stream is split."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pyte
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.rendering.markdown import MarkdownStream
from core.rendering.plain import PlainStream
from core.rendering.thinking import ThinkingStream
from tests import emulator

OWN_SEQUENCES = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\d*[AC]|\x1b\[J|\r|\n|\t")


class Terminal:
    """A terminal emulator that keeps all rows, with the scrollback of a screen of `height` rows."""

    def __init__(self, width: int = 60, height: int = 24) -> None:
        self.width, self.height = width, height
        self.screen = emulator.Screen(width, height)
        self.stream = pyte.Stream(self.screen)
        self.written: list[str] = []

    def write(self, text: str) -> None:
        self.written.append(text)
        self.stream.feed(text.replace("\n", "\r\n"))

    @property
    def output(self) -> str:
        return "".join(self.written)

    def rows(self) -> list[str]:
        return self.screen.rows()


def show(chunks: list[str], *, width: int = 60, height: int = 24, color: bool = True) -> Terminal:
    terminal = Terminal(width, height)
    stream = MarkdownStream(terminal.write, lambda: (width, height), color=color)
    for chunk in chunks:
        stream.feed(chunk)
    stream.finish()
    return terminal


def rows(text: str, width: int = 60) -> list[str]:
    return show([text], width=width).rows()[:-1]


def cuts(text: str, rng: random.Random, longest: int = 12) -> list[str]:
    places = [0]
    while places[-1] < len(text):
        places.append(min(places[-1] + rng.randint(1, longest), len(text)))
    return [text[start:end] for start, end in pairwise(places)]


FRAGMENTS = [
    "# Head\n", "### Third ###\n", "\n", "\n\n", "plain words ", "**bold** ", "**open ", "*it* ",
    "_u_ ",
    "__uu__", "`code` ", "``a`b`` ",
    "~~gone~~ ", "[link](http://h/x_y) ", "[open](http", "![alt](u) ", "snake_case ", "2 * 3 ",
    "\\*no\\* ",
    "- item\n", "  - nested\n",
    "1. one\n", "2) two\n", "- [x] done\n", "- [ ] todo\n", "-\n", "> quote\n", "> > deeper\n",
    ">\n",
    "---\n", "***\n", "- - -\n",
    "```python\n", "```\n", "~~~\n", "   ```js\n", "def f(x):\n    return 'x'\n", "    indented\n",
    "\tcode\n", "| a | b |\n", "|---|--:|\n",
    "| 1 | **2** |\n", "| long cell with many words in it | x |\n", "流式聊天。", "👩‍🚀 ⚠️ é",
    "word" * 30, "x" * 130 + "\n", "\n    ", "***both***",
    "*a **b** c*", "a\tb", "<b>html</b> &amp; ", "\r\n", "!", "[", "](", ")", "*", "_", "`", "|",
    "\\", "#",
    "1", ".", " ",
]
DOCUMENTS = st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=25).map("".join)
RANDOM = settings(max_examples=120, deadline=None, derandomize=True,
                  suppress_health_check=list(HealthCheck))


@RANDOM
@given(text=DOCUMENTS, seed=st.integers(0, 999), width=st.sampled_from([20, 41, 60]),
       height=st.sampled_from([5, 12, 24]))
def test_the_screen_does_not_depend_on_the_cuts(text: str, seed: int, width: int,
                                                height: int) -> None:
    whole = show([text], width=width, height=height)
    parts = show(cuts(text, random.Random(seed)), width=width, height=height)
    assert parts.rows() == whole.rows()


@RANDOM
@given(text=DOCUMENTS)
def test_one_character_at_a_time(text: str) -> None:
    assert show(list(text)).rows() == show([text]).rows()


@RANDOM
@given(text=DOCUMENTS, seed=st.integers(0, 999))
def test_without_colour_the_same_words_and_no_styles(text: str, seed: int) -> None:
    bare = show(cuts(text, random.Random(seed)), color=False)
    assert re.sub(r"[\s`#]", "", "".join(bare.rows())) == re.sub(r"[\s`#]", "",
                                                                 "".join(show([text]).rows()))
    assert not re.search(r"\x1b\[[0-9;]*m", bare.output)


@RANDOM
@given(text=DOCUMENTS, seed=st.integers(0, 999))
def test_no_word_is_lost(text: str, seed: int) -> None:
    numbered = iter(range(10000))
    text = re.sub(r"\b[a-z]{4,}\b", lambda _: f"w{next(numbered)}w", text)
    shown = "".join(re.sub(r"[│\s]", "", row)
                    for row in show(cuts(text, random.Random(seed))).rows())
    for word in re.findall(r"w\d+w", text):
        assert word in shown or "|" in text


@RANDOM
@given(text=DOCUMENTS)
def test_ends_with_exactly_one_newline_and_one_write_per_feed(text: str) -> None:
    terminal = Terminal()
    stream = MarkdownStream(terminal.write, lambda: (60, 24))
    for char in text:
        before = len(terminal.written)
        stream.feed(char)
        assert len(terminal.written) <= before + 1
    stream.finish()
    shown = terminal.rows()
    if any(shown):
        assert shown[-1] == "" and shown[-2] != ""


@RANDOM
@given(text=DOCUMENTS, seed=st.integers(0, 999))
def test_abandoned_midway_shows_all_that_came(text: str, seed: int) -> None:
    terminal = Terminal()
    stream = MarkdownStream(terminal.write, lambda: (60, 24))
    half = text[:len(text) // 2]
    for chunk in cuts(half, random.Random(seed)):
        stream.feed(chunk)
    stream.finish()
    assert terminal.rows() == show([half]).rows()


@pytest.mark.parametrize("source, expected", [
    ("a **b** c", ["a b c"]),
    ("#\n# ", ["#", "", "#"]),
    ("# T ##\ntext", ["T", "", "text"]),
    ("f(**kwargs) snake_case 2 * 3", ["f(**kwargs) snake_case 2 * 3"]),
    ("**never closed", ["**never closed"]),
    ("one\ntwo", ["one", "two"]),
    (r"\*not\* \(x^2\) \[a\\b\]", [r"*not* x² \[a\\b\]"]),
    ("a\n\n\n\nb", ["a", "", "b"]),
    ("- a\n  - b\n    - c\n- d", ["• a", "  ◦ b", "    ▪ c", "• d"]),
    ("1. a\n   more\n10. b", ["1. a", "   more", "10. b"]),
    ("1. a\n1. b\n1. c", ["1. a", "2. b", "3. c"]),
    ("- [x] a\n- [ ] b", ["☑ a", "☐ b"]),
    ("> a\n> > b", ["│ a", "│", "│ │ b"]),
    ("[t](http://u)", ["t (http://u)"]),
    ("![alt](http://u)", ["[image: alt] (http://u)"]),
    ("```py\n*x*\n```", ["── py · code 1", "*x*", "──"]),
    ("- a\n  ```\n  x\n    y\n  ```", ["• a", "  ── code 1", "  x", "    y", "  ──"]),
    ("| a | bb |\n|---|--:|\n| xx | 1 |", ["a      bb", "───   ───", "xx      1"]),
    ("| not | a\ntable", ["| not | a", "table"]),
    ("<b>x</b> &amp;", ["<b>x</b> &"]),
    ("a\\*b\\*", ["a*b*"]),
    ("**中文。**后面", ["中文。后面"]),
    ("-5 degrees\n-x", ["-5 degrees", "-x"]),
    ("text\n1986. was", ["text", "1986. was"]),
    ("a\n\n    code", ["a", "", "── code 1", "code", "──"]),
    ("| a | b |\n|---|---|\n| `x|y` | z |", ["a     b", "───   ───", "x|y   z"]),
])
def test_what_is_shown(source: str, expected: list[str]) -> None:
    assert rows(source) == expected


def test_words_wrap_with_a_hanging_indent() -> None:
    assert rows("- aaaa bbbb cccc dddd", width=12) == ["• aaaa bbbb", "  cccc dddd"]


def test_wide_characters_take_two_cells() -> None:
    assert rows("流式聊天客户端", width=9) == ["流式聊天", "客户端"]


def test_a_wide_table_shrinks_and_wraps_its_cells() -> None:
    text = "| key | value |\n|---|---|\n| k | " + "word " * 20 + "|\n"
    shown = rows(text, width=30)
    assert all(len(row) < 30 for row in shown)
    assert sum(row.count("word") for row in shown) == 20


def test_later_cells_wrap_inside_their_fixed_column() -> None:
    text = "| k | v |\n|---|---|\n" + "| a | b |\n" * 30 + "| a | much longer than before |\n"
    assert show(list(text)).rows() == show([text]).rows()


def test_code_is_not_wrapped_by_us_and_keeps_tabs() -> None:
    terminal = show(["```\n" + "x" * 100 + "\n\ty\n```\n"], width=40)
    assert "x" * 100 + "\n" in terminal.output and "\ty" in terminal.output


def test_the_highlighter_remembers_the_state_of_the_line_before() -> None:
    output = show(["```python\nx = '''a\nreturn b'''\n```\n"]).output
    assert "\x1b[35mreturn b'''" in output


def test_a_block_comment_over_several_lines_is_one_comment() -> None:
    output = show(["```js\nlet a = 1 /* one\ntwo\n*/ let b = '/* no'\nlet c\n```\n"]).output
    assert "\x1b[2mtwo\x1b[m" in output and "\x1b[2m*/\x1b[m let b" in output


def test_an_endless_paragraph_line_or_word_is_written_about_once() -> None:
    for text in ("word " * 8000, "x" * 40000, "```\n" + "x y " * 10000, "**" + "a b " * 10000):
        written: list[str] = []
        stream = MarkdownStream(written.append, lambda: (80, 24))
        for start in range(0, len(text), 40):
            stream.feed(text[start:start + 40])
        stream.finish()
        assert sum(map(len, written)) < 3 * len(text)


def test_an_attack_reaches_the_terminal_only_as_visible_characters() -> None:
    attacks = ["\x1b[2J", "\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\y", "\x1b]52;c;AAAA\x07",
               "\x1bP1$r\x1b\\",
               "\x9b31m", "\x9d0;t\x9c",
               "\u202eabc\u202c", "\U000e0041\U000e0042", "\x08\x08", "\x7f", "\r", "\x00", "\x85",
               "\u2066x\u2069", "\ud800"]
    contexts = ["{}", "**{}**", "`{}`", "[{}](http://{})", "# {}\n", "- {}\n", "> {}\n",
                "```\n{}\n```\n", "```{}\nx\n```\n",
                "| {} |\n|---|\n| {} |\n"]
    for context in contexts:
        for attack in attacks:
            text = context.replace("{}", attack)
            for cut in range(len(text) + 1):
                output = (show([text[:cut], text[cut:]]).output if cut % 3 == 0
                          else _raw([text[:cut], text[cut:]]))
                foreign = [char for char in OWN_SEQUENCES.sub("", output) if not char.isprintable()]
                assert not foreign, (text, cut, foreign)
                assert not re.search(r"\x1b\[[0-9;]*[^0-9;mACJ]", output)


def _raw(chunks: list[str]) -> str:
    written: list[str] = []
    stream = MarkdownStream(written.append, lambda: (60, 24))
    for chunk in chunks:
        stream.feed(chunk)
    stream.finish()
    return "".join(written)


def test_a_changing_terminal_size_loses_nothing() -> None:
    """Text that is repainted after a change of size may be written twice."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    text = ("Some **bold words that go on** and `code` and more words for a while.\n\n- item one\n"
            "- item two\n\n" * 12)
    for _ in range(10):
        written: list[str] = []
        width, height = 80, 24
        stream = MarkdownStream(written.append, lambda: (width, height))
        for chunk in cuts(text, rng):
            width, height = rng.choice([1, 2, 7, 40, 80, 200]), rng.choice([1, 2, 3, 24])
            stream.feed(chunk)
        stream.finish()
        assert 24 <= "".join(written).count("•") <= 36


@pytest.mark.parametrize("width, height", [(1, 1), (2, 2), (5, 3), (10, 4)])
def test_tiny_terminals(width: int, height: int) -> None:
    text = "".join(FRAGMENTS)
    for chunks in ([text], list(text)):
        stream = MarkdownStream(lambda _: None, lambda: (width, height))
        for chunk in chunks:
            stream.feed(chunk)
        stream.finish()


@pytest.mark.processes
def test_plain_words_and_lists_load_no_tables_and_no_lexers() -> None:
    program = ("import sys; from core.rendering.markdown import MarkdownStream\n"
               "m = MarkdownStream(lambda _: None, lambda: (80, 24))\n"
               "m.feed('# A\\n\\n- **b**\\n\\n> c\\n\\n```\\nx\\n```\\n'); m.finish()\n"
               "assert not {'wcwidth', 'pygments', 'rich', 'asyncio'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", program], check=True,
                   cwd=Path(__file__).parent.parent.parent)


def test_a_stream_without_text_shows_nothing() -> None:
    assert _raw([]) == _raw([""]) == _raw(["\n\n"]) == ""


def test_plain_stream_is_safe_and_ends_with_one_newline() -> None:
    written: list[str] = []
    stream = PlainStream(written.append)
    for chunk in ("**a**\n", "\n\x1b[2Jb\n\n"):
        stream.feed(chunk)
    stream.finish()
    assert "".join(written) == "**a**\n\n␛[2Jb\n"


def thinking(chunks: list[str], *, folded: bool, live: bool = True, width: int = 40,
             color: bool = True) -> list[str]:
    written: list[str] = []
    times = iter([0.0, 1.0, 2.5, 3.2, 3.2, 3.2])
    stream = ThinkingStream(written.append, lambda: width, folded=folded, color=color, live=live,
                            clock=lambda: next(times, 3.2))
    for chunk in chunks:
        stream.feed(chunk)
    stream.finish()
    return written


def test_thinking_is_set_apart_without_colour_and_wrapped_by_words() -> None:
    text = "\nwell, let me see\x1b what words there are here\n\n"
    for live in (True, False):
        for chunks in ([text], list(text)):
            screen = pyte.Screen(30, 10)
            output = "".join(thinking(chunks, folded=False, live=live, width=30, color=False))
            pyte.Stream(screen).feed(output.replace("\n", "\r\n"))
            shown = [row.rstrip() for row in screen.display]
            assert shown[:3] == ["~ Thinking", "  well, let me see␛ what", "  words there are here"]
            assert re.fullmatch(r"~ Thought for [\d.]+ m?s, 9 words", shown[3])
            assert not any(shown[4:])


def test_thinking_is_dim() -> None:
    assert "\x1b[2mhm" in "".join(thinking(["hm\n"], folded=False))


def test_where_nothing_can_be_taken_back_thinking_is_written_once() -> None:
    for folded in (True, False):
        assert "\x1b" not in "".join(
            thinking(["one tw", "o three "], folded=folded, live=False, color=False))
    assert thinking(["one tw", "o three "], folded=True, live=False,
                    color=False)[-1].startswith("~ Thought for ")


def test_thinking_folded_is_one_line_that_counts() -> None:
    assert thinking(["one tw", "o three "], folded=True, color=False) == [
        "~ Thinking, 1.0 s, 2 words", "\r\x1b[J~ Thinking, 2.5 s, 3 words",
        "\r\x1b[J~ Thought for 3.2 s, 3 words\n"]
