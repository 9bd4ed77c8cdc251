"""Decides which attached pictures come before the texts, and which after them."""

from __future__ import annotations

from collections.abc import Sequence

from core.context.items import Item
from core.context.terms import Term, in_name, stem_of
from core.dataclass import dataclass
from core.window.tokens import IMAGE_TOKENS

PICTURE_ROOM = 200         # tokens of room needed besides the first picture
_WORDS = frozenset(map(stem_of, "picture image photo screenshot diagram drawing figure logo icon "
                                "chart png jpeg jpg".split()))


@dataclass(slots=True)
class Pictures:
    """The pictures for a prompt; each is returned once.

    `share` is the number of tokens for pictures that were not named. Without `vision`, the model
    cannot see any.
    """

    waiting: Sequence[Item]
    share: int
    vision: bool = True

    def named(self, terms: Sequence[Term]) -> list[Item]:
        """Pictures named by the user, or by the question with a word of their name."""
        telling = [term for term in terms if term.stem not in _WORDS]
        return self._given([item for item in self.waiting if item.named
                            or any(in_name(telling, item.name.rpartition("/")[2]))])

    def others(self) -> list[Item]:
        """All remaining pictures."""
        return self._given(self.waiting)

    def _given(self, items: Sequence[Item]) -> list[Item]:
        names = {item.name for item in items}
        self.waiting = [item for item in self.waiting if item.name not in names]
        return list(items)


def asks_for_pictures(terms: Sequence[Term]) -> bool:
    """Whether a question is about pictures."""
    return any(term.stem in _WORDS for term in terms)


def pictures_share(room: int, *, asked: bool) -> int:
    """The tokens for pictures if there are texts: a quarter of the room, or one picture if that
    leaves half of the room. If the question is `asked` about pictures, one in any room that it
    fits.
    """
    one = IMAGE_TOKENS + PICTURE_ROOM
    return max(room // 4, one if asked else min(one, room // 2))
