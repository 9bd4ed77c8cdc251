"""Restores a session's attachments: its sources, and the sent parts of those that cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, get_args

from core.context.form import NUMBERED, Piece, is_cut, shown_name
from core.context.items import Item, ItemKind
from core.context.shown import attached_of
from core.context.sources import Kind, Source, parse_source
from core.dataclass import dataclass
from core.errors import ContextError
from core.messages import Image, Message, Shown
from core.regex import regex

# quick, and nobody has to be asked
READ_AGAIN = frozenset({"file", "directory", "glob", "sessions", "session"})
BLOCK = regex(r'<(source-[0-9a-f]{6}) (\w+)="([^"\n]*)"(?: lines="(\d+)-\d+ of (\d+)")?(?: '
              r'note="[^"\n]*")?>\n'
              r"(.*?)\n</\1>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class KeptSource:
    """A source as stored with a session: relative names start at `root`, `without` are removed
    items.
    """

    source: Source
    root: str
    without: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.source.kind, "name": self.source.name, "root": self.root,
                "without": list(self.without)}


def read_source(row: Any) -> KeptSource | None:
    """The reverse of to_json(); None for an unknown form."""
    if not isinstance(row, dict) or row.get("kind") not in get_args(Kind):
        return None
    kind, name, root, without = (row["kind"], row.get("name"), row.get("root"),
                                 row.get("without", []))
    if not isinstance(name, str) or not isinstance(root, str) or not isinstance(without, list):
        return None
    if kind in ("resource", "stdin"):
        return KeptSource(Source(kind, name, name), root)
    try:
        return KeptSource(parse_source(name, root), root, tuple(map(str, without)))
    except ContextError:
        return KeptSource(Source(kind, name, name), root, tuple(map(str, without)))


def sent_items(messages: Sequence[Message], wanted: Iterable[str]) -> list[Item]:
    """The items of these sources with the newest text of each that was sent."""
    origins, found = frozenset(wanted), dict[str, tuple[Shown, list[Piece]]]()
    images: dict[str, Image] = {}
    for message in messages:
        attached = attached_of(message)
        if attached is None:
            continue
        images |= {part.name: part for part in message.parts if isinstance(part, Image)}
        pieces = _pieces(attached.text)
        for entry in attached.shown:
            if entry.origin in origins:
                before = found.get(entry.name)
                known = before[1] if before is not None and before[0].digest == entry.digest else []
                found[entry.name] = (entry, [*known, *pieces.get(shown_name(entry.name), ())])
    return [item for entry, known in found.values()
            if (item := _item(entry, known, images)) is not None]


def _pieces(block: str) -> dict[str, list[Piece]]:
    """The pieces in a block of write_block(), by the names in their marks."""
    found: dict[str, list[Piece]] = {}
    for _, kind, name, first, lines, body in BLOCK.findall(block):
        text = ("\n".join(line.partition("\t")[2] for line in body.split("\n")) if kind in NUMBERED
                else body)
        count = text.count("\n") + bool(text)
        start = int(first or 1)
        found.setdefault(name, []).append(
            Piece(name, kind, text, start, start + count - 1, int(lines or count)))
    return found


def _item(entry: Shown, pieces: Sequence[Piece], images: Mapping[str, Image]) -> Item | None:
    if not pieces:
        image = images.get(entry.name)
        return (Item(entry.name, "image", entry.origin, 0, image=image, named=True, kept=True)
                if image is not None else None)
    lines = [""] * max(piece.lines for piece in pieces)
    for piece in pieces:
        for place, line in enumerate(piece.text.split("\n"), piece.first - 1):
            held = lines[place]
            lines[place] = (f"{held} {line}" if is_cut(line) and is_cut(held) and line not in held
                            else held if held and is_cut(line) else line)
    text = "\n".join(lines) + "\n"
    known = sum(last - first + 1 for first, last in entry.spans)
    parts = f", and parts of {len({line for line, *_ in entry.parts}):,}" if entry.parts else ""
    note = "as it was sent" + (f"; {known:,} of its {len(lines):,} lines are known{parts}"
                               if known < len(lines) else "")
    kind: ItemKind = next((kind for kind in get_args(ItemKind) if kind == pieces[0].kind),
                          "resource")
    return Item(entry.name, kind, entry.origin, len(text), text=text, named=True, note=note,
                kept=True)
