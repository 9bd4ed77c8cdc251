"""Commands that change a conversation: undo, redo, edit, ask again, and switch to another branch.
Nothing is deleted.
"""

from __future__ import annotations

from core.chat.conversation import Chat
from core.commands import Again, Done, Edit, History, Outcome, Say, command
from core.errors import UsageError
from core.context.shown import without_attached
from core.messages import Image, Message
from core.model_manager import resolve_target
from core.models.switch import find_model
from core.rendering.table import Table
from core.safe_text import safe_line
from core.sessions.listing import local_minutes

GROUP = "Chat"


@command(usage="[MODEL]")
async def retry(chat: Chat, argument: str) -> Outcome:
    """Ask the last question again, or ask MODEL; the reply that it had stays as a branch."""
    if not any(message.role == "user" for message in chat.session.messages):
        raise UsageError("There is nothing to ask again yet.")
    if argument:
        await _choose(chat, argument)
    question = chat.session.retry()
    assert question is not None, "there is a question"
    return Again(said=f"Retrying: {beginning(question)}")


async def _choose(chat: Chat, name: str) -> None:
    target, _ = await find_model(name, chat.target, chat.providers)
    chat.providers.open(target.provider)
    chat.target = await resolve_target(target, chat.providers)


@command()
async def drop(chat: Chat, argument: str) -> Outcome:
    """Take the last reply out of the conversation; it stays saved as a branch but is no longer
    sent.
    """
    if (not chat.session.messages or chat.session.messages[-1].role == "user"
        or chat.session.retry() is None):
        raise UsageError("There is no reply to drop.")
    return Done("Dropped the last reply. The conversation now ends with your message: "
                f"{beginning(chat.session.messages[-1])}")


@command()
async def undo(chat: Chat, argument: str) -> Outcome:
    """Take back your last message and its answer; /redo brings them back."""
    question = chat.session.undo()
    return Done(f"Taken back: {beginning(question)} ({_count(chat)} left). /redo brings it back.")


@command()
async def redo(chat: Chat, argument: str) -> Outcome:
    """Bring back what was taken back last."""
    question = chat.session.redo()
    return Done(f"Back again: {beginning(question)} ({_count(chat)}).")


@command(usage="[N] [TEXT]")
async def edit(chat: Chat, argument: str) -> Outcome:
    """Change your last message, or your message number N (-2: the one before the last),
    and ask again from there.

    Without TEXT the message is put at the prompt, where you change it; with $VISUAL or $EDITOR set,
    your editor opens it. What followed stays as a branch.
    """
    number, text = _numbered(argument)
    place = chat.session.question_place(number)
    if text:
        return _edited(chat, place, text)
    said = chat.session.messages[place].text
    if number is None and _numbered(said)[0] is not None:
        number = -1         # so that a number at the beginning of the message is not taken for N
    return Edit(said, f"/edit {said}" if number is None else f"/edit {number} {said}",
                lambda changed: _edited(chat, place, changed))


def _edited(chat: Chat, place: int, text: str) -> Outcome:
    if not text.strip() or text == chat.session.messages[place].text:
        return "Nothing is changed."
    question = without_attached(chat.session.rewind(place))
    images = tuple(part for part in question.parts if isinstance(part, Image))
    return Say(text, images, typed=True)


@command(usage="[N]")
async def fork(chat: Chat, argument: str) -> Outcome:
    """Continue in a new session that starts with this conversation, or with its first N exchanges;
    this one stays as it is.
    """
    number, rest = _numbered(argument)
    if rest or number is not None and number < 1:
        raise UsageError("/fork takes a number of exchanges.",
                         "/fork 2 starts a session with the first two.")
    old = chat.session
    if not old.count:
        raise UsageError("Nothing was said in this session yet.")
    chat.session = old.fork(old.exchange_end(number))
    return Done(f"This is session {chat.session.short_name}, with {_count(chat)} of "
                f"{old.short_name}.")


@command(usage="[N]")
async def branches(chat: Chat, argument: str) -> Outcome:
    """List the ways that this conversation went, or continue with branch N."""
    found = chat.session.branches()
    if not argument:
        if len(found) < 2:
            return "This conversation has one branch. /edit, /retry and /undo make others."
        times = local_minutes(branch.last.created for branch in found)
        rows = tuple((f"{number}{' (shown)' if branch.shown else ''}", moment, str(branch.length),
                      str(branch.shared),
                      beginning(branch.last.message))
                     for number, (branch, moment) in enumerate(zip(found, times), 1))
        return Table(("branch", "last message", "messages", "shared", "ends with"), rows,
                     "/branches N continues with one.")
    number, rest = _numbered(argument)
    if rest or number is None or not 1 <= number <= len(found):
        raise UsageError(f"There is no branch {argument}.",
                         f"/branches lists the {len(found)} there are.")
    chat.session.show(found[number - 1].end)
    return History(tuple(chat.session.messages),
                   f"Branch {number} of {len(found)} ({_count(chat)}).", last=True)


def _numbered(argument: str) -> tuple[int | None, str]:
    """A number at the beginning, and the rest."""
    word, _, rest = argument.partition(" ")
    digits = word.removeprefix("-")
    if digits.isascii() and digits.isdigit() and len(digits) < 10:
        return int(word), rest.strip()
    return None, argument


def _count(chat: Chat) -> str:
    count = chat.session.count
    return "1 message" if count == 1 else f"{count} messages"


def beginning(message: Message, most: int = 60) -> str:
    return safe_line(" ".join(message.text.split()), most) or "(no text)"
