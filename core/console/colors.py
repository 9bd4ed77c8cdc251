"""Which styles a terminal is given: whether any, how many colours, and for which background."""

from __future__ import annotations

from collections.abc import Mapping

from core.config import Settings
from core.rendering.theme import MONO, NO_STYLE, Background, Depth, Theme, theme_of


def theme_for(settings: Settings, *, dumb: bool, background: Background | None = None) -> Theme:
    """--color and --theme, then the variables that all programs share;
    `background` is what the terminal answered.
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
    """The number of colours that FORCE_COLOR and CLICOLOR_FORCE ask for; None when they do not."""
    wanted = environment.get("FORCE_COLOR", "").lower()
    if wanted and not refuses_color(environment):
        depths: dict[str, Depth] = {"2": 256, "3": "true"}
        return depths.get(wanted, 16)
    return 16 if environment.get("CLICOLOR_FORCE", "0") not in ("0", "") else None


def depth_of(environment: Mapping[str, str]) -> Depth:
    """How many colours the terminal says it has:
    COLORTERM, the name of the terminal, then its description.
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
    """The number of colours in the terminal's description (terminfo); 0 where it is unknown."""
    try:
        import curses
        curses.setupterm(name)
        return curses.tigetnum("colors")
    except Exception:       # no curses (Windows), no such terminal, a damaged description
        return 0


def background_named(environment: Mapping[str, str]) -> Background:
    """What COLORFGBG (rxvt, Konsole and others) says:
    its last number is the background's colour.
    """
    last = environment.get("COLORFGBG", "").rpartition(";")[2]
    if not last.isdigit():
        return "unknown"
    return "light" if int(last) == 7 or int(last) in range(9, 16) else "dark"
