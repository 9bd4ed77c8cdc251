"""Lets the user change an earlier message: in an editor, or at the prompt."""

from __future__ import annotations

from collections.abc import Mapping

from core.commands import Edit
from core.console.editor import NoEditor, chosen_editor, edit_text
from core.console.screen import Screen
from core.errors import UsageError

MOST_AT_PROMPT = 11  # line ends of a text that is edited at the prompt without an editor


def edited(screen: Screen, edit: Edit, environment: Mapping[str, str]) -> str | None:
    """The text as the user's editor leaves it; None if the next prompt begins with it, because no
    editor is set or the one that is cannot be started.
    """
    short = edit.text.count("\n") < MOST_AT_PROMPT
    if chosen_editor(environment) or not short:
        try:
            return edit_text(edit.text, environment)
        except NoEditor as error:
            if screen.typed is None or not short:
                raise
            screen.error(NoEditor(error.message, "The message is at the prompt instead."))
    elif screen.typed is None:
        raise UsageError("No editor is set.", "/edit TEXT asks with other words; the variable "
                         "EDITOR names an editor.")
    screen.begun_line = edit.line
    return None
