"""Detects that an Ollama server silently dropped the oldest part of a prompt.

Facts (Ollama 0.3 to 0.33): a conversation that is too long loses its oldest messages; a last
message that is too long alone loses its beginning, down to half the window and two tokens (older
servers: to the window); an answer that outgrows the window pushes the beginning out while it is
written. The only traces are the counts. `truncate: false` makes newer servers refuse instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from core.dataclass import dataclass, replace
from core.errors import ChatError
from core.messages import Image, Message, Thinking, ToolCall, ToolResult, Usage
from core.model_manager import Providers, Target, parse_target
from core.providers import CanListRunning, Request
from core.running_total import RunningTotal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.window.tokens import TokenEstimator

SMALLEST = 1_024         # tokens; no usable window is smaller
DOUBT = 0.55             # greatest relative overestimate
# At least one token per so many bytes, however text without words (base64, keys) is divided.
BYTES_PER_TOKEN = 5.0
ASK_SECONDS = 2.0        # seconds to ask for the window after the answer
# seconds; a slower server had to load the model, perhaps with another window
LOADED_SECONDS = 0.5
MOST_ANCHORS = 8
MOST_PLAIN = 100_000     # messages kept without their odd parts
LEARN_ABOVE = 0.8  # a count below this fraction of the estimate may be of a cut prompt
LEAST_OFFER, MOST_OFFER = 8_192, 262_144


@dataclass(frozen=True, slots=True)
class Seen:
    """Token counts of one prompt: a lower bound, a likely value, and the server's own count.

    `before` is the server's count of an earlier prompt that this one begins with (0: none), `last`
    a lower bound of the last message.
    """

    least: float
    likely: int
    counted: int | None
    window: int
    before: int = 0
    last: float = 0


def kept_tokens(seen: Seen) -> int | None:
    """Return about how many tokens the model saw if the prompt was cut; None if there is no sign of
    that.

    It reports a cut only if the prompt cannot fit, or if the count is typical of a cut and the
    estimate agrees.
    """
    counted, window = seen.counted, seen.window
    if counted is not None and counted > window:
        return None  # the reported window is not the one that was used
    if counted is None:
        return window if seen.least > window else None
    # the count after a long last message was cut
    half, full = counted - (window // 2 + 2), counted >= window - 2
    if seen.least > window and (seen.last <= window or abs(half) <= 4 or full):
        return counted
    rough = 1.02 if seen.before else 1.3     # how far the estimate must be above the count
    marked = (half == 0 and seen.likely > counted * rough or abs(half) <= 4
              and seen.likely > window * 0.9)
    full = full and seen.likely > counted * 1.2
    # fewer tokens than the prompt's own beginning had
    less = counted < seen.before - 16 and seen.likely > window * 0.9
    return counted if marked or full or less else None


@dataclass(slots=True)
class _Anchor:
    """A prompt counted by the server, so that the same beginning of a longer prompt need not be
    estimated.
    """

    target: Target
    request: Request
    counted: int
    learned: bool = False

    def begins(self, request: Request, target: Target) -> bool:
        size = len(self.request.messages)
        return (self.target == target and self.request.system == request.system
                and self.request.tools == request.tools
                and request.messages[:size] == self.request.messages)


class WindowWatch:
    """Checks each answer of a chat for a cut prompt.

    Short conversations are not checked: they cannot fill a window.
    """

    def __init__(self, providers: Providers) -> None:
        self._providers = providers
        self._windows: dict[tuple[Target, int | None, str], int] = {}
        self._estimator: TokenEstimator | None = None
        self._anchors: list[_Anchor] = []
        self._cut: _Anchor | None = None     # the last cut prompt, with a lower bound of its tokens
        self._most: RunningTotal[int] = RunningTotal(
            0, lambda total, messages: total + sum(map(most_tokens_of, messages)))
        self._odd: RunningTotal[bool] = RunningTotal(
            False, lambda odd, messages: odd or any(map(_is_odd, messages)))
        # messages without the odd parts, by identity; the message is held, so that it stays unique
        self._plain_ones: dict[int, tuple[Message, Message]] = {}

    def known(self, target: Target, num_ctx: int | None) -> int | None:
        """Return the allocated window, if known."""
        return self._windows.get(self._key(target, num_ctx))

    def _key(self, target: Target, num_ctx: int | None) -> tuple[Target, int | None, str]:
        """Return the key of a window, which may differ between hosts of one provider."""
        return target, num_ctx, self._providers.asked(target.provider).endpoint.base_url

    async def check(self, request: Request, reply: Message) -> str:
        """Return a warning to show with this reply, or ""."""
        target = self._ollama_target(reply)
        if target is None:
            return ""
        usage = reply.usage or Usage()
        cut = False
        try:
            said, cut = await self._check(request, target, usage)
            return said
        finally:
            # the count of a cut prompt would distort the calibration of estimates
            if not cut:
                self._remember(request, target, usage)

    def _remember(self, request: Request, target: Target, usage: Usage) -> None:
        """Store useful counts: of the beginnings of this prompt, the largest.

        A count next to a cached count may not include it.
        """
        kept = [anchor for anchor in self._anchors
                if anchor.target != target or anchor.begins(request, target)]
        if usage.input_tokens and not usage.cached_tokens:
            kept.append(_Anchor(target, request, usage.input_tokens))
        self._anchors = sorted(kept, key=lambda anchor: anchor.counted)[-MOST_ANCHORS:]

    async def _check(self, request: Request, target: Target, usage: Usage) -> tuple[str, bool]:
        """Return the warning, and whether the prompt was cut."""
        asked = request.options.num_ctx
        most = most_tokens(request, self._most.of)
        if (max(most, usage.input_tokens or 0) + (usage.output_tokens or 0)
            < (self.known(target, asked) or asked or SMALLEST)):
            return "", False
        window = await self.window(target, asked, again=_was_loaded(usage))
        if window is None:
            return "", False
        if most > window:
            least, likely, before = self.estimate(request, target)
            counted = None if usage.cached_tokens else usage.input_tokens
            last = self._bounds(self._plain(replace(request, system=None, tools=(),
                                                    messages=request.messages[-1:])), target)[0]
            kept = kept_tokens(Seen(least, likely, counted, window, before, last))
            if kept is not None:
                self._cut = _Anchor(target, request, max(int(least), window + 1))
                return self._dropped(request, target, likely, kept, window), True
        return _outgrown(usage, window), False

    def _ollama_target(self, reply: Message) -> Target | None:
        try:
            target = parse_target(reply.model or "", known=self._providers.settings.providers)
            return target if self._providers.lists_running(target.provider) else None
        except ChatError:
            return None

    async def window(self, target: Target, num_ctx: int | None, *,
                     again: bool = False) -> int | None:
        """Return the window that the server allocated for this model, from /api/ps; requested once,
        or `again`.
        """
        key = self._key(target, num_ctx)
        if again or key not in self._windows:
            found = await self._read_window(target)
            if found is None:
                return self._windows.get(key)
            self._windows[key] = found
        return self._windows[key]

    async def _read_window(self, target: Target) -> int | None:
        provider = self._providers.asked(target.provider)
        try:
            models = (await asyncio.wait_for(provider.running(), ASK_SECONDS)
                      if isinstance(provider, CanListRunning) else [])
        except (ChatError, TimeoutError):
            return None
        names = (target.model, f"{target.model}:latest")
        return next((info.context_window for info in models if info.name in names), None)

    def estimate(self, request: Request, target: Target) -> tuple[float, int, int]:
        """Return (a lower bound, a likely number, the count of the longest earlier prompt that it
        begins with), in tokens.

        Each count of an earlier prompt gives a bound; a prompt that was cut itself gives a low one,
        which is harmless. A prompt that begins with one that did not fit does not fit either.
        """
        self._learn()
        given, request = request, self._plain(request)
        least, whole = self._bounds(request, target)
        likely, before = whole, 0
        for anchor in self._anchors:
            if anchor.begins(given, target):
                low, rest = self._bounds(
                    Request(request.model, request.messages[len(anchor.request.messages):]), target)
                least = max(least, anchor.counted + low)
                if anchor.counted > before:
                    before, likely = anchor.counted, anchor.counted + rest
        if self._cut is not None and self._cut.begins(given, target):
            least = max(least, self._cut.counted)
        return least, max(likely, round(least)), before

    def _bounds(self, request: Request, target: Target) -> tuple[float, int]:
        """Return (a lower bound, a likely number) of a request's tokens."""
        likely = self._tokens(request, target)
        longest = most_tokens(request, self._most.of)
        return min(likely * (1 - DOUBT), longest / BYTES_PER_TOKEN), likely

    def _tokens(self, request: Request, target: Target) -> int:
        if self._estimator is None:
            from core.window.tokens import TokenEstimator
            self._estimator = TokenEstimator()
        return self._estimator.request(request, str(target))

    def _learn(self) -> None:
        """Calibrate estimates with counts of prompts that were probably not cut: a count far below
        the estimate would distort them.
        """
        for anchor in self._anchors:
            if anchor.learned:
                continue
            request = self._plain(anchor.request)
            if anchor.counted >= LEARN_ABOVE * self._tokens(request, anchor.target):
                assert self._estimator is not None
                self._estimator.learn(request, anchor.counted, str(anchor.target))
            anchor.learned = True

    def _plain(self, request: Request) -> Request:
        """Return the request without odd parts, so that a lower bound stays valid."""
        if not self._odd.of(request.messages):
            return request
        return replace(request, messages=tuple(map(self._plain_one, request.messages)))

    def _plain_one(self, message: Message) -> Message:
        if not _is_odd(message):
            return message
        known = self._plain_ones.get(id(message))
        if known is None:
            if len(self._plain_ones) >= MOST_PLAIN:
                self._plain_ones.clear()
            parts = tuple(part for part in message.parts
                          if not isinstance(part, (Thinking, Image)))
            known = self._plain_ones[id(message)] = message, replace(message, parts=parts)
        return known[1]

    def _dropped(self, request: Request, target: Target, likely: int, kept: int,
                 window: int) -> str:
        sizes = [self._tokens(Request("", (message,)), target)
                 for message in self._plain(request).messages]
        gone = max(likely - kept, 1)
        return (f"The model did not see all of this: its window has {window:,} tokens, but what "
                f"was sent has about {likely:,}. The server silently dropped about {gone:,} of "
                f"them: {_which(sizes, kept)}. {advice(likely)}")


def _is_odd(message: Message) -> bool:
    """Whether it has parts that may not be sent (earlier thinking) or are counted too differently
    (images).
    """
    return any(isinstance(part, (Thinking, Image)) for part in message.parts)


def most_tokens(request: Request, messages: Callable[[Sequence[Message]], int]) -> int:
    """Return an upper bound of the request's tokens: a token is at least one byte of text.

    `messages` sums up most_tokens_of().
    """
    tools = sum(len(spec.description) + len(str(spec.parameters)) + 64 for spec in request.tools)
    return 256 + len(request.system or "") * 3 + tools + messages(request.messages)


def most_tokens_of(message: Message) -> int:
    most = 16
    for part in message.parts:
        if isinstance(part, Image):
            most += 4096
        elif isinstance(part, ToolCall):
            most += 3 * len(str(part.arguments)) + 32
        else:
            text = part.content if isinstance(part, ToolResult) else part.text
            most += len(text) if text.isascii() else 3 * len(text)
    return most


def _was_loaded(usage: Usage) -> bool:
    spent = (usage.details or {}).get("load_duration")
    return isinstance(spent, (int, float)) and spent / 1e9 > LOADED_SECONDS


def _which(sizes: Sequence[int], kept: int) -> str:
    """Describe the dropped messages: the oldest first; the last one is kept, if necessary without
    its beginning.
    """
    if not sizes or sizes[-1] > kept:
        before = len(sizes) - 1
        earlier = (f"the {before} messages before it and " if before > 1
                   else "the message before it and " if before == 1 else "")
        return f"{earlier}the beginning of the last message"
    left, gone = sum(sizes), 0
    while gone < len(sizes) - 1 and (left > kept or not gone):
        left -= sizes[gone]
        gone += 1
    return (f"the oldest {gone} of {len(sizes)} messages" if gone > 1
            else f"the oldest of {len(sizes)} messages")


def _outgrown(usage: Usage, window: int) -> str:
    """Return the warning that input and output together exceeded the window; both counts are exact.
    """
    if (usage.input_tokens is None or usage.output_tokens is None
        or usage.input_tokens + usage.output_tokens <= window):
        return ""
    whole = usage.input_tokens + usage.output_tokens
    return (f"The answer outgrew the model's window of {window:,} tokens ({usage.input_tokens:,} "
            f"sent, {usage.output_tokens:,} received): its end was written without the beginning "
            f"of the conversation. {advice(whole)}")


def advice(tokens: int) -> str:
    """Return advice for a prompt of this size."""
    wanted = LEAST_OFFER
    while wanted < tokens * 1.25 + 1024 and wanted < MOST_OFFER:
        wanted *= 2
    return (f"/ctx {wanted // 1024}k (or --num-ctx {wanted}) enlarges the window, /compact "
            "summarises older turns.")
