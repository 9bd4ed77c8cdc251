"""The plain values that loading gives: items that can be shown to the model,
and faults of those that cannot.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Literal

from core.dataclass import dataclass, field
from core.messages import Image

ItemKind = Literal["file", "document", "image", "page", "session", "table", "command", "stdin",
                   "resource"]
Included = Literal["", "whole", "pieces"]


@dataclass(slots=True)
class Item:
    """One thing that the model can be shown.

    `text` is None for a file, which is read when it is wanted.

    `name` is unique within a set and is what the model sees as its source; `origin` is the
    source that brought it. `size` is bytes, -1 before anybody asked; `stamp` the file's time of
    change in nanoseconds. `named` says that the user named this very thing. `kept`: only what
    was sent of it is known, it cannot be read again. `why` says what of it is in the last
    request, and for what reason.
    """

    name: str
    kind: ItemKind
    origin: str
    size: int
    path: str = ""
    stamp: int = 0
    text: str | None = None
    image: Image | None = None
    named: bool = False
    tokens: int = 0
    included: Included = ""
    note: str = ""
    kept: bool = False
    why: str = ""

    @property
    def bytes(self) -> int:
        """The size; a file that was only listed is looked at now. 0 when it is gone."""
        if self.size < 0:
            try:
                self.size = os.stat(self.path).st_size
            except OSError:
                self.size = 0
        return self.size


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was asked for and could not be loaded, why, and what helps where known."""

    name: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(slots=True)
class Loaded:
    """The result of loading.

    `aside` counts what a folder's rules left out, by reason (hidden, ignored, binary ...).
    """

    items: list[Item] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    aside: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, found: Item | Fault | Aside) -> None:
        match found:
            case Item():
                self.items.append(found)
            case Fault():
                self.faults.append(found)
            case Aside(reason):
                self.aside[reason] += 1

    def join(self, other: Loaded) -> None:
        self.items += other.items
        self.faults += other.faults
        self.aside += other.aside
        self.notes += other.notes


@dataclass(frozen=True, slots=True)
class Aside:
    """A file that a rule left out."""

    reason: str


Found = Item | Fault | Aside
