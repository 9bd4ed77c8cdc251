"""The questions over this repository, which a model answers in `make eval ARGS=answers`,
belong to the code as it is.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.corpora import Question, written

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("question", list(written("answers")), ids=lambda question: question.file)
def test_the_line_that_answers_is_in_its_file(question: Question) -> None:
    """When it has moved: bench/questions/answers.tsv."""
    assert question.answer in (ROOT / question.file).read_text(encoding="utf-8")


def test_there_are_ten() -> None:
    assert len(list(written("answers"))) == 10
