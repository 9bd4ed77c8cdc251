"""What a question brings into its request of what is attached."""

from __future__ import annotations

from core.dataclass import dataclass
from core.messages import Attached, Image, Shown


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a question brings into its request.

    `line` says in one line what the model sees of all; `notes` are faults and cuts, one line each.
    Of what is `included`, now or before, some is `whole`. `tokens` and
    `shown` belong to the `block`.
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
        """What stands before the words of the question."""
        return Attached(self.block, self.shown)

    def __bool__(self) -> bool:
        """Whether anything has to be sent."""
        return bool(self.block or self.images)


NOTHING = Prepared("", (), 0, "", (), (), ())
