"""Estimates tokens without a tokenizer, and learns each model's rates from the server's counts.

A text is described by features (numbers of words, letters, digits, ...). Its tokens are a weighted
sum of them. The weights start from those of common tokenizers and are fitted to the counts that a
server reports, by recursive least squares: features that occurred are fitted at once, others keep
their initial weights. For a conversation that grew, only the new part is estimated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from contextlib import suppress

from core.config.private_file import write_private
from core.dataclass import dataclass
from core.messages import Attached, Image, Message, Text, Thinking, ToolCall, ToolResult
from core.regex import regex
from core.providers import Request, ToolSpec
from core.running_total import RunningTotal

IMAGE_TOKENS = 1_100       # a picture of a common size; providers count 85 to 1,600
NAMES = ("words", "letters", "digits", "numbers", "signs", "runs", "gaps", "switches", "wide",
         "kana", "other", "other_words", "blanks", "messages")
# "numbers" and "runs" are sequences of digits and of signs; "gaps" are line ends and runs of
# spaces; "switches" are places where lower case, upper case and digits meet; "wide" are CJK
# characters without kana and hangul; "other" are letters of other scripts. The initial weights are
# close to the mean of those that fit the tokenizers of GPT-4 and 4o, Qwen 2, DeepSeek and Claude 2
# best.
FIRST = (0.045, 0.172, 0.12, 1.3, 0.05, 1.05, 0.22, 0.53, 0.73, 0.85, 0.02, 1.9, 0.077, 5.0)
# Initial standard deviations of the weights: much larger than among these tokenizers, so that
# three counts outweigh the initial weights.
DOUBTS = (1.4, 0.42, 2.4, 2.8, 1.4, 2.8, 1.4, 1.4, 2.1, 2.4, 2.1, 10.0, 0.35, 20.0)
NOISE = 0.01               # relative error of a count that the weights explain
# Relative errors of what the weights give before a text with such features was counted. Small
# vocabularies need up to three tokens for what a large one has as one: a Chinese character, for
# instance.
ROUGH = (0.25,) * 8 + (2.0, 2.0, 1.5, 1.5) + (0.25,) * 2
SMALLEST, MOST_FACTOR = 50, 8
MOST_MESSAGES = 100_000    # messages whose features are kept
MOST_MODELS = 100          # models whose weights are kept, about 3 KB each
TOKENS_PER_BYTE = 0.30     # assumed for a file that has not been read

_WIDE_RANGES = ("\u1100-\u11ff\u2e80-\ua4cf\uac00-\ud7ff\uf900-\ufaff\ufe30-\ufe4f"
                "\uff00-\uffef\U0001f000-\U0003ffff")
_WIDE = regex(f"[{_WIDE_RANGES}]")
_KANA = regex("[\u1100-\u11ff\u3040-\u30ff\uac00-\ud7ff\uff66-\uff9f]")
_OTHER_WORDS = regex(rf"[^\W\d_a-zA-Z{_WIDE_RANGES}]+")
Features = tuple[float, ...]


def _class_of(byte: int) -> int:
    """The class of a byte: a, A and 0 for letters and digits, " " for spaces, "." for others."""
    letter = chr(byte)
    if byte > 127 or letter.isspace():
        return ord(" ")
    return ord("a" if letter.islower() else "A" if letter.isupper() else "0" if letter.isdigit()
               else ".")


_CLASSES = bytes(map(_class_of, range(256)))
_ONLY_LETTERS = bytes(byte if chr(byte) in "aA" else 32 for byte in range(256))
_ONLY_DIGITS = bytes(byte if byte == 48 else 32 for byte in range(256))
_ONLY_SIGNS = bytes(byte if byte == 46 else 32 for byte in range(256))
_ONLY_LINE_ENDS = bytes(ord("_") if chr(byte) == "\n" else 32 for byte in range(256))
_ONLY_BLANKS = bytes(ord("_") if chr(byte) in " \t" else 32 for byte in range(256))


def text_features(text: str, messages: int = 0) -> Features:
    """The features of a text, in the order of NAMES. Processes about 30 MB of ASCII a second."""
    plain = text.encode("ascii", "ignore")
    classes = plain.translate(_CLASSES)
    foreign = len(text) - len(plain)
    # A letter of another script ends a word: tokenizers cut there.
    cut = text.encode("ascii", "replace").translate(_CLASSES) if foreign else classes
    wide, kana = (len(_WIDE.findall(text)), len(_KANA.findall(text))) if foreign else (0, 0)
    other = foreign - wide
    return (len(cut.translate(_ONLY_LETTERS).split()), classes.count(b"a") + classes.count(b"A"),
            classes.count(b"0"), len(classes.translate(_ONLY_DIGITS).split()),
            classes.count(b"."), len(classes.translate(_ONLY_SIGNS).split()),
            _gaps(plain),
            sum(map(classes.count, (b"aA", b"a0", b"A0", b"0a", b"0A"))), wide - kana, kana,
            other, len(_OTHER_WORDS.findall(text)) if other else 0, classes.count(b" "), messages)


def _gaps(plain: bytes) -> int:
    """The number of runs of line ends, and of two or more spaces and tabs. A regular expression
    would take half of the time of all features.
    """
    blanks = plain.translate(_ONLY_BLANKS)
    return (len(plain.translate(_ONLY_LINE_ENDS).split()) + blanks.count(b" __")
            + blanks.startswith(b"__"))


def add_features(rows: Iterable[Features]) -> Features:
    return tuple(map(sum, zip(*rows, strict=True))) or (0.0,) * len(NAMES)


def message_text(message: Message) -> str:
    """The parts of a message that are sent as text, in one string."""
    parts = []
    for part in message.parts:
        match part:
            case Text(text) | Thinking(text) | Attached(text):
                parts.append(text)
            case ToolCall(name=name, arguments=arguments, invalid=invalid):
                given = (json.dumps(dict(arguments), ensure_ascii=False, default=str)
                         if invalid is None else invalid)
                parts.append(f"{name} {given}")
            case ToolResult(name=name, content=content):
                parts.append(f"{name} {content}")
            case Image():
                pass
    return "\n".join(parts)


def message_features(message: Message) -> Features:
    return text_features(message_text(message), 1)


def tool_features(tools: Sequence[ToolSpec]) -> Features:
    """The features of the tools' definitions."""
    return text_features("".join(f"{spec.name} {spec.description} "
                                 f"{json.dumps(dict(spec.parameters), default=str)}"
                                 for spec in tools), len(tools))


def count_images(messages: Iterable[Message]) -> int:
    return sum(isinstance(part, Image) for message in messages for part in message.parts)


class _Weights:
    """One model's weights and their covariance, as in a Kalman filter."""

    def __init__(self, kept: str = "") -> None:
        size = len(FIRST)
        self.values = list(FIRST)
        self.doubts = [[DOUBTS[row] ** 2 if row == column else 0.0 for column in range(size)]
                       for row in range(size)]
        self.turns = 0
        try:
            stored = json.loads(kept) if kept else None
            if stored and len(stored["values"]) == size and len(stored["doubts"]) == size:
                self.values, self.doubts, self.turns = (stored["values"], stored["doubts"],
                                                        stored["turns"])
        except (ValueError, KeyError, TypeError):
            pass   # damaged: learned again in a turn or two

    def kept(self) -> str:
        return json.dumps({"values": self.values, "doubts": self.doubts, "turns": self.turns})

    def tokens(self, features: Features) -> float:
        return sum(map(float.__mul__, self.values, map(float, features)))

    def doubt(self, features: Features) -> float:
        """The standard deviation of the estimate, in tokens."""
        row = [float(number) for number in features]
        return float(max(sum(map(float.__mul__, row, self._spread(row))), 0.0) ** 0.5)

    def rough_doubt(self, features: Features) -> float:
        """The likely error in tokens where nothing is known about such a text."""
        return sum(abs(value * number) * error
                   for value, number, error in zip(self.values, features, ROUGH, strict=True))

    def _spread(self, row: Sequence[float]) -> list[float]:
        return [sum(map(float.__mul__, line, row)) for line in self.doubts]

    def learn(self, features: Features, counted: int) -> None:
        """Fit the weights to a count, by one step of recursive least squares."""
        row = [float(number) for number in features]
        spread = self._spread(row)
        whole = (NOISE * counted + 1) ** 2 + sum(map(float.__mul__, row, spread))
        miss, gain = counted - self.tokens(features), [part / whole for part in spread]
        self.values = [value + share * miss for value, share in zip(self.values, gain, strict=True)]
        self.doubts = [[doubt - share * part for doubt, part in zip(line, spread, strict=True)]
                       for line, share in zip(self.doubts, gain, strict=True)]
        self.turns += 1


@dataclass(frozen=True, slots=True)
class _Counted:
    """A request that the server counted; only messages added to it later must be estimated."""

    messages: tuple[Message, ...]
    beside: Features      # of the system prompt and the tools
    features: Features    # of the whole request
    tokens: int

    def begins(self, messages: Sequence[Message]) -> bool:
        return tuple(messages[:len(self.messages)]) == self.messages


class TokenEstimator:
    """Estimates tokens for any model.

    `learned` stores the weights (model -> JSON); pass a persistent mapping.
    """

    def __init__(self, learned: MutableMapping[str, str] | None = None) -> None:
        self._learned: MutableMapping[str, str] = {} if learned is None else learned
        self._weights: dict[str, _Weights] = {}
        self._counted: dict[str, _Counted] = {}      # the last request of each model
        # by identity; the message is held, so that it stays unique
        self._rows: dict[int, tuple[Message, Features]] = {}
        self._total: RunningTotal[tuple[Features, int]] = RunningTotal(((0.0,) * len(NAMES), 0),
                                                                       self._add)

    def _add(self, total: tuple[Features, int],
             messages: Sequence[Message]) -> tuple[Features, int]:
        """The features and number of pictures with these messages added."""
        return (add_features((total[0], *map(self._features, messages))),
                total[1] + count_images(messages))

    def _features(self, message: Message) -> Features:
        """The features of a message, computed once: each turn needs those of the whole conversation
        several times.
        """
        known = self._rows.get(id(message))
        if known is None:
            if len(self._rows) >= MOST_MESSAGES:
                self._rows.clear()
            known = self._rows[id(message)] = (message, message_features(message))
        return known[1]

    def _of(self, model: str) -> _Weights:
        if model not in self._weights:
            self._weights[model] = _Weights(self._learned.get(model, ""))
        return self._weights[model]

    def text(self, text: str, model: str = "") -> int:
        return self.tokens(text_features(text), model)

    def tokens(self, features: Features, model: str = "") -> int:
        """The estimated tokens; never negative."""
        return round(max(self._of(model).tokens(features), 0.0))

    def messages(self, messages: Sequence[Message], model: str = "") -> int:
        """The estimated tokens of messages."""
        features, images = self._total.of(messages)
        counted = self._beginning(messages, model)
        return self._since(counted, features, model) + IMAGE_TOKENS * images if messages else 0

    def request(self, request: Request, model: str = "") -> int:
        """The tokens of a request's whole prompt."""
        name, images = model or request.model, self._total.of(request.messages)[1]
        features = self._total.of(request.messages)[0]
        counted = self._beginning(request.messages, name)
        return self._since(counted, add_features((features, _beside(request))),
                           name) + IMAGE_TOKENS * images

    def _beginning(self, messages: Sequence[Message], model: str) -> _Counted | None:
        """The counted request that these messages begin with, if any."""
        counted = self._counted.get(model)
        return counted if counted is not None and counted.begins(messages) else None

    def _since(self, counted: _Counted | None, features: Features, model: str) -> int:
        """The tokens for these features; `counted` is the server's count of the beginning, if any.
        """
        if counted is None:
            return self.tokens(features, model)
        weights = self._of(model)
        return round(
            max(counted.tokens + weights.tokens(features) - weights.tokens(counted.features), 0.0))

    def doubt(self, request: Request, model: str = "") -> int:
        """The likely error of the estimate in tokens; it falls with each count for such texts."""
        name = model or request.model
        features, images = self._total.of(request.messages)
        counted = self._beginning(request.messages, name)
        features = add_features((features, _beside(request)))
        return self._doubt(features if counted is None else _less(features, counted.features),
                           name) + IMAGE_TOKENS * images // 2

    def text_doubt(self, text: str, model: str = "") -> int:
        """The likely error of the estimate for a text, in tokens."""
        return self._doubt(text_features(text), model)

    def _doubt(self, features: Features, model: str) -> int:
        weights, tokens = self._of(model), self.tokens(features, model)
        rough = weights.rough_doubt(features)
        return round(min(weights.doubt(features) + NOISE * tokens, rough)
                     if weights.turns else rough)

    def learn(self, request: Request, counted: int | None, model: str = "") -> None:
        """Learn from the server's count of this request's prompt.

        Requests with pictures are skipped: servers count pictures too differently.
        """
        if not counted or counted < 1 or self._total.of(request.messages)[1]:
            return
        name, beside = model or request.model, _beside(request)
        whole = add_features((self._total.of(request.messages)[0], beside))
        if not _is_likely(whole, counted):
            return
        before = self._beginning(request.messages, name)
        self._counted[name] = _Counted(tuple(request.messages), beside, whole, counted)
        if before is None or before.beside != beside:
            self._learn(request.messages, whole, counted, name)
        elif counted > before.tokens:
            self._learn(request.messages[len(before.messages):], _less(whole, before.features),
                        counted - before.tokens, name)

    def _learn(self, messages: Sequence[Message], features: Features, counted: int,
               model: str) -> None:
        """Learn from the count of these messages.

        Messages with reasoning are skipped, since not every provider sends it back.
        """
        thoughts = any(isinstance(part, Thinking) for message in messages for part in message.parts)
        if thoughts or not _is_likely(features, counted):
            return
        self._of(model).learn(features, counted)
        self._learned[model] = self._of(model).kept()


def _beside(request: Request) -> Features:
    rows = [text_features(request.system, 1)] if request.system else []
    return add_features([(0.0,) * len(NAMES), *rows,
                         *([tool_features(request.tools)] if request.tools else [])])


def _less(features: Features, others: Features) -> Features:
    return tuple(map(float.__sub__, map(float, features), map(float, others)))


def _is_likely(features: Features, counted: int) -> bool:
    """Whether a count is plausible; otherwise the server cut the prompt or counts something else.
    """
    first = _Weights().tokens(features)
    return first <= SMALLEST or counted / MOST_FACTOR < first < counted * MOST_FACTOR


class LearnedFile(MutableMapping[str, str]):
    """The learned weights in one small JSON file; if it is unreadable, they are learned again."""

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
        with suppress(OSError):   # learned again next time
            write_private(self._path, json.dumps(self._read()), sync=False)

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


def bytes_to_tokens(size: int) -> int:
    """The estimated tokens of a file of this size in bytes that has not been read."""
    return int(size * TOKENS_PER_BYTE) + 1
