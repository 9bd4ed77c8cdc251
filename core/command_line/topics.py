"""--help TOPIC: a page of the documentation, a group of options, an option, or a chat command."""

from __future__ import annotations

import io
import sys
from difflib import get_close_matches

from core.argument_parser import group_lines, option_lines, setting_of
from core.config import SETTINGS, Settings, rows_by_group
from core.config.setting import Setting
from core.config.pages import page_names, page_title, read_page
from core.errors import UsageError

LIST = "topics"


def topic_text(topic: str, settings: Settings, width: int) -> str:
    """Return the text about a topic, styled for a terminal.

    Raises UsageError for an unknown topic.
    """
    word = topic.strip().lower()
    if word == LIST:
        return "\n".join(_topic_lines(width)) + "\n"
    if word.startswith("/"):
        from core.commands.help import explained
        return explained(word) + "\n"
    row = setting_of(word)
    if row is not None:
        return "\n".join(_about(row, width)) + "\n"
    groups = [(group, rows) for group, rows in rows_by_group() if word in group.lower().split()]
    options = "".join("\n".join(group_lines(group, rows, width)) + "\n\n" for group, rows in groups)
    page = _page(word, settings) if word in page_names() else ""
    return options + page or "\n".join(_mentioning(topic, width)) + "\n"


def _topic_lines(width: int) -> list[str]:
    groups = [word for group, _ in rows_by_group()
              for word in group.lower().split() if word not in ("and", "page", "the")]
    return ["Pages:", *(f"  {name:<16}{page_title(name)}"[:width] for name in page_names()), "",
            "Groups of options:", f"  {', '.join(groups)}", "",
            "Also an option (--help --model), a command of the chat (--help /model), or a word "
            "(--help proxy)."]


def _about(row: Setting, width: int) -> list[str]:
    """Return the lines about one option, with its other names."""
    lines = option_lines(row, width)
    if row.choices:
        lines.append(f"  One of: {', '.join(row.choices)}")
    if row.env:
        lines.append(f"  Environment: {', '.join(row.env)}")
    if row.in_file:
        lines.append(f"  Configuration file: {row.name}")
    return lines


def _mentioning(topic: str, width: int) -> list[str]:
    """Return the options and pages that contain the word."""
    word = topic.lower()
    rows = [row for row in SETTINGS
            if word in f"{' '.join(row.flags)} {row.help} {' '.join(row.env)}".lower()]
    pages = [name for name in page_names() if word in read_page(name).lower()]
    if not rows and not pages:
        raise UsageError(f"There is no help about {topic}.", _suggestion(word))
    lines = group_lines(f"Options about {topic}", rows, width) if rows else []
    if pages:
        lines += [""] * bool(rows) + [f"Pages that mention {topic}:",
                                      *(f"  --help {name}" for name in pages)]
    return lines


def _suggestion(word: str) -> str:
    flags = [flag for row in SETTINGS for flag in row.flags]
    close = get_close_matches(word, [*page_names(), *flags, LIST], n=1, cutoff=0.6)
    return (f"Did you mean --help {close[0]}?" if close
            else f"stream-chat --help {LIST} lists the topics.")


def _page(name: str, settings: Settings) -> str:
    """Return a page, rendered for a terminal or as Markdown."""
    text = read_page(name)
    if not sys.stdout.isatty():
        return text
    from core.console.screen import Screen
    shown = _Collected()
    Screen(shown, settings).show_reply(text)
    return shown.getvalue()


class _Collected(io.StringIO):
    """Collects what a screen writes, with the encoding of standard output."""

    @property
    def encoding(self) -> str:  # type: ignore[override]  # a property in place of the attribute
        return sys.stdout.encoding
