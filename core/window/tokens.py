"""How many tokens a text has, without a tokenizer: counted by script, and learned per model from the counts that come back.

A text is described by nine numbers (words, letters, digits, ...). A model's tokens are a weighted sum of them; the weights
start from what common tokenizers do and follow the counts that a server reports, by recursive least squares: what was
seen is met at once, what was not seen keeps its first weight.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, MutableMapping, Sequence

from core.messages import Attached, Image, Message, Text, Thinking, ToolCall, ToolResult
from core.regex import regex
from core.providers import Request, ToolSpec
from core.running_total import RunningTotal

IMAGE_TOKENS = 1_100       # a picture of a common size; providers count 85 to 1,600
NAMES = ("words", "letters", "digits", "signs", "gaps", "wide", "other", "blanks", "messages")
# Per word, letter, digit, sign, line end or run of spaces, wide character (CJK), letter of another script, blank, message.
# Measured by others against o200k: English 4.6 characters a token, Python 4.9, JSON 2.5, Chinese 1.5, Russian 4.1.
FIRST = (0.48, 0.125, 0.42, 0.62, 0.55, 0.68, 0.27, 0.0, 5.0)
DOUBTS = (0.4, 0.2, 0.3, 0.4, 0.4, 0.6, 0.3, 0.3, 4.0)    # how far each may be off
NOISE = 0.003              # how far a count may be off that the weights explain, as a part of it
ROUGH = 0.25               # how far an estimate may be off before anything was learned
SMALLEST, MOST_FACTOR = 50, 8
MOST_MESSAGES = 100_000    # whose numbers are remembered
MOST_MODELS = 100          # that are remembered, about 3 KB each
TOKENS_PER_BYTE = 0.30     # of a file that has not been read

_LETTERS = bytes(range(65, 91)) + bytes(range(97, 123))
_DIGITS = b"0123456789"
_BLANKS = b" \t\r\n\x0b\x0c"
_ONLY_LETTERS = bytes(byte if byte in _LETTERS else 32 for byte in range(256))
_GAP = regex(rb"\n+|[ \t]{2,}")
_WIDE = regex("[\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U0001f000-\U0003ffff]")
Features = tuple[float, ...]


def text_features(text: str, messages: int = 0) -> Features:
    """The numbers of a text, in the order of NAMES. About 40 MB a second for ASCII."""
    plain = text.encode("ascii", "ignore")
    letters = len(plain) - len(plain.translate(None, _LETTERS))
    digits = len(plain) - len(plain.translate(None, _DIGITS))
    blanks = len(plain) - len(plain.translate(None, _BLANKS))
    foreign = len(text) - len(plain)
    wide = len(_WIDE.findall(text)) if foreign else 0
    # A letter of another script ends a word: tokenizers cut there.
    words = len((text.encode("ascii", "replace") if foreign else plain).translate(_ONLY_LETTERS).split())
    gaps = len(_GAP.findall(plain))
    return (words, letters, digits, len(plain) - letters - digits - blanks, gaps, wide, foreign - wide, blanks, messages)


def add_features(rows: Iterable[Features]) -> Features:
    return tuple(map(sum, zip(*rows, strict=True))) or (0.0,) * len(NAMES)


def message_text(message: Message) -> str:
    """All of a message that is sent as text."""
    parts = []
    for part in message.parts:
        match part:
            case Text(text) | Thinking(text) | Attached(text):
                parts.append(text)
            case ToolCall(name=name, arguments=arguments, invalid=invalid):
                given = json.dumps(dict(arguments), ensure_ascii=False, default=str) if invalid is None else invalid
                parts.append(f"{name} {given}")
            case ToolResult(name=name, content=content):
                parts.append(f"{name} {content}")
            case Image():
                pass
    return "\n".join(parts)


def message_features(message: Message) -> Features:
    return text_features(message_text(message), 1)


def tool_features(tools: Sequence[ToolSpec]) -> Features:
    return text_features("".join(f"{spec.name} {spec.description} {json.dumps(dict(spec.parameters), default=str)}"
                                 for spec in tools), len(tools))


def count_images(messages: Iterable[Message]) -> int:
    return sum(isinstance(part, Image) for message in messages for part in message.parts)


class _Weights:
    """One model's weights and how sure they are, as a Kalman filter keeps them."""

    def __init__(self, kept: str = "") -> None:
        size = len(FIRST)
        self.values = list(FIRST)
        self.doubts = [[DOUBTS[row] ** 2 if row == column else 0.0 for column in range(size)] for row in range(size)]
        self.turns = 0
        try:
            stored = json.loads(kept) if kept else None
            if stored and len(stored["values"]) == size and len(stored["doubts"]) == size:
                self.values, self.doubts, self.turns = stored["values"], stored["doubts"], stored["turns"]
        except (ValueError, KeyError, TypeError):
            pass   # learned anew in a turn or two

    def kept(self) -> str:
        return json.dumps({"values": self.values, "doubts": self.doubts, "turns": self.turns})

    def tokens(self, features: Features) -> float:
        return sum(map(float.__mul__, self.values, map(float, features)))

    def doubt(self, features: Features) -> float:
        """The standard deviation of the estimate, in tokens."""
        row = [float(number) for number in features]
        spread = [sum(map(float.__mul__, line, row)) for line in self.doubts]
        return float(max(sum(map(float.__mul__, row, spread)), 0.0) ** 0.5)

    def learn(self, features: Features, counted: int) -> None:
        row = [float(number) for number in features]
        spread = [sum(doubt * number for doubt, number in zip(line, row, strict=True)) for line in self.doubts]
        noise = (NOISE * counted + 1) ** 2
        whole = noise + sum(map(float.__mul__, row, spread))
        gain = [part / whole for part in spread]
        miss = counted - self.tokens(features)
        self.values = [value + share * miss for value, share in zip(self.values, gain, strict=True)]
        self.doubts = [[doubt - share * part for doubt, part in zip(line, spread, strict=True)]
                       for line, share in zip(self.doubts, gain, strict=True)]
        self.turns += 1


class TokenEstimator:
    """Counts tokens for any model. `learned` keeps what was learned (model -> JSON); give a mapping that lasts."""

    def __init__(self, learned: MutableMapping[str, str] | None = None) -> None:
        self._learned: MutableMapping[str, str] = {} if learned is None else learned
        self._weights: dict[str, _Weights] = {}
        self._rows: dict[int, tuple[Message, Features]] = {}     # by identity; the message is held, so that it stays unique
        self._total: RunningTotal[tuple[Features, int]] = RunningTotal(((0.0,) * len(NAMES), 0), self._add)

    def _add(self, total: tuple[Features, int], message: Message) -> tuple[Features, int]:
        """Features and pictures with one message more."""
        return add_features((total[0], self._features(message))), total[1] + count_images((message,))

    def _features(self, message: Message) -> Features:
        """The numbers of a message, worked out once: each turn asks for those of the whole conversation several times."""
        known = self._rows.get(id(message))
        if known is None:
            if len(self._rows) >= MOST_MESSAGES:
                self._rows.clear()
            known = self._rows[id(message)] = (message, message_features(message))
        return known[1]

    def _request_features(self, request: Request) -> Features:
        rows = [self._total.of(request.messages)[0]]
        if request.system:
            rows.append(text_features(request.system, 1))
        if request.tools:
            rows.append(tool_features(request.tools))
        return add_features(rows)

    def _of(self, model: str) -> _Weights:
        if model not in self._weights:
            self._weights[model] = _Weights(self._learned.get(model, ""))
        return self._weights[model]

    def is_calibrated(self, model: str) -> bool:
        """Whether a count has come back from this model; before that the estimate is rough (about 20 %)."""
        return self._of(model).turns > 0

    def text(self, text: str, model: str = "") -> int:
        return self.tokens(text_features(text), model)

    def tokens(self, features: Features, model: str = "") -> int:
        """Never less than nothing."""
        return round(max(self._of(model).tokens(features), 0.0))

    def messages(self, messages: Sequence[Message], model: str = "") -> int:
        features, images = self._total.of(messages)
        return self.tokens(features, model) + IMAGE_TOKENS * images if messages else 0

    def request(self, request: Request, model: str = "") -> int:
        """What the whole prompt of a request takes."""
        images = self._total.of(request.messages)[1]
        return self.tokens(self._request_features(request), model or request.model) + IMAGE_TOKENS * images

    def doubt(self, request: Request, model: str = "") -> int:
        """How many tokens the estimate may be off: less once counts came back for such texts."""
        name = model or request.model
        images = IMAGE_TOKENS * self._total.of(request.messages)[1]
        tokens = self.request(request, name) - images
        learned = self._of(name).doubt(self._request_features(request)) + NOISE * tokens
        return round(min(learned, ROUGH * tokens) + images / 2)

    def learn(self, request: Request, counted: int | None, model: str = "") -> None:
        """Take in what the server counted for this request's prompt. Pictures are counted too differently to learn from."""
        if not counted or counted < 1 or self._total.of(request.messages)[1]:
            return
        name = model or request.model
        weights, features = self._of(name), self._request_features(request)
        first = _Weights().tokens(features)
        if first > SMALLEST and not counted / MOST_FACTOR < first < counted * MOST_FACTOR:
            return   # no tokenizer is so different: the server cut the prompt, or counts something else
        weights.learn(features, counted)
        self._learned[name] = weights.kept()


class LearnedFile(MutableMapping[str, str]):
    """What was learned, in one small JSON file. A file that cannot be read or written only means to learn again."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._kept: dict[str, str] | None = None

    def _read(self) -> dict[str, str]:
        if self._kept is None:
            try:
                with open(self._path, encoding="utf-8") as file:
                    found = json.load(file)
                self._kept = {name: text for name, text in found.items() if isinstance(text, str)}
            except (OSError, ValueError, AttributeError):
                self._kept = {}
        return self._kept

    def __getitem__(self, name: str) -> str:
        return self._read()[name]

    def __setitem__(self, name: str, text: str) -> None:
        kept = self._read()
        kept.pop(name, None)
        kept[name] = text
        for oldest in list(kept)[:-MOST_MODELS]:
            del kept[oldest]
        self._write()

    def __delitem__(self, name: str) -> None:
        del self._read()[name]
        self._write()

    def _write(self) -> None:
        beside = f"{self._path}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(self._path), exist_ok=True)
            with open(beside, "w", encoding="utf-8") as file:
                json.dump(self._read(), file)
            os.replace(beside, self._path)
        except OSError:
            pass   # learned again next time

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


def bytes_to_tokens(size: int) -> int:
    """A guess for a file that has not been read."""
    return int(size * TOKENS_PER_BYTE) + 1
