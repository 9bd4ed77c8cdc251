"""Completes slash commands and what follows them at the prompt."""

from __future__ import annotations

from collections.abc import Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from core.commands import all_commands
from core.conversation import Chat


class ChatCompleter(Completer):
    """Names of commands at the start of a line; the commands themselves know their arguments."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if text.startswith("/") and " " not in text and "\n" not in text:
            for command in all_commands().values():
                if command.name.startswith(text[1:]):
                    yield Completion(f"/{command.name}", start_position=-len(text), display_meta=command.help.splitlines()[0])
