"""Completes slash commands and what follows them at the prompt."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from core.chat.conversation import Chat
from core.commands import find_command, names_to_complete
from core.errors import ChatError
from core.safe_text import safe_line


class ChatCompleter(Completer):
    """Names of commands at the start of a line; the commands themselves know their arguments."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        text = document.text_before_cursor
        if text.startswith("/") and " " not in text and "\n" not in text:
            for name, told in names_to_complete(self._chat):
                if name.startswith(text[1:]):
                    yield Completion(f"/{name}", start_position=-len(text), display_meta=safe_line(told, 100))

    async def get_completions_async(self, document: Document, complete_event: CompleteEvent) -> AsyncGenerator[Completion, None]:
        for completion in self.get_completions(document, complete_event):
            yield completion
        text = document.text_before_cursor
        if "@" in text and not text.startswith("/"):
            from core.context.sources import complete_mention
            begun = len(text) - text.rindex("@")
            for path in complete_mention(text):
                yield Completion(path, start_position=-begun)
            return
        word, space, argument = text.removeprefix("/").partition(" ")
        command = find_command(word) if text.startswith("/") and space and "\n" not in text else None
        if command is not None and command.complete is None and takes_path(command.usage):
            for path in complete_path(argument):
                yield Completion(path, start_position=-len(argument))
        if command is None or command.complete is None:
            return
        try:
            names = await command.complete(self._chat)
        except ChatError:   # a list that cannot be had completes nothing
            return
        for name in fitting(argument, names):
            yield Completion(name, start_position=-len(argument))


def takes_path(usage: str) -> bool:
    """Whether what follows the command begins with a file."""
    return usage.lstrip("[").startswith("FILE")


def complete_path(typed: str) -> list[str]:
    """The files and folders that the path can become."""
    from core.context.sources import complete_mention
    return [path.removeprefix("@") for path in complete_mention(f"@{typed}")]


def fitting(typed: str, names: Iterable[str]) -> list[str]:
    """Names that begin with what was typed, then those that hold it; each once."""
    wanted = typed.lower()
    known = list(dict.fromkeys(names))
    begun = [name for name in known if name.lower().startswith(wanted)]
    return begun + [name for name in known if wanted in name.lower() and name not in begun]
