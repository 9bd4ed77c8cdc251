"""A chain of models that are functions, for the asking loop without a network."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence

from core.chat.turn import Respond
from core.events import Delta, ModelChanged, Notice, Reading, Retrying, Waiting
from core.providers import Request
from core.retry.policy import Candidate, Failure, RetryConfig
from core.retry_handler import Item, Pieces, RetryBudget, stream_chat_with_retry

Answer = Callable[[Request],
                  AsyncGenerator[Delta | Waiting | Retrying | ModelChanged | Notice, None]]
AT_ONCE = RetryConfig(max_attempts=1, initial_delay=0.0, max_delay=0.0, jitter=0.0)


class Models:
    """Each name is answered by its function.

    `asked` are the names in the order in which they were asked.
    """

    def __init__(self, answers: dict[str, Answer], config: RetryConfig = AT_ONCE) -> None:
        self.config, self.budget, self.pauses = config, RetryBudget(), (1.5, 1.0)
        self.answers, self.asked, self.failures = answers, list[str](), list[Failure]()
        self.speaking = next(iter(answers))
        self.lacks: dict[str, set[str]] = {}

    def begin(self,
              refused: frozenset[Candidate]) -> tuple[Sequence[Candidate], ModelChanged | None]:
        all_of_them = [Candidate(*name.split("/")) for name in self.answers]
        return ([candidate for candidate in all_of_them if candidate not in refused] or all_of_them,
                None)

    async def open(self, candidate: Candidate, request: Request) -> AsyncGenerator[Delta, None]:
        self.asked.append(str(candidate))
        # a script may say what a loop says
        return self.answers[str(candidate)](request)  # type: ignore[return-value]

    async def why_not(self, candidate: Candidate, request: Request) -> str:
        return ""

    async def describe(self, candidate: Candidate, request: Request,
                       read: Sequence[Reading]) -> str:
        return ""

    def change(self, candidate: Candidate, why: str) -> ModelChanged | None:
        before, self.speaking = self.speaking, str(candidate)
        return ModelChanged(before, self.speaking, why) if before != self.speaking else None

    def without(self, candidate: Candidate, request: Request, feature: str) -> str:
        known = self.lacks.setdefault(str(candidate), set())
        if feature in known:
            return ""
        known.add(feature)
        return f"{candidate} does not take {feature}."

    def note_name(self, candidate: Candidate, name: str) -> str:
        return ""

    def note_answer(self, candidate: Candidate) -> None:
        pass

    def note_failure(self, candidate: Candidate, failure: Failure) -> None:
        self.failures.append(failure)

    def note_host_failure(self, candidate: Candidate, failure: Failure) -> str:
        return f"{failure.error.message} Another host is asked."


def one_model(answer: Answer, config: RetryConfig = AT_ONCE) -> Respond:
    """The loop around a single model."""
    models = Models({"p/m": answer}, config)

    def respond(request: Request, pieces: Pieces) -> AsyncGenerator[Item, None]:
        return stream_chat_with_retry(models, request, pieces)
    return respond
