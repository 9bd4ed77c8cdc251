"""Predicts waiting times from earlier ones on the same server, without I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from core.dataclass import dataclass, replace
from core.events import Reading
from core.store.rows import CallRow

NEWEST = 16          # most recent samples used, since a machine's speed changes
LEAST_TOKENS = 200   # shorter prompts do not show the speed
LEAST_SAMPLES = 3
SURE = 1.2           # greatest relative error for showing a single number; else a range
FEW = 0.8            # share of samples: outliers are fewer than the rest
A_LOAD = 1.0         # a call this many seconds over the forecast has waited for its model
ENDS = 2.0           # standard deviations on each side: about 95 % of waits
HALF_LIFE = 4        # half-life of a sample's weight, in samples
LEAST_SPREAD = 0.02  # smallest spread assumed; all spreads are of logarithms
USUAL_SPREAD = 0.3   # spread of the steps of one reading while there are too few to tell
CLUMPED = 3.0        # steps are correlated, so their mean varies this much more


class Sample(NamedTuple):
    """Tokens `start` to `end` of a prompt were read in `seconds`."""

    start: int
    end: int
    seconds: float


class Span(NamedTuple):
    """A predicted wait in seconds: the most likely value, and the range of nearly all waits."""

    likely: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether the range is narrow enough to show one number."""
        return self.high <= self.likely * SURE and self.low * SURE >= self.likely

    def words(self) -> str:
        """Format it, as in "about 40 s" or "20 to 60 s"."""
        if self.sure:
            return f"about {in_words(self.likely)}"
        low, high = in_words(self.low), in_words(self.high)
        if low == high:
            return f"about {high}"
        unit = low.rpartition(" ")[2]
        return f"{low.removesuffix(f' {unit}') if high.endswith(f' {unit}') else low} to {high}"


class Pace(NamedTuple):
    """The machine's current pace relative to its fitted speed: the logarithm of the factor, and its
    variance.
    """

    mean: float
    variance: float

    def with_now(self, now: Pace) -> Pace:
        """Combine two paces, weighted by certainty; the past counts little if the present differs.
        """
        differs = (self.mean - now.mean) ** 2 - now.variance
        mine, its = 1 / max(self.variance, differs), 1 / now.variance
        return Pace((self.mean * mine + now.mean * its) / (mine + its), 1 / (mine + its))


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds per token, and per pair of a token and an earlier one (attention)."""

    token: float
    square: float
    pace: Pace = Pace(0.0, LEAST_SPREAD ** 2)

    def seconds(self, start: int, end: int) -> float:
        return self.token * (end - start) + self.square * (end * end - start * start)

    def span(self, start: int, end: int) -> Span:
        likely = self.seconds(start, end) * _factor(self.pace.mean)
        off = _factor(ENDS * math.sqrt(self.pace.variance))
        return Span(likely, likely / off, likely * off)

    def paces(self, samples: Iterable[Sample]) -> list[float]:
        return [math.log(each.seconds / self.seconds(each.start, each.end)) for each in samples]


def speed_of(samples: Sequence[Sample]) -> Speed | None:
    """Fit the speed to samples; None if there are too few.

    Outliers waited for something else, such as loading, and are ignored.
    """
    usable = _usable(samples)[-NEWEST:]
    if not usable:
        return None
    rates = sorted(each.seconds / (each.end - each.start) for each in usable)
    usual = rates[(len(rates) - 1) // 2]
    kept = [each for each in usable if each.seconds <= 6 * usual * (each.end - each.start)]
    speed = fitted(kept)
    near = [each for each in kept if each.seconds <= 3 * speed.seconds(each.start, each.end)]
    speed = fitted(near or kept)
    counted = near if len(near) >= FEW * len(usable) else usable
    return replace(speed, pace=_usual_pace(speed.paces(counted)))


def _usable(samples: Iterable[Sample]) -> list[Sample]:
    return [each for each in samples if each.end > each.start and each.seconds > 0]


def _usual_pace(paces: Sequence[float]) -> Pace:
    """Predict the pace of a complete reading from earlier paces, oldest first."""
    number = len(paces)
    weights = [0.5 ** (age / HALF_LIFE) for age in reversed(range(number))]
    mean = sum(weight * pace for weight, pace in zip(weights, paces)) / sum(weights)
    variance = sum((pace - mean) ** 2 for pace in paces) / max(1, number - 1)
    return Pace(mean, max(variance, LEAST_SPREAD ** 2) * (1 + 4 / number))


def _pace_of_rest(speed: Speed, steps: Sequence[Sample], left: int, before: Pace | None) -> Pace:
    """Predict the pace of the `left` remaining tokens from these steps and from `before`, the pace
    of earlier readings.
    """
    paces = speed.paces(steps)
    spread = _spread(paces) if len(paces) >= LEAST_SAMPLES else USUAL_SPREAD
    one = CLUMPED * max(spread, LEAST_SPREAD) ** 2
    spent = sum(each.seconds for each in steps)
    now = Pace(math.log(spent / sum(speed.seconds(each.start, each.end) for each in steps)),
               one / len(steps))
    done = steps[-1].end - steps[0].start
    if before is None:      # only these steps show how attention slows the rest
        pace = Pace(now.mean, now.variance * (1 + left / done) ** 2)
    else:
        pace = before.with_now(now)
    return Pace(pace.mean, pace.variance + one / max(1.0, left * len(steps) / done))


def _spread(paces: Sequence[float]) -> float:
    mean = sum(paces) / len(paces)
    return math.sqrt(sum((pace - mean) ** 2 for pace in paces) / (len(paces) - 1))


def _factor(logarithm: float) -> float:
    """Return the exponential, bounded so that huge spreads stay finite."""
    return math.exp(max(-50.0, min(50.0, logarithm)))


def fitted(samples: Sequence[Sample]) -> Speed:
    """Fit both parts for the least relative error, with neither below zero."""
    rows = [((end - start) / spent, (end * end - start * start) / spent) for start, end,
            spent in samples]
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
    """Predict the wait for the rest of a prompt, from earlier calls and from the part already read,
    which counts more as it grows.
    """
    last = read[-1]
    begun = Reading(last.cached, last.total, last.cached, 0.0)
    steps = _usable(Sample(before.done, after.done, after.seconds - before.seconds)
                    for before, after in zip((begun, *read), read))
    earlier = _speed_in(calls)
    speed = earlier or (speed_of(steps) if len(steps) >= LEAST_SAMPLES else None)
    if speed is None:
        return None
    if steps:
        before = earlier.pace if earlier is not None else None
        left = last.total - last.done
        speed = replace(speed, pace=_pace_of_rest(speed, steps[-NEWEST:], left, before))
    return speed.span(last.done, last.total)


def reading_samples(calls: Iterable[CallRow]) -> list[Sample]:
    """Return reading samples from calls. Without cache counts, only first calls are used."""
    samples, seen = [], set[str]()
    for call in calls:
        opened, tokens = call.session not in seen, call.input_tokens or 0
        seen.add(call.session)
        cached = call.cached_tokens if call.cached_tokens is not None else 0 if opened else tokens
        if tokens - cached >= LEAST_TOKENS and call.first is not None:
            samples.append(Sample(cached, tokens, call.first))
    return samples


def reading(calls: Sequence[CallRow], start: int, end: int) -> Span | None:
    """Predict the wait for the first word after a prompt, of whose `end` tokens `start` are cached.
    """
    speed = _speed_in(calls)
    return speed.span(start, end) if speed is not None else None


def _speed_in(calls: Sequence[CallRow]) -> Speed | None:
    samples = reading_samples(calls)
    return speed_of(samples) if len(samples) >= LEAST_SAMPLES else None


def expected_cached(calls: Sequence[CallRow], before_question: int) -> int:
    """Return the tokens that are probably cached: those of the last call, if the conversation
    continues it.
    """
    last = calls[-1] if calls else None
    held = (last.input_tokens or 0) + (last.output_tokens or 0) if last is not None else 0
    return held if held and abs(held - before_question) <= 0.1 * held else 0


def loading(calls: Sequence[CallRow]) -> Span | None:
    """Predict the wait for loading a model, from the time of calls beyond reading their prompts."""
    speed = speed_of(reading_samples(calls))
    waits = []
    for call in calls:
        tokens = call.cached_tokens or 0, call.input_tokens or 0
        read = speed.span(*tokens).likely if speed is not None else 0.0
        over = (call.first or 0.0) - read
        if over > A_LOAD and over > read:
            waits.append(over)
    return _usual(waits[-NEWEST:], least=1)


def first_word(calls: Sequence[CallRow]) -> Span | None:
    """Predict the wait for the first word of any request."""
    waits = [call.first for call in calls if call.first is not None]
    return _usual(waits[-NEWEST:], least=LEAST_SAMPLES)


def _usual(waits: Sequence[float], *, least: int) -> Span | None:
    ordered = sorted(waits)
    if len(ordered) < least:
        return None
    return Span(ordered[(len(ordered) - 1) // 2], _at(ordered, 0.1), _at(ordered, 0.9))


def in_words(seconds: float) -> str:
    """Format seconds as in "8 s", "45 s", "1 min 40 s", "12 min", rounded to a forecast's
    precision.
    """
    if seconds < 20:
        return f"{max(1, round(seconds))} s"
    if seconds < 97.5:
        return f"{5 * round(seconds / 5)} s"
    if seconds < 595:
        minutes, rest = divmod(10 * round(seconds / 10), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    return f"{round(seconds / 60)} min"
