"""What is known of the meaning of pieces, for one question: which items and which pieces are near to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.context.embedding import digest_of
from core.context.form import Piece
from core.context.ranking import best_pieces, fused, piece_scores

FAR = -2.0     # less than any cosine: of what was not compared


class Nearness:
    """`similar` is the cosine of pieces with the question, by digest_of(piece.text). Near is what is above the middle of all."""

    def __init__(self, pieces: Sequence[Piece] = (), similar: Mapping[str, float] | None = None) -> None:
        self._similar = similar or {}
        self._middle = sum(self._similar.values()) / len(self._similar) if self._similar else 0.0
        self._items: dict[str, float] = {}
        for piece in pieces:
            self._items[piece.name] = max(self._items.get(piece.name, FAR), self._of(piece))

    def _of(self, piece: Piece) -> float:
        return self._similar.get(digest_of(piece.text), FAR)

    def of_item(self, name: str) -> float:
        """That of its nearest piece."""
        return self._items.get(name, FAR)

    def is_near(self, name: str) -> bool:
        return self.of_item(name) > self._middle

    def best_pieces(self, pieces: Sequence[Piece], words: Sequence[str]) -> list[Piece]:
        """Those in which words of the question occur or that are near to it, the best first."""
        if not self._similar:
            return best_pieces(pieces, words)
        by_words, near = piece_scores(pieces, words), [self._of(piece) for piece in pieces]
        scores = fused(by_words, near)
        order = sorted(range(len(pieces)), key=lambda place: (-scores[place], -near[place], place))
        return [pieces[place] for place in order if by_words[place] > 0 or near[place] > self._middle]


NOT_NEAR = Nearness()
