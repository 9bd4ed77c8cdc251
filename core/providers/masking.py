"""Implements --mask: replaces private text in requests to cloud models with placeholders, and
restores it in answers.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import fields
from typing import Any

from core.dataclass import replace
from core.events import Delta, TextDelta, ThinkingDelta, ToolCallDelta
from core.messages import Message, Text, Thinking, ToolCall, ToolResult
from core.regex import regex
from core.providers import Provider, Request, ToolSpec
from core.providers.wrapped import Wrapped

_SECRET = r"[^\s\"'`,;<>()\[\]{}]{8,}"
_PATTERNS: tuple[tuple[str, str], ...] = (
    ("KEY", r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"),
    ("KEY", r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"),
    ("KEY",
     r"\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}|\bgh[pousr]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}"
     r"|\bxox[abeoprs]-[\w-]{10,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\bglpat-[\w-]{16,}"
     r"|\bhf_[A-Za-z0-9]{20,}|\bnpm_[A-Za-z0-9]{30,}|\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}"
     r"|\bSG\.[\w-]{16,}\.[\w-]{16,}"),
    ("KEY", rf"(?i)(?<=bearer )(?:{_SECRET})"),
    ("KEY",
     r"(?i)(?:\b|_)"
     r"(?:api[_-]?key|secret(?:[_-]?key)?|access[_-]?token|auth[_-]?token|passw(?:or)?d|pwd)"
     rf"[\"']?\s*[:=]\s*[\"']?(?P<value>{_SECRET})"),
    ("KEY", r"(?<=://)[^\s:/@]+:(?P<password>[^\s/@]+)(?=@)"),
    ("EMAIL", r"[\w.%+-]+@[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,}"),
    ("IBAN", r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b"),
    ("CARD", r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-]|\.\d)"),
    ("ACCOUNT", r"(?i)\b(?:account|acct|konto|routing"
     r"|sort code)[^\d\n]{0,16}(?P<account>\d(?:[ -]?\d){5,16})(?!\d)"),
    ("PHONE", r"(?<![\w.+/-])(?:\+\d{1,3}[ .-]?)(?:\(\d{1,4}\)[ .-]?)?\d(?:[ ./-]?\d){5,12}(?![\w-]"
     r"|\.\d)"),
    ("PHONE", r"(?<![\w.+/-])(?:\(\d{3}\) ?|\d{3}[-. ])\d{3}[-. ]\d{4}(?![\w-]|\.\d)"),
    ("PHONE", r"(?<![\w.+/-])\(?0\d{2,4}\)?[ /-]\d{3,4}(?:[ -]?\d{2,4}){1,3}(?![\w-]|\.\d)"),
)
_COMPILED = tuple((kind, regex(pattern)) for kind, pattern in _PATTERNS)
_STAND_IN = regex(r"\[\[[A-Z]+_\d+\]\]")
_CHECKS: Mapping[str, Callable[[str], bool]] = {"CARD": lambda text: _is_card(text),
                                                "IBAN": lambda text: _is_iban(text)}


class Mask:
    """The hidden texts of this run and their placeholders: the same text always gets the same one.

    `names` are the user's own words to hide, in any case; `secrets` are exact values (the keys of
    this run).
    """

    def __init__(self, names: Sequence[str] = (), secrets: Sequence[str] = ()) -> None:
        self._stand_ins: dict[str, str] = {}
        self._words: dict[str, str] = {}
        self._counts: Counter[str] = Counter()
        self._reported: Counter[str] = Counter()
        own = [re.escape(name.strip())
               for name in sorted(names, key=len, reverse=True) if name.strip()]
        self._names = re.compile(rf"(?i)(?<!\w)(?:{'|'.join(own)})(?!\w)") if own else None
        exact = [re.escape(value) for value in sorted(secrets, key=len, reverse=True)
                 if len(value) > 5]
        self._secrets = re.compile("|".join(exact)) if exact else None

    def hide(self, text: str) -> str:
        """Replace each private part of a text with its placeholder."""
        parts: list[str] = []
        done = 0
        for start, end, kind in self._found(text):
            parts += [text[done:start], self._stand_in(kind, text[start:end])]
            done = end
        return "".join([*parts, text[done:]]) if parts else text

    def show(self, text: str, write: Callable[[str], str] = str) -> str:
        """Replace placeholders with the original text, each converted by `write`."""
        return _STAND_IN.sub(lambda match: write(self._words[match[0]]) if match[0] in self._words
                             else match[0], text)

    def hide_value(self, value: Any) -> Any:
        """Hide private parts in every text of a JSON value, including keys."""
        match value:
            case str():
                return self.hide(value)
            case Mapping():
                return {self.hide(str(key)): self.hide_value(each) for key, each in value.items()}
            case list() | tuple():
                return [self.hide_value(each) for each in value]
        return value

    def news(self) -> str:
        """Return a sentence about what was hidden since the last call, or ""."""
        new = self._counts - self._reported
        self._reported = Counter(self._counts)
        names = {"KEY": "key", "EMAIL": "e-mail address", "IBAN": "account number",
                 "ACCOUNT": "account number",
                 "CARD": "card number", "PHONE": "phone number", "NAME": "name",
                 "TEXT": "stand-in of your own"}
        merged: Counter[str] = Counter()
        for kind, count in new.items():
            merged[names[kind]] += count
        said = ", ".join(f"{count} {name}{_plural(name) if count > 1 else ''}"
                         for name, count in merged.items())
        return f"Masked before it is sent: {said}." if said else ""

    def _found(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Yield (start, end, kind) of private parts, in order and without overlaps; the longer of
        two wins.
        """
        spans: list[tuple[int, int, str]] = [(*match.span(), "TEXT")
                                             for match in _STAND_IN.finditer(text)]
        if self._secrets is not None:
            spans += [(*match.span(), "KEY") for match in self._secrets.finditer(text)]
        if self._names is not None:
            spans += [(*match.span(), "NAME") for match in self._names.finditer(text)]
        for kind, pattern in _COMPILED:
            for match in pattern.finditer(text):
                start, end = match.span(match.lastgroup) if match.lastgroup else match.span()
                check = _CHECKS.get(kind)
                if check is None or check(text[start:end]):
                    spans.append((start, end, kind))
        done = 0
        for start, end, kind in _joined(spans):
            if start >= done:
                yield start, end, kind
                done = end

    def _stand_in(self, kind: str, words: str) -> str:
        if words not in self._stand_ins:
            self._counts[kind] += 1
            made = f"[[{kind}_{self._counts[kind]}]]"
            self._stand_ins[words], self._words[made] = made, words
        return self._stand_ins[words]


def _joined(spans: Sequence[tuple[int, int, str]]) -> list[tuple[int, int, str]]:
    """Merge overlapping spans, with the kind of the longest, so that no part of either stays
    visible.
    """
    found: list[tuple[int, int, str]] = []
    longest = 0
    for start, end, kind in sorted(spans, key=lambda span: (span[0], -span[1])):
        if found and start < found[-1][1]:
            first, last, known = found[-1]
            bigger = end - start > longest
            longest = max(longest, end - start)
            found[-1] = (first, max(last, end), kind if bigger else known)
        else:
            found.append((start, end, kind))
            longest = end - start
    return found


class Restorer:
    """Restores text in a stream with any cuts: the beginning of a placeholder is held back until
    its end.
    """

    def __init__(self, mask: Mask, write: Callable[[str], str] = str) -> None:
        self._mask, self._write, self._held = mask, write, ""

    def feed(self, text: str) -> str:
        text = self._held + text
        cut = _open_stand_in(text)
        self._held = text[cut:]
        return self._mask.show(text[:cut], self._write)

    def finish(self) -> str:
        held, self._held = self._held, ""
        return held


_BEGUN = regex(r"\[(?:\[(?:[A-Z]+(?:_\d*\]?)?)?)?\Z")
MOST_HELD = 40      # characters that may begin a placeholder


def _open_stand_in(text: str) -> int:
    """Return the start of a possibly incomplete placeholder; the text's length if there is none."""
    match = _BEGUN.search(text, max(0, len(text) - MOST_HELD))
    return match.start() if match else len(text)


class Masked(Wrapped):
    """Wraps a provider so that it sees only placeholders."""

    def __init__(self, provider: Provider, mask: Mask) -> None:
        super().__init__(provider)
        self.mask = mask
        for power, made in (("count", self._count), ("embed", self._embed)):
            if hasattr(provider, power):
                setattr(self, power, made)

    async def stream(self, request: Request) -> AsyncGenerator[Delta, None]:
        """Send the masked request, and yield the answer with the text restored."""
        words = _Words(self.mask)
        async with aclosing(self.inner.stream(masked(request, self.mask))) as deltas:
            async for delta in deltas:
                for made in words.show(delta):
                    yield made
        for made in words.finish():
            yield made

    async def _count(self, request: Request) -> int:
        hidden = masked(request, self.mask)
        count: int = await self.inner.count(hidden)  # type: ignore[attr-defined]
        return count

    async def _embed(self, model: str, texts: Sequence[str]) -> list[list[float]]:
        hidden = [self.mask.hide(text) for text in texts]
        found: list[list[float]]
        found = await self.inner.embed(model, hidden)  # type: ignore[attr-defined]
        return found


class _Words:
    """One restorer for each part of a reply."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._parts: dict[tuple[type[Delta], int], Restorer] = {}

    def show(self, delta: Delta) -> Iterator[Delta]:
        match delta:
            case TextDelta(text, part) | ThinkingDelta(text, part):
                yield from self.finish(but=(type(delta), part))
                yield replace(delta, text=self._restorer(type(delta), part, str).feed(text))
            case ToolCallDelta(index=index, arguments=arguments):
                yield replace(delta, arguments=self._restorer(ToolCallDelta, index, _in_json)
                              .feed(arguments))
            case _:
                yield from self.finish()
                yield delta

    def finish(self, but: tuple[type[Delta], int] | None = None) -> Iterator[Delta]:
        """Yield the text still held back in all parts `but` one, which did not become a
        placeholder.
        """
        parts = {key: restorer for key, restorer in self._parts.items() if key != but}
        self._parts = {key: restorer for key, restorer in self._parts.items() if key == but}
        for (kind, number), restorer in parts.items():
            held = restorer.finish()
            if held and kind is ToolCallDelta:
                yield ToolCallDelta(number, arguments=held)
            elif held and kind in (TextDelta, ThinkingDelta):
                yield TextDelta(held, number) if kind is TextDelta else ThinkingDelta(held, number)

    def _restorer(self, kind: type[Delta], number: int, write: Callable[[str], str]) -> Restorer:
        return self._parts.setdefault((kind, number), Restorer(self._mask, write))


def _in_json(words: str) -> str:
    return json.dumps(words)[1:-1]


# ---- requests

def masked(request: Request, mask: Mask) -> Request:
    """Return the request with every text masked, in the order of the conversation."""
    system = mask.hide(request.system) if request.system is not None else None
    messages = tuple(_message(message, mask) for message in request.messages)
    tools = tuple(ToolSpec(tool.name, mask.hide(tool.description), mask.hide_value(tool.parameters))
                  for tool in request.tools)
    changed = {entry.name: _kept_type(getattr(request.options, entry.name), mask)
               for entry in fields(request.options)}
    return replace(request, system=system, messages=messages, tools=tools,
                   options=replace(request.options, **changed))


def _kept_type(value: Any, mask: Mask) -> Any:
    hidden = mask.hide_value(value)
    return tuple(hidden) if isinstance(value, tuple) else hidden


def _message(message: Message, mask: Mask) -> Message:
    return replace(message, parts=tuple(_part(part, mask) for part in message.parts))


def _part(part: Any, mask: Mask) -> Any:
    match part:
        case Text(text) | Thinking(text):
            return replace(part, text=mask.hide(text))
        case ToolCall(arguments=arguments, invalid=invalid):
            return replace(part, arguments=mask.hide_value(arguments),
                           invalid=mask.hide(invalid) if invalid is not None else None)
        case ToolResult(content=content):
            return replace(part, content=mask.hide(content))
    return part


# ---- numbers with check digits

def _is_card(text: str) -> bool:
    """Return whether a number passes Luhn's check and begins like a card number."""
    digits = [int(char) for char in text if char.isdigit()]
    doubled = [digit if place % 2 == 0 else digit * 2 - 9 * (digit > 4)
               for place, digit in enumerate(reversed(digits))]
    return (13 <= len(digits) <= 19 and digits[0] in (2, 3, 4, 5, 6) and len(set(digits)) > 2
            and sum(doubled) % 10 == 0)


def _is_iban(text: str) -> bool:
    """Return whether a text is an IBAN: its remainder by 97 is 1 (ISO 13616)."""
    packed = text.replace(" ", "")
    if not 15 <= len(packed) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in packed[4:] + packed[:4])) % 97 == 1


def _plural(name: str) -> str:
    return "es" if name.endswith("s") else "s"
