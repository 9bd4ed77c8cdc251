"""The command that asks something beside the conversation."""

from __future__ import annotations

from core.chat.aside import Aside
from core.chat.conversation import Chat
from core.commands import Beside, Done, Outcome, command
from core.errors import UsageError

GROUP = "Chat"


@command("btw", usage="QUESTION | keep")
async def aside(chat: Chat, argument: str) -> Outcome:
    """Ask something beside the conversation: the model sees the conversation, which stays
    unchanged. `/aside keep` adds the last such question and its answer to it. Each aside is saved
    as its own session. Tools are not offered.
    """
    if argument == "keep":
        return _keep(chat)
    if not argument:
        raise UsageError("/aside needs a question.", "Example: /aside what is idempotence?")
    asked = Aside(chat, argument)
    chat.aside = asked
    return Beside(asked)


def _keep(chat: Chat) -> Outcome:
    if not isinstance(chat.aside, Aside):
        raise UsageError("There is no aside to keep.", "/aside QUESTION asks one.")
    chat.aside.take_in()
    return Done("The aside is part of the conversation now.")
