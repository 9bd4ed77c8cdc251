"""Which attached pictures come before the texts, and which behind them."""

from __future__ import annotations

from collections.abc import Sequence

from core.context.items import Item
from core.context.terms import Term, in_name, stem_of
from core.dataclass import dataclass
from core.window.tokens import IMAGE_TOKENS

PICTURE_ROOM = 200         # tokens around the first picture
_WORDS = frozenset(map(stem_of, "picture image photo screenshot diagram drawing figure logo icon "
                                "chart png jpeg jpg".split()))


@dataclass(slots=True)
class Pictures:
    """The pictures that wait for their place in a prompt; each is given out once.

    `share` is the tokens that those may take which nobody named. Without `vision` the model
    sees none.
    """

    waiting: Sequence[Item]
    share: int
    vision: bool = True

    def named(self, terms: Sequence[Term]) -> list[Item]:
        """Those that the user named, or the question by a word of their name."""
        telling = [term for term in terms if term.stem not in _WORDS]
        return self._given([item for item in self.waiting if item.named
                            or any(in_name(telling, item.name.rpartition("/")[2]))])

    def others(self) -> list[Item]:
        """All that are left."""
        return self._given(self.waiting)

    def _given(self, items: Sequence[Item]) -> list[Item]:
        names = {item.name for item in items}
        self.waiting = [item for item in self.waiting if item.name not in names]
        return list(items)


def asks_for_pictures(terms: Sequence[Term]) -> bool:
    """Whether a question is about pictures."""
    return any(term.stem in _WORDS for term in terms)


def pictures_share(room: int) -> int:
    """What pictures may take where there are texts:
    a quarter, but one picture where that leaves half of the room.
    """
    return max(room // 4, min(IMAGE_TOKENS + PICTURE_ROOM, room // 2))
