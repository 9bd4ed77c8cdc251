"""Keeps track of open quotes, lists and items, and emits operations to open and close them."""

from __future__ import annotations

from core.dataclass import dataclass
from core.rendering.parser.grammar import Container, Item, Line, Quote
from core.rendering.parser.operations import Close, Open, Operation


@dataclass(slots=True)
class _List:
    """An open list: the marker of its items, and the number of the last one."""

    kind: str
    tag: str
    number: int


class Nesting:
    """The containers around the current block, and the operations that were not taken yet."""

    def __init__(self) -> None:
        self.containers: list[Container] = []
        self._operations: list[Operation] = []
        self._lists: list[_List] = []
        self._blank_before = False
        self._fresh = True          # the innermost open block is empty

    def _emit(self, operation: Operation) -> None:
        self._operations.append(operation)

    def _open(self, tag: str, detail: str = "") -> None:
        self._emit(Open(tag, detail, self._gap()))
        self._blank_before = self._fresh = False

    def _gap(self) -> bool:
        """Whether an empty line precedes the next block: in lists only if the text has one."""
        in_list = bool(self.containers) and isinstance(self.containers[-1], Item)
        return not self._fresh and (self._blank_before or not in_list)

    def _follow(self, line: Line) -> None:
        """Close the containers that the line does not continue, and open its new ones."""
        self._leave(line.kept, line.opened[0] if line.opened else None)
        for container in line.opened:
            if isinstance(container, Quote):
                self._open("quote")
            else:
                self._open_item(container)
            self._fresh = True
            self.containers.append(container)
        for container in self.containers:
            if isinstance(container, Item):
                container.empty = container.empty and line.leaf == "blank"

    def _open_item(self, item: Item) -> None:
        siblings = len(self._lists) > self._items()
        number = int(item.number or 0)
        if not siblings:
            self._open("ol" if item.number else "ul")
            self._fresh = True
            self._lists.append(_List(item.kind, "ol" if item.number else "ul", number))
        else:
            self._lists[-1].number = max(number, self._lists[-1].number + 1)
        gap = siblings and self._blank_before
        self._blank_before = False
        label = f"{self._lists[-1].number}{item.kind}" if item.number else ""
        self._emit(Open("li", label + item.box, gap))

    def _leave(self, kept: int, following: Container | None) -> None:
        """Close all but the first `kept` containers; a list stays open if an item of it follows."""
        while len(self.containers) > kept:
            self._close_list(None)
            self._emit(Close("quote" if isinstance(self.containers.pop(), Quote) else "li"))
            self._fresh = False
        self._close_list(following)

    def _close_list(self, following: Container | None) -> None:
        """Close the list whose last item is closed, unless another item of its kind follows."""
        if len(self._lists) > self._items():
            kind = following.kind if isinstance(following, Item) else ""
            if self._lists[-1].kind != kind:
                self._emit(Close(self._lists.pop().tag))

    def _items(self) -> int:
        return sum(isinstance(container, Item) for container in self.containers)
