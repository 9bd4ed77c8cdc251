"""ask(): one call with which a Python program asks a question and gets the complete answer."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing

from core.chat.conversation import Chat
from core.chat.front import Front
from core.config import BY_NAME, Settings
from core.config.file import checked_value
from core.config.sources import load_settings
from core.dataclass import dataclass
from core.errors import UsageError
from core.events import Event, MessageAdded, ModelChanged, Notice, Resuming, Retrying
from core.messages import Finish, Message, Usage, user_message
from core.setup.chat import attach, open_chat
from core.setup.store import OpenedStore


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer.

    `finish` says why it ended ("stop": normally). `notices` are what the chat would show the user.
    `model` is the model that answered, as provider/model. `session` is the ID under which the
    conversation is saved; None with save=False.
    """

    text: str
    thinking: str
    model: str
    finish: Finish | None
    usage: Usage | None
    notices: tuple[str, ...]
    session: str | None

    def __str__(self) -> str:
        return self.text


def ask(question: str, **settings: object) -> Answer:
    """Ask a question and return the complete answer. Raises a ChatError if there is none.

    `settings` are named as in `--help settings` and override the environment and the configuration
    file: ask("why?", model="groq/openai/gpt-oss-120b", temperature=0.2). Nothing is saved without
    save=True. Retries, fallbacks, tools and context work as in the chat; tools that need approval
    are refused.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(ask_async(question, **settings))
    raise UsageError(
        "ask() cannot wait inside a running event loop.", "Write: await ask_async(question)"
    )


async def ask_async(question: str, **settings: object) -> Answer:
    """ask() for programs with a running event loop."""
    given = _settings(settings)
    opened = OpenedStore(given)
    try:
        chat = await open_chat(given, opened, opened.session(given), Front())
        try:
            await attach(given, chat)
            return await _answered(chat, question, opened.news)
        finally:
            await chat.close()
            chat.session.close()
    finally:
        opened.close()


def _settings(values: dict[str, object]) -> Settings:
    """Settings from these values, the environment and the configuration file. Raises UsageError."""
    unknown = [name for name in values if name not in BY_NAME]
    if unknown:
        raise UsageError(
            f"There is no setting named {', '.join(unknown)}.",
            "stream-chat --help settings lists all of them.",
        )
    given = {
        name: checked_value(BY_NAME[name], _plain(value), f"ask({name}=...)")
        for name, value in values.items()
        if value is not None
    }
    return load_settings({"save": False, **given}, os.environ)


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


async def _answered(chat: Chat, question: str, news: list[str]) -> Answer:
    notices, replies, before = [*news], list[Message](), ""
    async with aclosing(chat.turn(user_message(question))) as events:
        async for event in events:
            notices += _notices_of(event)
            match event:
                case Resuming():
                    before += replies.pop().text
                case MessageAdded(message) if message.role == "assistant":
                    replies.append(message)
    last = replies[-1]
    return Answer(
        before + last.text,
        last.thinking,
        last.model or str(chat.target),
        last.finish,
        last.usage,
        tuple(notices),
        chat.session.id if chat.session.saved else None,
    )


def _notices_of(event: Event) -> list[str]:
    match event:
        case Notice(text):
            return [text]
        case Retrying(reason=reason) | Resuming(reason=reason):
            return [reason]
        case ModelChanged(old, new, reason):
            return [f"{new} answers instead of {old}: {reason}"]
    return []
