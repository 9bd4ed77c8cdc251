"""Chooses a terminal's styles: whether to use any, how many colours, and for which background."""

from __future__ import annotations

from collections.abc import Mapping

from core.config import Settings
from core.rendering.theme import MONO, NO_STYLE, Theme, theme_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.rendering.theme import Background, Depth


def theme_for(settings: Settings, *, dumb: bool, background: Background | None = None) -> Theme:
    """Follow --color and --theme, then the variables shared by all programs; `background` is the
    terminal's answer.
    """
    environment = settings.environment
    forced = forced_depth(environment)
    if settings.color == "never" or dumb and settings.color != "always" and forced is None:
        return NO_STYLE
    if settings.color == "auto" and (refuses_color(environment) or forced is None
                                     and environment.get("CLICOLOR") == "0"):
        return NO_STYLE
    depth = forced or depth_of(environment)
    if settings.theme != "auto":
        return theme_of(settings.theme, depth)
    if settings.color == "auto" and environment.get("NO_COLOR"):
        return MONO
    return theme_of(background or background_named(environment), depth)


def refuses_color(environment: Mapping[str, str]) -> bool:
    return environment.get("FORCE_COLOR", "").lower() in ("0", "false")


def forced_depth(environment: Mapping[str, str]) -> Depth | None:
    """The number of colours that FORCE_COLOR or CLICOLOR_FORCE requests; None if neither is set."""
    wanted = environment.get("FORCE_COLOR", "").lower()
    if wanted and not refuses_color(environment):
        depths: dict[str, Depth] = {"2": 256, "3": "true"}
        return depths.get(wanted, 16)
    return 16 if environment.get("CLICOLOR_FORCE", "0") not in ("0", "") else None


def depth_of(environment: Mapping[str, str]) -> Depth:
    """How many colours the terminal has, by COLORTERM, its name, then its terminfo description.
    """
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "true"
    name = environment.get("TERM", "")
    if name.endswith("-direct"):
        return "true"
    if "256color" in name:
        return 256
    return 256 if described_colors(name) >= 256 else 16


def described_colors(name: str) -> int:
    """The number of colours in the terminal's terminfo description; 0 if it is unknown."""
    try:
        import curses
        curses.setupterm(name)
        return curses.tigetnum("colors")
    except Exception:       # no curses (Windows), an unknown terminal, a damaged description
        return 0


def background_named(environment: Mapping[str, str]) -> Background:
    """The background that COLORFGBG (rxvt, Konsole and others) names with its last number.
    """
    last = environment.get("COLORFGBG", "").rpartition(";")[2]
    if not last.isdigit():
        return "unknown"
    return "light" if int(last) == 7 or int(last) in range(9, 16) else "dark"
