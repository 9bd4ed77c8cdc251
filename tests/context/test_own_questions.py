"""The lines that answer the questions of `make eval` about this repository exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.corpora import Question, written

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("question", [*written("answers"), *written("project")],
                         ids=lambda question: question.file)
def test_the_line_that_answers_is_in_its_file(question: Question) -> None:
    """If a line has changed, change it in bench/questions/answers.tsv or project.tsv."""
    assert question.answer in (ROOT / question.file).read_text(encoding="utf-8")


def test_there_are_ten() -> None:
    assert len(list(written("answers"))) == 10
