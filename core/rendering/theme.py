"""Colours by role (accent, warning, error, dim) for a terminal's background and colour depth."""

from __future__ import annotations

from core.dataclass import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Background = Literal["dark", "light", "mono", "unknown"]
    Depth = Literal[16, 256, "true"]
    Role = Literal["", "accent", "warn", "error", "dim", "bold"]

# true colour, its nearest of 256, of 16 (SGR)
_ROLES: dict[str, dict[str, tuple[str, int, str]]] = {
    "dark": {"accent": ("#7cc7c0", 116, "36"), "warn": ("#e3b566", 179, "33"),
             "error": ("#f2938c", 210, "91"),
             "dim": ("#9ba2ac", 247, "2")},
    "light": {"accent": ("#0b6b68", 23, "34"), "warn": ("#855300", 94, "35"),
              "error": ("#b3261e", 124, "31"),
              "dim": ("#5c626b", 240, "2")},
}


@dataclass(frozen=True, slots=True)
class Theme:
    """The SGR parameters of each role; "" for none. `styled`: bold, italic and underline are used.

    `marked`: what colour would show is also shown by signs, such as backticks around code.
    """

    accent: str = ""
    warn: str = ""
    error: str = ""
    dim: str = ""
    styled: bool = True
    marked: bool = False

    def role(self, name: str) -> str:
        """The parameters of a role, "bold", "italic", "underline", "strike", or several of them
        separated by spaces.
        """
        return ";".join(filter(None, map(self._one, name.split())))

    def _one(self, name: str) -> str:
        style = _STYLES.get(name)
        if style is not None:
            return style if self.styled else ""
        return {"accent": self.accent, "warn": self.warn, "error": self.error,
                "dim": self.dim}[name]


_STYLES = {"bold": "1", "italic": "3", "underline": "4", "inverse": "7", "strike": "9"}
NO_STYLE = Theme(styled=False, marked=True)
MONO = Theme(warn="1", error="1", dim="2", marked=True)
# magenta and red: the two of the sixteen colours that are readable on black and on white
UNKNOWN = Theme("35", "1", "31", "2")


def theme_of(background: Background, depth: Depth) -> Theme:
    """The theme for a terminal with this background and colour depth, as far as they are known."""
    if background == "mono":
        return MONO
    if background == "unknown":
        return UNKNOWN
    roles = {role: _parameters(*ways, depth) for role, ways in _ROLES[background].items()}
    return Theme(roles["accent"], roles["warn"], roles["error"], roles["dim"])


def _parameters(color: str, of_256: int, of_16: str, depth: Depth) -> str:
    if depth == 16:
        return of_16
    if depth == 256:
        return f"38;5;{of_256}"
    return "38;2;" + ";".join(str(int(color[place:place + 2], 16)) for place in (1, 3, 5))
