"""The command that asks something by the way."""

from __future__ import annotations

from core.chat.aside import Aside
from core.chat.conversation import Chat
from core.commands import Beside, Done, Outcome, command
from core.errors import UsageError

GROUP = "Chat"


@command("btw", usage="QUESTION | keep")
async def aside(chat: Chat, argument: str) -> Outcome:
    """Ask something by the way: the model answers from the conversation, which stays as it was.

    `/aside keep` takes the last such question and its answer into the conversation. Each is saved,
    as a session of its own. Tools are not offered.
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
        raise UsageError("There is no aside to take in.", "/aside QUESTION asks one.")
    chat.aside.take_in()
    return Done("The aside is part of the conversation now.")
