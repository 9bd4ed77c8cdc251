"""How long a wait will take, from how long such waits took before on this server; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from core.dataclass import dataclass
from core.events import Reading
from core.store.rows import CallRow

NEWEST = 16          # samples that count: a machine's speed changes
LEAST_TOKENS = 200   # a shorter reading says nothing about the speed
LEAST_SAMPLES = 3
SURE = 1.2           # how far off a single number may have been; beyond, both ends are given
FEW = 0.8            # of the samples: more than the rest are no exceptions
A_LOAD = 1.0         # seconds beyond the forecast from which on a call has waited for its model


class Sample(NamedTuple):
    """Tokens `start` to `end` of a prompt were read in `seconds`."""

    start: int
    end: int
    seconds: float


class Span(NamedTuple):
    """Seconds: the likeliest, and those between which the last such waits ended."""

    likely: float
    low: float
    high: float

    def words(self) -> str:
        """As in "about 40 s" or "20 to 60 s"."""
        if self.high <= self.likely * SURE and self.low * SURE >= self.likely:
            return f"about {in_words(self.likely)}"
        low, high = in_words(self.low), in_words(self.high)
        if low == high:
            return f"about {high}"
        unit = low.rpartition(" ")[2]
        return f"{low.removesuffix(f' {unit}') if high.endswith(f' {unit}') else low} to {high}"


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds for each token, and for each token times those before it: attention looks back.

    `low` and `high` are how far the samples were off, as factors.
    """

    token: float
    square: float
    low: float = 1.0
    high: float = 1.0

    def seconds(self, start: int, end: int) -> float:
        return self.token * (end - start) + self.square * (end * end - start * start)

    def span(self, start: int, end: int) -> Span:
        likely = self.seconds(start, end)
        return Span(likely, likely * self.low, likely * self.high)


def speed_of(samples: Sequence[Sample]) -> Speed | None:
    """The speed that these samples show; None where they are too few.

    Samples far above the others waited for something else, such as loading, and do not count.
    """
    usable = [each for each in samples if each.end > each.start and each.seconds > 0][-NEWEST:]
    if not usable:
        return None
    rates = sorted(each.seconds / (each.end - each.start) for each in usable)
    usual = rates[(len(rates) - 1) // 2]
    kept = [each for each in usable if each.seconds <= 6 * usual * (each.end - each.start)]
    speed = _fitted(kept)
    near = [each for each in kept if each.seconds <= 3 * speed.seconds(each.start, each.end)]
    counted = near if len(near) >= FEW * len(usable) else usable
    speed = _fitted(near or kept)
    off = sorted(each.seconds / speed.seconds(each.start, each.end) for each in counted)
    middle = off[(len(off) - 1) // 2]
    wider = 1 + 0.5 / len(off)      # a few samples that agree are no promise
    return Speed(speed.token * middle, speed.square * middle,
                 min(1.0, off[0] / middle) / wider, max(1.0, off[-1] / middle) * wider)


def _fitted(samples: Sequence[Sample]) -> Speed:
    """The least relative error, with neither part below zero."""
    rows = [((end - start) / spent, (end * end - start * start) / spent) for start, end, spent in samples]
    xx, yy = sum(x * x for x, _ in rows), sum(y * y for _, y in rows)
    xy, x1, y1 = sum(x * y for x, y in rows), sum(x for x, _ in rows), sum(y for _, y in rows)
    whole = xx * yy - xy * xy
    if whole > 1e-9 * xx * yy:
        token, square = (x1 * yy - y1 * xy) / whole, (y1 * xx - x1 * xy) / whole
        if token >= 0 and square >= 0:
            return Speed(token, square)
        if token < 0:
            return Speed(0.0, y1 / yy)
    return Speed(x1 / xx, 0.0)


def _at(ordered: Sequence[float], part: float) -> float:
    return ordered[round(part * (len(ordered) - 1))]


def left_to_read(read: Sequence[Reading], calls: Sequence[CallRow] = ()) -> Span | None:
    """The rest of a prompt: from how the part before was read, or after one or two reports from
    earlier calls, where there are any."""
    steps = [Sample(before.done, after.done, after.seconds - before.seconds)
             for before, after in zip(read, read[1:])]
    last = read[-1]
    known = reading(calls, last.done, last.total) if len(steps) < LEAST_SAMPLES else None
    speed = speed_of(steps) if known is None else None
    return speed.span(last.done, last.total) if speed is not None else known


def reading_samples(calls: Iterable[CallRow]) -> list[Sample]:
    """What the calls say about reading. Without a word about the cache, only first calls count."""
    samples, seen = [], set[str]()
    for call in calls:
        opened, tokens = call.session not in seen, call.input_tokens or 0
        seen.add(call.session)
        cached = call.cached_tokens if call.cached_tokens is not None else 0 if opened else tokens
        if tokens - cached >= LEAST_TOKENS and call.first is not None:
            samples.append(Sample(cached, tokens, call.first))
    return samples


def reading(calls: Sequence[CallRow], start: int, end: int) -> Span | None:
    """The wait for the first word after a prompt; `start` of its `end` tokens are in the cache."""
    samples = reading_samples(calls)
    speed = speed_of(samples) if len(samples) >= LEAST_SAMPLES else None
    return speed.span(start, end) if speed is not None else None


def expected_cached(calls: Sequence[CallRow], before_question: int) -> int:
    """Tokens that the server still has: those of the last call, if the conversation continues it."""
    last = calls[-1] if calls else None
    held = (last.input_tokens or 0) + (last.output_tokens or 0) if last is not None else 0
    return held if held and abs(held - before_question) <= 0.1 * held else 0


def loading(calls: Sequence[CallRow]) -> Span | None:
    """The wait for a model that is not in memory: what calls took beyond reading their prompts."""
    speed = speed_of(reading_samples(calls))
    waits = []
    for call in calls:
        tokens = call.cached_tokens or 0, call.input_tokens or 0
        read = speed.seconds(*tokens) if speed is not None else 0.0
        over = (call.first or 0.0) - read
        if over > A_LOAD and over > read:
            waits.append(over)
    return _usual(waits[-NEWEST:], least=1)


def first_word(calls: Sequence[CallRow]) -> Span | None:
    """The usual wait for the first word, whatever was asked."""
    waits = [call.first for call in calls if call.first is not None]
    return _usual(waits[-NEWEST:], least=LEAST_SAMPLES)


def _usual(waits: Sequence[float], *, least: int) -> Span | None:
    ordered = sorted(waits)
    if len(ordered) < least:
        return None
    return Span(ordered[(len(ordered) - 1) // 2], _at(ordered, 0.1), _at(ordered, 0.9))


def in_words(seconds: float) -> str:
    """As in "8 s", "45 s", "1 min 40 s", "12 min": no more exact than a forecast can be."""
    if seconds < 20:
        return f"{max(1, round(seconds))} s"
    if seconds < 97.5:
        return f"{5 * round(seconds / 5)} s"
    if seconds < 595:
        minutes, rest = divmod(10 * round(seconds / 10), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{round(seconds / 60)} min"
