"""Words in the headings above a piece count for the piece, and words that say little count little.
"""

from __future__ import annotations

import pytest

from core.context.headings import parents_of
from core.context.pieces import marks_of, split_pieces
from core.context.search import Search
from core.context.terms import terms_of

FILLER = "Plain sentences about nothing in particular fill this paragraph.\n\n" * 20


@pytest.mark.parametrize(("name", "text", "parents"), (
    ("a.md", "# A\n\n## B\n\n### C\n\n## D\n\n# E\n", [-1, 0, 1, 0, -1]),
    ("a.mdx", "## B\n\n# A\n\n### C\n", [-1, -1, 1]),
    ("a.rst", "Title\n=====\n\nPart\n----\n\nSmall\n~~~~~\n\nOther\n-----\n\nNext\n====\n",
     [-1, 0, 1, 0, -1]),
    ("a.py", "class A:\n    def b(self):\n        pass\n\n    def c(self):\n        pass\n\n"
             "def d():\n    pass\n", [-1, 0, 0, -1]),
    ("a.md", "# A\n\n## B\n\n````\n# comment\n```\n# comment\n````\n\n## C\n", [-1, 0, 0]),
    ("a.md", "", [])))
def test_what_contains_what(name: str, text: str, parents: list[int]) -> None:
    assert parents_of(text, marks_of(name, "file", text).headings) == parents


def best(texts: dict[str, str], question: str) -> tuple[str, str]:
    """The name and text of the best piece."""
    search = Search(terms_of(question))
    for name, text in texts.items():
        search.add(name, "file", text)
    spot = search.spots()[0]
    return spot.name, texts[spot.name][spot.span[0]:spot.span[1]]


def test_a_piece_far_below_its_heading_is_found_by_it() -> None:
    answer = "It is switched off by the variable NO_GPU.\n\n"
    texts = {"one.md": f"# Graphics\n\n## Vulkan\n\n{FILLER}{answer}{FILLER}",
             "two.md": f"# Sound\n\n## Mixer\n\n{FILLER}{answer}{FILLER}",
             "three.md": FILLER}
    name, text = best(texts, "how is vulkan switched off?")
    assert name == "one.md" and "NO_GPU" in text


def test_a_heading_counts_only_for_its_own_section() -> None:
    both = (f"# Limits\n\n## Size\n\n{FILLER}The value is {{}}.\n\n{FILLER}"
            f"## Depth\n\n{FILLER}The value is {{}}.\n\n{FILLER}")
    assert "eight" in best({"a.md": both.format("seven", "eight")}, "value depth")[1]
    assert "seven" in best({"a.md": both.format("seven", "eight")}, "value size")[1]


def test_words_that_say_little_count_little() -> None:
    texts = {"a.md": "Really, there must have been something while things happened.\n",
             "b.md": "The import of modules.\n", "c.md": "Nothing of either.\n"}
    assert best(texts, "what must I really import?")[0] == "b.md"
    assert [term.weight for term in terms_of("really import")] == [0.4, 1.0]


def test_a_function_a_little_longer_than_a_piece_stays_whole() -> None:
    code = "".join(f"def f{number}():\n" + "    x = 'some words'\n" * 45 for number in range(4))
    assert len(split_pieces("a.py", "file", code)) == 4
