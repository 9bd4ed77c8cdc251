"""Notifies a user who looks elsewhere that a long answer has ended: with the bell, or a message of
the terminal.
"""

from __future__ import annotations

from core.safe_text import safe_line

LONG = 10.0     # shortest turn, in seconds, whose end is notified
MOST = 120      # characters of a message


def notification(how: str, seconds: float, text: str) -> str:
    """What to write for --notify `how`; empty for a short turn. OSC 9 is supported by iTerm2,
    WezTerm, Windows Terminal and kitty; OSC 777 to foot, urxvt and
    Ghostty. They show it only while another window is in front.
    """
    if seconds < LONG or how == "off":
        return ""
    words = safe_line(text, MOST).replace(";", ",")
    return {"osc9": f"\x1b]9;{words}\x1b\\",
            "osc777": f"\x1b]777;notify;Stream Chat;{words}\x1b\\"}.get(how, "\a")
