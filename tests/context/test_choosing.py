"""Choosing what fits: the pieces of all files compete by words, as people and programs write them.
"""

from __future__ import annotations

import asyncio
import re
import random
from pathlib import Path

import pytest

from core.context.pieces import (PROSE, STRETCH, LineNumbers, cut, join_spans, marks_of, spans_of,
                                 split_pieces)
from core.context.ranking import name_scores, share_of_tests
from core.context.search import AGAIN_NEAR, Search, Spot, diverse
from core.context.synonyms import with_synonyms
from core.context.terms import find, lowered, stem_of, terms_of, terms_of_all, words_of
from core.context_loader import ContextSet, Prepared, plan_budget


def occurrences(word: str, text: str) -> list[float]:
    return [value for term in terms_of(word) for _, value in find(term, text, lowered(text))]


@pytest.mark.parametrize(("word", "text", "count"), (
    ("ip", "a script on a strip", 0), ("ip", "its IP is here, getIpAddress too", 2),
    ("caching", "the cache caches cached things", 3),
    ("delay", "backoff_delay and backoffDelay, delays", 3), ("stopped", "stop it, stopping", 2),
    ("port", "support, report", 0),
    ("88213", "order 88213, not 882134 or 188213", 1), ("retry", "RETRY_MAX, retries", 2),
    ("read_json", "def read_json(x)", 3),
    ("größe", "die Größe", 1), ("数据库", "连接数据库失败", 2), ("is", "this is", 0)))
def test_words_are_whole(word: str, text: str, count: int) -> None:
    assert len(occurrences(word, text)) == count


def test_the_word_itself_counts_more_than_another_form() -> None:
    assert occurrences("delays", "delays delay") == [1.0, 0.8]


def test_words_of_a_question() -> None:
    assert (words_of("Where is the backoffDelay of MAX_RETRY?")
            == ["backoffdelay", "backoff", "delay", "max_retry", "max", "retry"])
    assert (stem_of("42") == "42" and stem_of("a_b") == "a_b"
            and stem_of("computed") == stem_of("computing") == "comput")
    assert lowered("\u0130X") == "\u0130x"      # its small letter is two characters


def test_random_texts_are_cut_without_loss() -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    dice = random.Random(seed)
    for _ in range(200):
        some = ("", "def f():", "# Title", "    x = 1", "word " * dice.randrange(60),
                "y" * dice.randrange(5_000), "|a|b|", "some words, " * dice.randrange(900))
        lines = [dice.choice(some) for _ in range(dice.randrange(120))]
        text = "\n".join(lines) + dice.choice(("", "\n"))
        for name in ("a.py", "a.md", "a.csv", "a"):
            spans = spans_of(name, "file", text, marks_of(name, "file", text))
            assert "".join(text[start:end] for start, end in spans) == text
            assert all(end - start <= 2_000 + 800 for start, end in spans)
            pieces = cut(name, "file", text, spans)
            for piece, following, (_, end) in zip(pieces, pieces[1:], spans, strict=False):
                assert following.first == piece.last + (text[end - 1] == "\n")
                assert bool(piece.after) == bool(following.before) == (text[end - 1] != "\n")
                assert max(map(len, piece.text.split("\n"))) <= 2_000
            assert join_spans(spans, text) == ([(0, len(text))] if text else [])


def test_functions_and_sections_are_pieces() -> None:
    code = "".join(f"def f{number}():\n" + "    x = 'some words'\n" * 40 + "\n\n"
                   for number in range(5))
    assert ([piece.text.split("(")[0] for piece in split_pieces("a.py", "file", code)]
            == [f"def f{number}" for number in range(5)])
    prose = "".join(f"# Part {number}\n" + "some words of this part\n" * 40 for number in range(5))
    titles = [piece.text.split("\n")[0] for piece in split_pieces("a.md", "file", prose)]
    assert titles == [f"# Part {number}" for number in range(5)]


def test_what_is_found() -> None:
    search = Search(terms_of("How is the delay computed?"))
    search.add("script.py", "file", "display = 1\n" * 50)
    search.add("retry.py", "file",
               "x = 1\n" * 500 + "def compute_delay():\n    return 1\n" + "y = 2\n" * 500)
    spots = search.spots()
    assert [spot.name for spot in spots] == ["retry.py"] and spots[0].span[0] > 1_000
    assert Search(terms_of("delay")).spots() == []


def test_the_next_piece_of_a_file_counts_less() -> None:
    spots = [Spot("a", (0, 1), 1.0), Spot("a", (1, 2), 0.99), Spot("b", (0, 1), 0.96)]
    assert [(spot.name, spot.span[0]) for spot in diverse(spots)] == [("a", 0), ("b", 0), ("a", 1)]
    assert [spot.name for spot in diverse(spots, AGAIN_NEAR)] == ["a", "a", "b"]


# ---- in a set

def choose(root: Path, source: str, question: str, window: int = 4_096) -> Prepared:
    async def prepared() -> Prepared:
        context = ContextSet(root=str(root))
        await context.add(source)
        return await context.prepare(question, plan_budget(window))
    return asyncio.run(prepared())


def test_another_word_for_the_same_thing_counts_less() -> None:
    search = Search(with_synonyms(terms_of("where is the picture?")))
    for name, text in (("said.txt", "the picture is here"), ("other.txt", "the image is here"),
                       ("none.txt", "the mirage is here")):
        search.add(name, "file", text)
    assert [spot.name for spot in search.spots()] == ["said.txt", "other.txt"]
    assert search.matched() == {"said.txt": ["picture"], "other.txt": []}, "the words that occur"


def test_no_word_of_the_question_counts_twice() -> None:
    terms = with_synonyms(terms_of("is an image a picture?"))
    assert [[other.word for other in term.others] for term in terms] == [["photo"], ["photo"]]


def test_a_test_counts_less_unless_the_question_is_about_tests() -> None:
    def order(question: str) -> list[str]:
        search = Search(terms_of(question))
        for name in ("tests/test_delay.py", "src/delay.py"):
            search.add(name, "file", "def delay(): the delay of a test")
        return [spot.name for spot in search.spots()]
    assert order("where is the delay?") == ["src/delay.py", "tests/test_delay.py"]
    assert order("where is the delay tested?")[0] == "tests/test_delay.py"


@pytest.mark.parametrize(("name", "is_test"), [
    ("tests/a.py", True), ("src/test/A.java", True), ("test_a.py", True), ("pkg/a_test.go", True),
    ("a.spec.ts", True), ("web/__tests__/a.js", True), ("a.test.js", True),
    ("contest/a.py", False), ("latest.md", False), ("attest.py", False), ("special.py", False)])
def test_tests_are_known_by_their_names(name: str, is_test: bool) -> None:
    assert (share_of_tests(name, ["delay"]) < 1) == is_test


def test_a_piece_with_more_of_the_question_comes_first() -> None:
    search = Search(terms_of("quince valve pump"))
    search.add("often.txt", "file", "quince " * 30)
    search.add("each.txt", "file", "quince valve pump " + "plain words " * 20)
    search.add("plain.txt", "file", "plain words " * 20)
    assert search.spots()[0].name == "each.txt"


def test_an_answer_in_a_large_file_without_a_word_in_its_name(tmp_path: Path) -> None:
    lines = [f"line {number} of something else entirely" for number in range(20_000)]
    lines[15_000] = "the turbine was replaced in Aarhus"
    (tmp_path / "data.txt").write_text("\n".join(lines), encoding="utf-8")
    for number in range(30):
        (tmp_path / f"small{number}.txt").write_text("nothing to see", encoding="utf-8")
    chosen = choose(tmp_path, ".", "who replaced the turbine?")
    assert ("15001\tthe turbine was replaced in Aarhus" in chosen.block
            and "data.txt" in chosen.included)


def test_a_named_file_fills_the_room(tmp_path: Path) -> None:
    text = "\n".join(f"thing {number}: some words about it" for number in range(2_000))
    (tmp_path / "notes.txt").write_text(text, encoding="utf-8")
    budget = plan_budget(8_192)
    chosen = choose(tmp_path, "notes.txt", "what about thing 77?", 8_192)
    assert ("thing 77: some" in chosen.block
            and budget.for_context * 0.85 < chosen.tokens <= budget.for_context)


def test_earlier_questions_count_less() -> None:
    weights = {term.word: term.weight
               for term in terms_of_all(["the harbour?", "the tide table?", "why is that?"])}
    assert weights == {"tide": 0.8, "table": 0.8, "harbour": 0.4}
    weights = {term.word: term.weight
               for term in terms_of_all(["the tide table?", "which ferry goes in winter?"])}
    assert weights["tide"] < 0.5 and weights["ferry"] == 1.0 and terms_of_all([]) == []


@pytest.mark.parametrize("follow_up", ("why is that?", "explain it in more detail", "and then?"))
def test_a_follow_up_keeps_what_answered(tmp_path: Path, follow_up: str) -> None:
    for number in range(40):
        text = f"Some details of thing {number}, explained more.\n" * 80
        (tmp_path / f"f{number:02d}.txt").write_text(text, encoding="utf-8")
    (tmp_path / "f33.txt").write_text("words\n" * 300 + "The turbine stops when the oil is "
                                      "cold.\n" + "words\n" * 300)

    async def scenario() -> list[str]:
        context = ContextSet(root=str(tmp_path))
        await context.add(".")
        asked = ["when does the turbine stop?", follow_up]
        return [(await context.prepare(question, plan_budget(4_096), earlier=asked[:place])).block
                for place, question in enumerate(asked)]
    for block in asyncio.run(scenario()):
        assert "301\tThe turbine stops when the oil is cold." in block


def test_pictures_leave_room_for_text(tmp_path: Path) -> None:
    for number in range(30):
        (tmp_path / f"a{number:02d}.png").write_bytes(b"\x89PNG")
    (tmp_path / "text.md").write_text("The turbine stops when the oil is cold.\n" * 400)
    chosen = choose(tmp_path, ".", "when does the turbine stop?", 16_384)
    assert "text.md" in chosen.included and 1 <= len(chosen.images) <= 3
    assert "a29.png" in choose(tmp_path, ".", "what is in a29?", 16_384).included


def test_pictures_come_behind_texts_that_have_to_do_with_the_question(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(5):
        (tmp_path / "images" / f"a{number}.png").write_bytes(b"\x89PNG")
    for number in range(9):
        (tmp_path / f"text{number}.md").write_text("The turbine stops, the oil is cold.\n" * 400)
    found = {question: len(choose(tmp_path, ".", question, 16_384).images)
             for question in ("when does the turbine stop?", "what is in the images?",
                              "which animals are there?")}
    assert list(found.values()) == [0, 1, 1], found
    small = {question: choose(tmp_path, ".", question, 4_096) for question in found}
    assert [len(chosen.images) for chosen in small.values()] == [0, 1, 0]
    assert all(chosen.tokens <= plan_budget(4_096).for_context for chosen in small.values())
    assert "images/a3.png" in choose(tmp_path, ".", "what is in a3?", 16_384).included


def test_why_each_file_is_in_or_not_is_known(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"f{number}.txt").write_text("ordinary words stand here\n" * 150,
                                                 encoding="utf-8")
    around = "words and words\n" * 300
    (tmp_path / "long.txt").write_text(f"{around}the quince valve\n{around}", encoding="utf-8")
    (tmp_path / "named.txt").write_text("short\n", encoding="utf-8")

    async def reasons() -> dict[str, str]:
        context = ContextSet(root=str(tmp_path))
        await context.add("named.txt,.")
        await context.prepare("where is the quince valve?", plan_budget(4_096))
        return {item.name: item.why for item in context.items}
    found = asyncio.run(reasons())
    assert (re.fullmatch(r"lines [\d, -]+; has quince, valve", found["long.txt"])
            and found["named.txt"].endswith("you named it"))
    assert found["f11.txt"] == ""


def test_of_very_many_files_that_do_not_fit_only_some_are_looked_at(tmp_path: Path) -> None:
    """Checking each of 50,000 files would take a quarter of the time until the first request.

    A named one is always tried.
    """
    for number in range(450):
        (tmp_path / f"f{number:03}.txt").write_text("nothing to see\n" * 900)
    (tmp_path / "zz.txt").write_text("the tide is at nine\n")
    context = ContextSet(root=str(tmp_path))
    asyncio.run(context.add("."))
    result = asyncio.run(context.prepare("qqq?", plan_budget(4_096)))
    assert len(result.left_out) > 400 and sum(item.size >= 0 for item in context.items) < 300
    asyncio.run(context.add("zz.txt"))
    context.items[-1].named = True
    assert "zz.txt" in asyncio.run(context.prepare("qqq?", plan_budget(4_096))).included


def test_long_texts_are_marked_and_numbered_as_if_in_one_go() -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    dice = random.Random(seed)
    some = ("# Title", "Title\n=====", "Other\n---", "**Note:**", "word " * 30, "", "x\n\n====")
    for _ in range(5):
        text = "\n".join(dice.choice(some) for _ in range(20_000)) + dice.choice(("", "\n"))
        assert (marks_of("a.md", "file", text).headings
                == [found.start() for found in PROSE.finditer(text)])
        numbers = LineNumbers(text)
        for place in (0, len(text), *(dice.randrange(len(text)) for _ in range(200))):
            assert numbers.at(place) == 1 + text.count("\n", 0, place)
        assert numbers.all == len(text.splitlines())


class Counted(str):
    """A text that records how many of its characters were counted."""

    characters = 0

    def count(self, sub: str, start: int = 0, end: int | None = None) -> int:
        end = len(self) if end is None else min(end, len(self))
        self.characters += end - start
        return super().count(sub, start, end)


def test_a_piece_of_a_long_text_does_not_count_its_lines_again() -> None:
    text = Counted("id,name,value\n" * 100_000)
    numbers = LineNumbers(text)
    spans = spans_of("a.csv", "file", text, marks_of("a.csv", "file", text))
    for span in spans:
        cut("a.csv", "file", text, [span], "", numbers)
    most = len(text) + len(spans) * STRETCH
    assert len(spans) > 1_000 and len(text) <= text.characters <= most < 60 * len(text)


def test_names_searched_together_score_as_each_alone() -> None:
    dice = random.Random(7)
    parts = ("retry", "delay", "README", "/", "_", ".py", "a", "\n", "ß", "İ", "retrying", "src/")
    words = ["retry", "delay", "ss", "py"]
    for size in (0, 1, 40):
        names = ["".join(dice.choices(parts, k=4)) for _ in range(size)]
        for some in (names, [name for name in names if "\n" not in name]):
            alone = [name_scores([name], words)[0] for name in some]
            assert name_scores(some, words) == alone and (size < 40 or any(alone))


def test_names_of_what_is_left_out_stay_within_the_room(tmp_path: Path) -> None:
    """As many are named as fit, and the others are counted."""
    for number in range(60):
        folder = tmp_path / ("a-folder-with-a-long-name/" * 4) / f"payment{number}"
        place = folder / f"Gateway{number}.txt"
        place.parent.mkdir(parents=True)
        place.write_text("the gateway waits for the tide\n" * 200)
    context = ContextSet(root=str(tmp_path))
    asyncio.run(context.add("."))
    for window in (2_048, 4_096, 8_192):
        budget = plan_budget(window)
        result = asyncio.run(context.prepare("how long does the gateway wait?", budget))
        assert "waits for the tide" in result.block
        assert result.tokens <= budget.for_context
        told = result.block.partition("Not included, for lack of room: ")[2].partition("\n")[0]
        rest = re.search(r"(\d+) (?:more|items)\. ", told)
        assert rest is not None and "/" not in rest.group()
        assert told.count(".txt") + int(rest[1]) == len(result.left_out)


def test_a_question_without_words_gives_no_empty_note(tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_text("the tide is at nine\n" * 2_000)
    context = ContextSet(root=str(tmp_path))
    asyncio.run(context.add("."))
    result = asyncio.run(context.prepare("which?", plan_budget(4_096)))
    assert result.included and all(result.notes)


def test_a_file_that_shrinks_grows_or_disappears_while_it_is_chosen(tmp_path: Path) -> None:
    """What is listed may have changed by the time it is read; the others are chosen regardless."""
    for number in range(60):
        (tmp_path / f"f{number:02}.txt").write_text("the tide is at nine\n" * 400)
    context = ContextSet(root=str(tmp_path))
    asyncio.run(context.add("."))
    (tmp_path / "f00.txt").unlink()
    (tmp_path / "f01.txt").write_text("")
    (tmp_path / "f02.txt").write_text("the ebb is at three\n" * 9_000)
    (tmp_path / "f03.txt").unlink()
    (tmp_path / "f03.txt").mkdir()
    result = asyncio.run(context.prepare("when is the ebb?", plan_budget(4_096)))
    assert "the ebb is at three" in result.block
    assert result.included == ("f01.txt", "f02.txt"), "an empty file always fits"
    result = asyncio.run(context.prepare("when is the tide?", plan_budget(4_096)))
    assert "the tide is at nine" in result.block
