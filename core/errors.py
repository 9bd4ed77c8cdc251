"""The program's errors; each carries what its handler needs.

ChatError                    message (what, why), hint (what to do), kind, exit_code
├── UsageError               2  a flag, a command or an argument is wrong
│   ├── ConfigError          2  the configuration is not valid; names the file and line
│   ├── ContextError         2  an attachment is written wrongly or cannot be loaded
│   └── SessionNotFound      2
│       └── SessionAmbiguous 2  several sessions match this part of an ID
├── ProviderError            1  a provider did not answer; retryable, retry_after
│   ├── ConnectFailed           no connection, or it ended before the answer began; retryable
│   ├── AuthFailed              the key is missing or was refused
│   ├── ModelNotFound
│   ├── RateLimited             retryable, with the provider's own delay
│   ├── QuotaExhausted          the account's quota is used up; waiting does not help
│   ├── CostLimit               not sent: it might exceed the user's limit on cost
│   ├── Overloaded              503, 529, a server that is loading; retryable
│   ├── ContextTooLong          the prompt does not fit the model's window
│   ├── BadRequest              the provider refused the request
│   │   └── Unsupported         the model does not support `feature`
│   ├── BadResponse             the response does not follow the provider's protocol
│   ├── EmptyReply              the model ended its reply without any text
│   ├── Paused                  the model paused its reply; it continues when it is sent back
│   └── StreamBroken         3  the reply broke off after it had begun; the text so far is kept
├── WrongForm                3  the answer is not the requested JSON, or does not match its schema
├── StoreError               1  sessions cannot be read or written
│   ├── StoreBusy               another program has locked the database
│   ├── StoreFull               the disk is full, or writing is not allowed
│   ├── StoreDamaged            not a database, or a damaged one
│   ├── StoreGone               deleted or moved while it was in use
│   │   └── SessionGone         the session or message was deleted from the database
│   ├── StoreConflict           the database has different data under the same identity
│   ├── StoreForbidden          this user has no right to it
│   ├── StoreForeign            the database of another program
│   └── StoreTooNew             made by a newer version of this program
└── ToolError                   a tool failed; the model receives it as an error result
"""

from __future__ import annotations

from core.safe_text import safe_line


class ChatError(Exception):
    """Base class of expected errors. Any other exception is a bug and keeps its traceback."""

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

    `retry_after` is the delay in seconds that the provider requested. `status` is the HTTP status,
    if there was one. If the provider has several hosts, `host` is the address that failed and
    `hosts_left` is the number of those not tried yet.
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
    """`limit` and `needed` are in tokens; None if the provider did not report them."""

    kind = "context_too_long"

    def __init__(self, message: str, hint: str = "", *, limit: int | None = None,
                 needed: int | None = None, status: int | None = None) -> None:
        super().__init__(message, hint, status=status)
        self.limit = limit
        self.needed = needed


class BadRequest(ProviderError):
    """`feature` is the parameter that the refusal names, if any: without it, the request may be
    accepted.
    """

    kind = "bad_request"

    def __init__(self, message: str, hint: str = "", *, feature: str = "",
                 status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, hint, status=status, retry_after=retry_after)
        self.feature = feature


class Unsupported(BadRequest):
    """`feature` is tools, thinking, vision, or the name of the refused parameter."""

    kind = "unsupported"

    def __init__(self, message: str, hint: str = "", *, feature: str,
                 status: int | None = None) -> None:
        super().__init__(message, hint, feature=feature, status=status)


class CostLimit(ProviderError):
    """The request was not sent because it might cost more than the user allows."""

    kind = "cost_limit"


class BadResponse(ProviderError):
    kind = "bad_response"
    retryable = True


class EmptyReply(ProviderError):
    """The model ended its reply normally but without any text."""

    kind = "empty"


class Paused(ProviderError):
    """The model paused its reply; it continues when it is sent back (Anthropic's pause_turn)."""

    kind = "paused"
    retryable = True


class StreamBroken(ProviderError):
    """The reply broke off. `cause` is the error that the provider reported in the stream, if any.
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
    """Turn a bug into an error that ends the turn but not the conversation.

    Its traceback goes to the --debug log.
    """
    import logging
    log = logging.getLogger(__name__)
    # before the settings are known, logging itself would print the traceback
    if log.hasHandlers():
        log.error("unexpected", exc_info=problem)
    if (isinstance(problem, ModuleNotFoundError)
        and not (problem.name or "core").startswith(("core", "db"))):
        return missing_package(str(problem.name))
    return ChatError(f"Unexpected failure: {type(problem).__name__}: {problem}",
                     "This is a bug in Stream Chat. The conversation so far is saved; --debug FILE "
                     "records the details.")


def missing_package(name: str) -> ChatError:
    """The error for a Python package that is missing, with a way to install or start correctly."""
    import os
    import sys
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    own = os.path.join(root, ".venv", "bin", "python")
    ways = (f"Install it: `make chat` in {root}"
            if os.path.exists(os.path.join(root, "Makefile")) else "Install Stream Chat again.")
    if (os.path.exists(own) and os.path.realpath(sys.prefix)
        != os.path.realpath(os.path.dirname(os.path.dirname(own)))):
        ways = (f"Start it with its own Python: {os.path.relpath(own)} "
                f"{os.path.relpath(os.path.join(root, 'stream_chat.py'))}")
    return ChatError(f"The Python package {name.partition('.')[0]} is missing in {sys.executable}.",
                     ways)


def describe(error: ChatError) -> str:
    """The error as at most three lines for a terminal: what happened and why, then what to do.

    Text from outside is made safe.
    """
    lines = [f"error: {safe_line(' '.join(error.message.split()), 400)}"]
    lines += [safe_line(line, 300) for line in error.hint.splitlines()[:2]]
    return "\n".join(lines)
