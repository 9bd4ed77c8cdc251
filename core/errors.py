"""What goes wrong, as a tree; each error carries what its receiver needs to act.

ChatError                    message (what, why), hint (what to do), kind, exit_code
├── UsageError               2  a flag, a command or an argument is wrong
│   ├── ConfigError          2  the configuration cannot be used; says the file and line
│   ├── ContextError         2  nothing could be loaded that was to be attached,
    or it is written wrongly
│   └── SessionNotFound      2
│       └── SessionAmbiguous 2  a part of an ID that several sessions have
├── ProviderError            1  a provider did not answer; retryable, retry_after
│   ├── ConnectFailed           no connection, or it ended before the answer began; retryable
│   ├── AuthFailed              no key, or a wrong one
│   ├── ModelNotFound
│   ├── RateLimited             retryable, with the provider's own delay
│   ├── QuotaExhausted          waiting does not heal it
│   ├── CostLimit               not sent, since it might pass the user's limit on cost
│   ├── Overloaded              503, 529, a server that is loading; retryable
│   ├── ContextTooLong          the prompt does not fit the model's window
│   ├── BadRequest              the provider refused the request
│   │   └── Unsupported         the model has no such ability; `feature` names it
│   ├── BadResponse             what came was not the provider's protocol
│   ├── EmptyReply              the model ended its reply without a word
│   ├── Paused                  the model put its reply aside; sent back, it continues
│   └── StreamBroken         3  the reply broke off after it had begun; the text so far is kept
├── WrongForm                3  the answer is not the JSON that was asked for,
                             or does not fit its schema
├── StoreError               1  sessions cannot be read or written
│   ├── StoreBusy               another program holds the database
│   ├── StoreFull               no room on the disk, or not allowed to write
│   ├── StoreDamaged            not a database, or a broken one
│   ├── StoreGone               deleted or moved away while it was in use
│   │   └── SessionGone         the database is there, the session or message
    that is written to is not
│   ├── StoreConflict           different data has the same identity there
│   ├── StoreForbidden          this user has no right to it
│   ├── StoreForeign            the database of another program
│   └── StoreTooNew             made by a newer version of this program
└── ToolError                   a tool failed; becomes the model's error result
"""

from __future__ import annotations

from core.safe_text import safe_line


class ChatError(Exception):
    """Base of everything that can go wrong in a known way.

    Anything else is a bug and keeps its traceback.
    """

    kind = "error"
    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(ChatError):
    kind = "usage"
    exit_code = 2


class ConfigError(UsageError):
    kind = "config"


class ContextError(UsageError):
    kind = "context"


class SessionNotFound(UsageError):
    kind = "session_not_found"


class SessionAmbiguous(SessionNotFound):
    kind = "session_ambiguous"


class ProviderError(ChatError):
    """A provider did not answer.

    `retry_after` is the delay in seconds that the provider itself asked for.

    `host` is the address that failed, where the provider has several, and `hosts_left`
    counts those not tried yet.
    """

    kind = "provider"
    retryable = False
    host = ""
    hosts_left = 0

    def __init__(self, message: str, hint: str = "", *, retry_after: float | None = None,
                 status: int | None = None) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after
        self.status = status


class ConnectFailed(ProviderError):
    kind = "connection"
    retryable = True


class AuthFailed(ProviderError):
    kind = "authentication"


class ModelNotFound(ProviderError):
    kind = "model_not_found"


class RateLimited(ProviderError):
    kind = "rate_limit"
    retryable = True


class QuotaExhausted(ProviderError):
    kind = "quota"


class Overloaded(ProviderError):
    kind = "overloaded"
    retryable = True


class ContextTooLong(ProviderError):
    """`limit` and `needed` are tokens, where the provider said them."""

    kind = "context_too_long"

    def __init__(self, message: str, hint: str = "", *, limit: int | None = None,
                 needed: int | None = None,
                 status: int | None = None) -> None:
        super().__init__(message, hint, status=status)
        self.limit = limit
        self.needed = needed


class BadRequest(ProviderError):
    """`feature` is a parameter that the refusal names, where it names one:
    without it, the request may be accepted.
    """

    kind = "bad_request"

    def __init__(self, message: str, hint: str = "", *, feature: str = "",
                 status: int | None = None,
                 retry_after: float | None = None) -> None:
        super().__init__(message, hint, status=status, retry_after=retry_after)
        self.feature = feature


class Unsupported(BadRequest):
    """`feature` is tools, thinking, vision, or the name of the refused parameter."""

    kind = "unsupported"

    def __init__(self, message: str, hint: str = "", *, feature: str,
                 status: int | None = None) -> None:
        super().__init__(message, hint, feature=feature, status=status)


class CostLimit(ProviderError):
    """The request was not sent: it might cost more than the user allows."""

    kind = "cost_limit"


class BadResponse(ProviderError):
    kind = "bad_response"
    retryable = True


class EmptyReply(ProviderError):
    """The model ended its reply without a word, as if that were an answer."""

    kind = "empty"


class Paused(ProviderError):
    """The model put its reply aside and continues when it is sent back (Anthropic's pause_turn)."""

    kind = "paused"
    retryable = True


class StreamBroken(ProviderError):
    """The reply broke off.

    `cause` is an error that the provider reported inside the stream, if it did.
    """

    kind = "stream_broken"
    exit_code = 3
    retryable = True

    def __init__(self, message: str, hint: str = "", *, cause: ProviderError | None = None) -> None:
        super().__init__(message, hint, retry_after=cause.retry_after if cause else None)
        self.cause = cause


class WrongForm(ChatError):
    kind = "wrong_form"
    exit_code = 3


class StoreError(ChatError):
    kind = "store"


class StoreBusy(StoreError):
    kind = "store_busy"


class StoreFull(StoreError):
    kind = "store_full"


class StoreDamaged(StoreError):
    kind = "store_damaged"


class StoreGone(StoreError):
    kind = "store_gone"


class SessionGone(StoreGone):
    kind = "session_gone"


class StoreConflict(StoreError):
    kind = "store_conflict"


class StoreForbidden(StoreError):
    kind = "store_forbidden"


class StoreForeign(StoreError):
    kind = "store_foreign"


class StoreTooNew(StoreError):
    kind = "store_too_new"


class ToolError(ChatError):
    kind = "tool"


def unexpected(problem: Exception) -> ChatError:
    """A bug, as an error that ends one turn and not the conversation.

    Its traceback goes to the --debug log.
    """
    import logging
    logging.getLogger(__name__).error("unexpected", exc_info=problem)
    if (isinstance(problem, ModuleNotFoundError)
        and not (problem.name or "core").startswith(("core", "db"))):
        return missing_package(str(problem.name))
    return ChatError(f"Unexpected failure: {type(problem).__name__}: {problem}",
                     "This is a bug in Stream Chat. The conversation so far is saved; --debug FILE "
                     "records the details.")


def missing_package(name: str) -> ChatError:
    """The program was started with a Python that lacks what it needs."""
    import os
    import sys
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    own = os.path.join(root, ".venv", "bin", "python")
    ways = ("Install what is needed: "
            + (f"`make chat` in {root}" if os.path.exists(os.path.join(root, "Makefile"))
               else "install Stream Chat again"))
    if (os.path.exists(own) and os.path.realpath(sys.prefix)
        != os.path.realpath(os.path.dirname(os.path.dirname(own)))):
        ways = (f"Start it with its own Python: {os.path.relpath(own)} "
                f"{os.path.relpath(os.path.join(root, 'stream_chat.py'))}")
    return ChatError(f"The Python package {name.partition('.')[0]} is missing in {sys.executable}.",
                     ways)


def describe(error: ChatError) -> str:
    """The error as at most three lines for a screen: what and why, then what to do.

    Foreign text in it is made safe.
    """
    lines = [f"error: {safe_line(' '.join(error.message.split()), 400)}"]
    lines += [safe_line(line, 300) for line in error.hint.splitlines()[:2]]
    return "\n".join(lines)
