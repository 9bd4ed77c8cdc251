"""The marks at the start of lines that are not the model's text."""

from __future__ import annotations

from core.dataclass import dataclass
from core.rendering.columns import word_rows, wrapped
from core.rendering.theme import Theme
from core.rendering.widths import PROSE, text_width
from core.safe_text import safe_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["user", "thinking", "now", "question", "done", "failed", "added", "note",
                   "warning", "error"]

HANG = 2        # cells of a mark and the space after it


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark: `plain` is for terminals without Unicode, `word` for --plain-screen; `role` styles
    the sign, `words` the text after it.
    """

    sign: str
    plain: str
    word: str
    role: str
    words: str = ""


MARKS: dict[Kind, Mark] = {
    "user": Mark("\u203a", ">", "You: ", "bold accent", "bold"),
    "thinking": Mark("~", "~", "", "dim", "dim"),
    "now": Mark("\u25b8", "=", "", "accent"),
    "question": Mark("?", "?", "Question: ", "bold accent", "bold"),
    "done": Mark("\u2713", "*", "", "dim"),
    "failed": Mark("\u2717", "x", "", "dim"),
    "added": Mark("+", "+", "Attached: ", "dim"),
    "note": Mark("\u00b7", ":", "", "dim", "dim"),
    "warning": Mark("!", "!", "Warning: ", "bold warn"),
    "error": Mark("\u2717", "x", "Error: ", "bold error", "bold"),
}


def styled(text: str, style: str) -> str:
    """`text` with the SGR parameters `style`; unchanged if there are none."""
    return f"\x1b[{style}m{text}\x1b[0m" if style and text else text


def marked(kind: Kind, text: str, width: int, theme: Theme, *, unicode: bool = True,
           cut: bool = True) -> list[str]:
    """The rows of a text after its mark, made safe, indented by two cells and narrower than
    `width`.

    The first line has the style of its kind, the others that of a note. Without `cut`, words that
    are longer than a row are not broken, so that they can be copied in one piece.
    """
    mark = MARKS[kind]
    sign = styled(mark.sign if unicode else mark.plain, theme.role(mark.role))
    first, *others = safe_text(text).strip("\n").split("\n")
    style = theme.role(mark.words)
    room = max(min(width - 1, PROSE) - HANG, 8)
    rows = [styled(row, style) for row in _rows(first, room, cut=cut)]
    for line in others:
        rows += [styled(row, style if mark.words == "dim" else "")
                 for row in _rows(line, room, cut=cut)]
    return [f"{sign} {rows[0]}", *(f"{' ' * HANG}{row}" if row else "" for row in rows[1:])]


def _rows(line: str, room: int, *, cut: bool) -> list[str]:
    """The rows of a line, broken between words; each keeps the line's indent."""
    line = line.expandtabs(4)
    body = line.lstrip(" ")
    indent = line[:len(line) - len(body)][:room // 2]
    if text_width(line) <= room:
        return [line]
    if cut:
        return [indent + row for row in wrapped(body, room - len(indent))]
    return word_rows(body, indent, room)
