"""Counts how often the line that answers a question is in the context, for three windows and
several methods (`make eval`).

    python -m bench.context_eval                     every method, the half of the
                                                     questions that is kept apart
    python -m bench.context_eval --half tuning       the other half, which the
                                                     weights were chosen on
    python -m bench.context_eval --write             puts the table into docs/context.md
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from bench.corpora import KINDS, Corpus, Question, make_corpus
from core.config.directories import cache_directory
from core.context.embedding import Embedder, digest_of
from core.context.files import read_text
from core.context.form import OPENING, Piece, write_block, write_piece
from core.context.items import Item
from core.context.pieces import split_pieces
from core.context.ranking import B, K1
from core.context_loader import ContextSet, plan_budget
from core.engine.models import COMPARING
from core.errors import ContextError
from core.providers import Endpoint
from core.providers.local import Local
from core.window.tokens import TokenEstimator

WINDOWS = (4_096, 8_192, 32_768)
DOCS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs",
                    "context.md")
BEGIN, END = "<!-- made by make eval -->", "<!-- end of what make eval made -->"
FENCED = re.compile(r'<(source-\w{6}) \w+="([^"]*)"[^>]*>\n(.*?)\n</\1>', re.DOTALL)


def is_hit(block: str, question: Question) -> bool:
    """Whether the block contains the line that answers, from the correct file."""
    return any(name == question.file and question.answer in body
               for _, name, body in FENCED.findall(block))


def line_of(block: str, question: Question) -> int:
    """The number of the line that answers, as shown in the block; 0 if it is missing."""
    bodies = (body for _, name, body in FENCED.findall(block) if name == question.file)
    lines = (line for body in bodies for line in body.split("\n") if question.answer in line)
    number = next(lines, "").partition("\t")[0]
    return int(number) if number.isdigit() else 0


class Shipped:
    """What the program does."""

    def __init__(self, corpus: Corpus) -> None:
        self.context = ContextSet(root=corpus.root)
        asyncio.run(self.context.add("."))

    def block(self, question: str, window: int) -> str:
        for item in self.context.items:
            item.included = ""      # each question is the first of its conversation
        return asyncio.run(self.context.prepare(question, plan_budget(window))).block


class Plain:
    """BM25 over all pieces with unchanged words, best first until the room is full."""

    def __init__(self, corpus: Corpus) -> None:
        self.estimator = TokenEstimator()
        self.pieces = list(all_pieces(corpus))
        self.counted = [Counter(plain_words(piece.text)) for piece in self.pieces]
        self.found: Counter[str] = Counter(word for counts in self.counted for word in counts)
        self.average = sum(counts.total() for counts in self.counted) / len(self.counted)

    def scores(self, question: str) -> Iterator[float]:
        from math import log
        words = [(word,
                  log(1 + (len(self.pieces) - self.found[word] + 0.5) / (self.found[word] + 0.5)))
                 for word in set(plain_words(question)) if word in self.found]
        for counts in self.counted:
            norm = K1 * (1 - B + B * counts.total() / self.average)
            yield sum(weight * counts[word] * (K1 + 1) / (counts[word] + norm)
                      for word, weight in words)

    def block(self, question: str, window: int) -> str:
        room = plan_budget(window).for_context - self.estimator.text(OPENING) - 40
        taken: list[Piece] = []
        for score, piece in sorted(zip(self.scores(question), self.pieces, strict=True),
                                   key=lambda pair: -pair[0]):
            cost = self.estimator.text(write_piece(piece)) + 1
            if score <= 0 or room < 60:
                break
            if cost <= room:
                taken.append(piece)
                room -= cost
        return write_block(taken, ())


class Alone(Plain):
    """Only the pieces nearest in meaning, by the small model."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus)
        whole: dict[str, list[str]] = {}
        for piece in self.pieces:
            whole.setdefault(piece.name, []).append(piece.text)
        self.pieces = [piece for name, parts in whole.items()
                       for piece in split_pieces(name, "file", "\n".join(parts))]
        self._embedder = small_embedder()

    def scores(self, question: str) -> Iterator[float]:
        near = asyncio.run(self._embedder.similarities(question,
                                                       [piece.text for piece in self.pieces]))
        return (near.get(digest_of(piece.text), 0.0) for piece in self.pieces)


class Fused(Shipped):
    """What the program does with --embedding-model local/all-minilm-l6-v2."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus)
        self.context.embedder = small_embedder()


@functools.cache
def small_embedder() -> Embedder:
    """The model must have been downloaded: stream-chat --provider local --pull all-minilm-l6-v2."""
    folder = os.path.join(cache_directory(os.environ), "models")
    quirks = {"model_directory": folder, "threads": 2, "idle": 60}

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        provider = Local(Endpoint("", host="local", quirks=quirks))
        try:
            return await provider.embed(COMPARING[0].name, texts)
        finally:
            await provider.close()
    return Embedder(COMPARING[0].name, embed)


def plain_words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def all_pieces(corpus: Corpus) -> Iterator[Piece]:
    for folder, _, names in sorted(os.walk(corpus.root)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            try:
                text = read_text(Item(os.path.relpath(path, corpus.root), "file", ".", -1, path))
            except ContextError:
                continue
            yield from screens(os.path.relpath(path, corpus.root), text)


def screens(name: str, text: str, size: int = 60) -> Iterator[Piece]:
    """Every 60 lines are a piece."""
    lines = text.split("\n")
    for first in range(0, len(lines), size):
        part = lines[first:first + size]
        yield Piece(name, "file", "\n".join(part), first + 1, first + len(part), len(lines))


METHODS: dict[str, Callable[[Corpus], Shipped | Plain]] = {
    "plain BM25": Plain, "Stream Chat": Shipped, "embeddings alone": Alone,
    "Stream Chat with embeddings": Fused}
QUICK = tuple(METHODS)[:2]      # without a model


@dataclass(slots=True)
class Result:
    """Hits by method, corpus and window, and how many questions each corpus has."""

    hits: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    asked: Counter[str] = field(default_factory=Counter)
    missed: list[tuple[str, int, Question]] = field(default_factory=list)
    dropped: list[Question] = field(default_factory=list)


def measure(corpus: Corpus, methods: Sequence[str], half: str, result: Result) -> None:
    questions = [question for question in corpus.questions
                 if half == "all" or question.apart == (half == "final")]
    result.asked[corpus.name] = len(questions)
    result.dropped += corpus.dropped
    for method in methods:
        chosen = METHODS[method](corpus)
        for question in questions:
            for window in WINDOWS:
                if is_hit(chosen.block(question.text, window), question):
                    result.hits[method, corpus.name, window] += 1
                else:
                    result.missed.append((method, window, question))


def table(result: Result, methods: Sequence[str]) -> str:
    """A row for each method and corpus."""
    lines = ["| corpus (questions) | method | "
             + " | ".join(f"{window // 1024}k" for window in WINDOWS) + " |", "|---" * 5 + "|"]
    for name, count in result.asked.items():
        lines += [f"| {name} ({count}) | {method} | {_cells(result, method, [name])} |"
                  for method in methods]
    everything = list(result.asked)
    lines += [f"| **all ({result.asked.total()})** | {method} | "
              f"{_cells(result, method, everything)} |" for method in methods]
    return "\n".join(lines)


def _cells(result: Result, method: str, names: Sequence[str]) -> str:
    return " | ".join(str(sum(result.hits[method, name, window] for name in names))
                      for window in WINDOWS)


def write_docs(text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put a table between its two marks in docs/context.md."""
    with open(DOCS, encoding="utf-8") as file:
        before, _, rest = file.read().partition(begin)
    with open(DOCS, "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--half", choices=("tuning", "final", "all"), default="final")
    parser.add_argument("--corpus", choices=tuple(KINDS), action="append")
    parser.add_argument("--method", choices=tuple(METHODS), action="append")
    parser.add_argument("--missed", action="store_true", help="list what was missed")
    parser.add_argument("--write", action="store_true", help="put the table into docs/context.md")
    given = parser.parse_args()
    methods, result = given.method or QUICK, Result()
    with tempfile.TemporaryDirectory(prefix="context-eval-") as root:
        for name in given.corpus or KINDS:
            measure(make_corpus(name, root), methods, given.half, result)
    print(table(result, methods))
    if small_embedder.cache_info().currsize and (news := small_embedder().take_news()):
        print(news)
    for question in result.dropped:
        print(f"not asked, since its answer is no longer in {question.file}: {question.text}")
    if given.missed:
        for method, window, question in result.missed:
            print(f"{method} {window}: {question.text} ({question.file}: {question.answer})")
    if given.write:
        write_docs(table(result, methods))


if __name__ == "__main__":
    main()
