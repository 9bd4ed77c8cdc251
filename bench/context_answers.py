"""Ten questions about this repository, answered by a small real model in the embedded engine (`make
eval ARGS=answers`).

The model must have been fetched: stream-chat --provider local --pull smollm2-135m. For each
question a whole turn runs, as `stream-chat --context . QUESTION` runs it. What was sent is then
read from the database: it must hold the line that answers, from the right file.

    python -m bench.context_answers            prints the table; ends with 1 when a line is missing
    python -m bench.context_answers --write    puts the table into docs/context.md
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.context_eval import is_hit, line_of, write_docs
from bench.corpora import Corpus, Question, make_corpus
from core.ask import ask
from core.engine.models import SMALLEST
from core.messages import Attached
from core.safe_text import safe_line
from db import open_store

WINDOW, LENGTH, LONGEST = 8_192, 60, 200      # tokens, tokens and characters of an answer
BEGIN, END = "<!-- made by make eval ARGS=answers -->", "<!-- end of the answers -->"


@dataclass(frozen=True, slots=True)
class Answered:
    """The request for a question, and the model's answer."""

    question: Question
    sent: str
    text: str

    @property
    def has_line(self) -> bool:
        return is_hit(self.sent, self.question)

    @property
    def line(self) -> int:
        """The number of the line that answers, as shown to the model; 0 if it is missing."""
        return line_of(self.sent, self.question)


def answered(corpus: Corpus, database: str, window: int = WINDOW) -> Iterator[Answered]:
    """Ask each question of the corpus in a separate session."""
    for question in corpus.questions:
        with contextlib.chdir(corpus.root):     # so that names begin below it
            answer = ask(question.text, model=f"local/{SMALLEST.name}", num_ctx=window,
                         max_tokens=LENGTH, seed=7, context=["."], save=True,
                         database_url=database)
        yield Answered(question, sent_in(database, answer.session or ""), answer.text)


def sent_in(database: str, session: str) -> str:
    """The context that was sent with the questions of a session."""
    store = open_store(database)
    try:
        return "".join(part.text for stored in store.load_messages(session)
                       for part in stored.message.parts if isinstance(part, Attached))
    finally:
        store.close()


def table(found: Sequence[Answered]) -> str:
    """A row for each question."""
    rows = ["| question | the line that answers | in the context | what the model said |",
            "|---" * 4 + "|"]
    return "\n".join([*rows, *map(_row, found)])


def _row(entry: Answered) -> str:
    place = f"`{entry.question.file}:{entry.line}`" if entry.line else f"`{entry.question.file}`"
    said = safe_line(entry.text.replace("|", "\\|"), LONGEST)
    return f"| {entry.question.text} | {place} | {'yes' if entry.has_line else 'no'} | {said} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the table into docs/context.md")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="context-answers-") as folder:
        found = list(answered(make_corpus("answers", folder), os.path.join(folder, "chats.db")))
    print(table(found))
    if given.write:
        write_docs(table(found), BEGIN, END)
    return 0 if all(entry.has_line for entry in found) else 1


if __name__ == "__main__":
    sys.exit(main())
