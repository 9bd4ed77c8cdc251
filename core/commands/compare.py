"""The command that asks two models the same."""

from __future__ import annotations

from collections.abc import Sequence

from core.chat.comparison import Comparison
from core.chat.conversation import Chat
from core.commands import Compare, Done, Outcome, command
from core.errors import UsageError
from core.messages import Message, user_message
from core.models.switch import find_model

GROUP = "Models"


async def _names(chat: Chat) -> Sequence[str]:
    return ["keep",
            *(model.name for model in await chat.providers.open(chat.target.provider).models())]


@command(usage="MODEL MODEL [QUESTION] | keep 1|2", complete=_names)
async def compare(chat: Chat, argument: str) -> Outcome:
    """Ask two models the same (without QUESTION: the last one) and show both answers;
    keep takes one into the conversation.
    """
    words = argument.split(maxsplit=2)
    if len(words) < 2:
        raise UsageError("Two models are needed.",
                         "/compare MODEL MODEL [QUESTION], then /compare keep 1 or keep 2.")
    if words[0] == "keep":
        if words[1] not in ("1", "2"):
            raise UsageError(f"/compare cannot keep {words[1]!r}.",
                             "/compare keep 1 or /compare keep 2")
        return _keep(chat, int(words[1]))
    question, new = _question(chat, words[2] if len(words) > 2 else "")
    targets = [(await find_model(word, chat.target, chat.providers))[0] for word in words[:2]]
    for target in targets:
        chat.providers.open(target.provider)
    chat.compared = comparison = Comparison(chat, targets, question, new=new)
    return Compare(comparison)


def _question(chat: Chat, words: str) -> tuple[Message, bool]:
    if words:
        return user_message(words), True
    last = next((message for message in reversed(chat.session.messages) if message.role == "user"),
                None)
    if last is None:
        raise UsageError("There is no question yet.",
                         "Write it after the names: /compare MODEL MODEL why is the sky blue?")
    return last, False


def _keep(chat: Chat, number: int) -> str:
    if not isinstance(chat.compared, Comparison):
        raise UsageError("Nothing was compared yet.", "/compare MODEL MODEL [QUESTION]")
    side = chat.compared.keep(number)
    return Done(f"The answer of {side.target} is in the conversation now; "
                f"{chat.target} continues with it.")
