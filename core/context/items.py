"""The results of loading: items that can be sent to the model, and faults of others."""

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
    """One source of text or one picture.

    `text` is None for a file, which is read when needed. `name` is unique within a set, and the
    model sees it as the source; `origin` is the user's source that contains it. `size` is in bytes,
    -1 until it is determined; `stamp` is the file's modification time in nanoseconds. `named`: the
    user named this item itself. `kept`: only the parts sent earlier are known, it cannot be read
    again. `why` says which part of it is in the last request, and why.
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
        """The size in bytes, determined now if necessary; 0 if the file was deleted."""
        if self.size < 0:
            try:
                self.size = os.stat(self.path).st_size
            except OSError:
                self.size = 0
        return self.size


@dataclass(frozen=True, slots=True)
class Fault:
    """A source that could not be loaded, why, and a hint if one is known."""

    name: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(slots=True)
class Loaded:
    """The result of loading; `aside` counts files left out by rules, by reason (hidden, ignored,
    binary, ...).
    """

    items: list[Item] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    aside: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)

    def add(self, found: Item | Fault | Aside) -> None:
        """Add a result of loading."""
        match found:
            case Item():
                self.items.append(found)
            case Fault():
                self.faults.append(found)
            case Aside(reason):
                self.aside[reason] += 1

    def join(self, other: Loaded) -> None:
        """Add everything from another result."""
        self.items += other.items
        self.faults += other.faults
        self.aside += other.aside
        self.notes += other.notes


@dataclass(frozen=True, slots=True)
class Aside:
    """A file that a rule left out, with the reason."""

    reason: str


Found = Item | Fault | Aside
