"""The examples of the CommonMark specification (0.31.2, spec.commonmark.org): the meaning of each
source, in a normal form.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.rendering.parser.blocks import Parser
from core.rendering.parser.operations import Operation
from tests.rendering.normal_form import of_operations

EXAMPLES: dict[str, tuple[str, list[str]]] = json.loads(
    Path(__file__).with_name("commonmark_examples.json").read_text("utf-8"))

# What differs on purpose, and why.
ON_PURPOSE = {
    "HTML is shown as text: nothing that a model writes may become part of a page": {
        21, 31, 308, 309, 344, 475, 476, 477, 491, 494, 524, 536, *range(148, 192),
        *range(613, 618), 623, *range(625, 632),
        642, 643},
    "a link definition has one line: its next one may be long in coming":
    {193, 195, 196, 198, 201, 208, 217, 541},
    "between \\( \\) and \\[ \\] stands a formula": {12},
    "a link without words shows its address": {484},
    "an image inside an image's description is named": {574},
    "addresses are links without angle brackets too, as GFM has them": {602, 608, 611},
}


def operations(text: str, *, pieces: int) -> list[Operation]:
    """With the link definitions known, as when a complete reply is shown or exported."""
    first = Parser()
    first.feed(text)
    first.finish()
    parser = Parser(first.references)
    for start in range(0, len(text), pieces):
        parser.feed(text[start:start + pieces])
    parser.finish()
    return parser.take()


@pytest.mark.parametrize("pieces", [1, 3, 10_000])
def test_the_examples(pieces: int) -> None:
    differ = {int(number) for number, (source, expected) in EXAMPLES.items()
              if of_operations(operations(source, pieces=pieces)) != expected}
    assert differ == set().union(*ON_PURPOSE.values())


def test_most_examples_hold() -> None:
    assert len(EXAMPLES) == 652 and sum(map(len, ON_PURPOSE.values())) < 90
