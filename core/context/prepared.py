"""The context chosen for one request."""

from __future__ import annotations

from core.dataclass import dataclass
from core.messages import Attached, Image, Shown


@dataclass(frozen=True, slots=True)
class Prepared:
    """The context chosen for a question.

    `line` summarises what the model receives; `notes` are faults and cuts, one line each.
    `included` are the names of items in this or an earlier request, `whole` those included
    completely. `tokens` and `shown` describe the `block`.
    """

    block: str
    images: tuple[Image, ...]
    tokens: int
    line: str
    included: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    whole: tuple[str, ...] = ()
    shown: tuple[Shown, ...] = ()

    @property
    def attached(self) -> Attached:
        """The part to insert before the text of the question."""
        return Attached(self.block, self.shown)

    def __bool__(self) -> bool:
        """Whether there is anything to send."""
        return bool(self.block or self.images)


NOTHING = Prepared("", (), 0, "", (), (), ())
