"""Estimates of tokens: never far off at first, and within 5 % of the server's count after three
turns, with any tokenizer.
"""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from core.messages import (Image, Message, Text, Thinking, ToolCall, ToolResult, tool_message,
                           user_message)
from core.providers import Request, ToolSpec
from core.window.tokens import (NAMES, LearnedFile, TokenEstimator, bytes_to_tokens, message_text,
                                text_features)

PROSE = ("The harbour lay quiet in the early light, and nobody on the quay could have said when "
         "the last boat had left. She counted the crates twice, wrote 42 on her slate, and went "
         "back to the office. ")
GERMAN = ("Die Verbindung wurde unterbrochen, weil der Rechner nicht geantwortet hat; bitte "
          "versuchen Sie es später noch einmal. ")
CHINESE = "今天天气很好，我们去公园散步吧。数据库连接失败，请检查网络设置。"
RUSSIAN = "Сервер не ответил вовремя, поэтому соединение было закрыто. Попробуйте ещё раз позже. "
JSON = '{"id": 1842, "name": "widget", "price": 12.5, "tags": ["a", "b"], "active": true}\n'
LOG = ("2026-11-21 04:57:29.118 ERROR [pool-3] db.Connection: timeout after 30000 ms "
       "(10.0.3.17:5432)\n")


CODE = """def open_store(url: str) -> Store:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return SqliteStore(url)   # a plain file
    raise UsageError(f"Sessions cannot be kept in {scheme}://.")
"""


def by_characters(text: str) -> int:
    return len(text) // 4 + 1


def by_bytes(text: str) -> int:
    return len(text.encode())


def by_words(text: str) -> int:
    """As common tokenizers split: words with their space, digits in threes, signs in runs, wide
    characters singly.
    """
    pieces = re.findall(r" ?[A-Za-z]{1,7}|\d{1,3}| ?[^\w\s]{1,3}|\s+|[^\x00-\x7f]{1,2}|\w", text)
    return len(pieces)


def by_parts(text: str) -> int:
    """As they split text without words: where lower case, upper case and digits meet."""
    return len(re.findall(r" ?[A-Z]?[a-z]{1,6}|[A-Z]{1,2}|\d{1,3}| ?[^\w\s]{1,3}|\s+"
                          r"|[^\x00-\x7f]{1,2}|\w", text))


def by_single_signs(text: str) -> int:
    """An old vocabulary: short pieces, each digit and each sign a token."""
    return len(re.findall(r"[A-Za-z]{1,3}|\S|\n", text))


TOKENIZERS = (by_characters, by_bytes, by_words, by_parts, by_single_signs)


def count_prompt(request: Request, tokenize: Callable[[str], int], template: int) -> int:
    """What a server with this tokenizer and this chat template would report."""
    whole = sum(tokenize(message_text(message)) + template for message in request.messages)
    return whole + (tokenize(request.system) + template if request.system else 0) + 3


def question(dice: random.Random, size: int) -> str:
    """Words, and something else that is shown with them."""
    kind = dice.choice((PROSE, GERMAN, JSON, LOG, CODE))
    return ((PROSE * (size // len(PROSE) + 1))[:size // 2]
            + (kind * (size // len(kind) + 1))[:size // 2])


@pytest.mark.parametrize("tokenize", TOKENIZERS, ids=lambda function: function.__name__)
@pytest.mark.parametrize("template", (0, 4, 11))
def test_within_five_percent_after_three_turns(tokenize: Callable[[str], int],
                                               template: int) -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    dice = random.Random(seed)
    estimator = TokenEstimator()
    messages = [user_message(CODE * 20 + question(dice, 2_000))]
    off: list[float] = []
    for _ in range(8):
        request = Request("m", tuple(messages), "You are a careful assistant.")
        counted = count_prompt(request, tokenize, template)
        off.append(abs(estimator.request(request) - counted) / counted)
        estimator.learn(request, counted)
        messages += [Message("assistant", (Text(question(dice, dice.randrange(50, 1_500))),)),
                     user_message(question(dice, dice.randrange(10, 800)))]
    *most, worst = sorted(off[3:])
    # of 6,000 made up requests nine were off by more than 5 %, none by 7 %, and no two of one seed
    assert max(most) <= 0.05 and worst <= 0.08, off


@pytest.mark.parametrize("text", (CHINESE, RUSSIAN, GERMAN), ids=("chinese", "russian", "german"))
@pytest.mark.parametrize("tokenize", TOKENIZERS, ids=lambda function: function.__name__)
def test_other_languages(text: str, tokenize: Callable[[str], int]) -> None:
    estimator = TokenEstimator()
    messages = [user_message(text * 5)]
    for turn in range(5):
        request = Request("m", tuple(messages))
        counted = count_prompt(request, tokenize, 4)
        if turn >= 3:
            assert abs(estimator.request(request) - counted) <= 0.05 * counted
        estimator.learn(request, counted)
        messages += [Message("assistant", (Text(text * 3 + PROSE),)), user_message(text)]


@pytest.mark.parametrize(("text", "low", "high"), (
    (PROSE, 4.0, 5.5), (CHINESE, 1.1, 1.9), (RUSSIAN, 2.8, 4.6), (GERMAN, 3.6, 5.2),
    (JSON, 2.0, 3.2), (LOG, 1.9, 3.0)),
    ids=("english", "chinese", "russian", "german", "json", "log"))
def test_untaught_estimates_are_near_common_tokenizers(text: str, low: float, high: float) -> None:
    """Characters per token as others measured them against o200k:
    English 4.6, Chinese 1.5, Russian 4.1, JSON and logs 2.5.
    """
    sample = text * 20
    assert low <= len(sample) / TokenEstimator().text(sample) <= high


def in_base64(size: int) -> str:
    return base64.b64encode(random.Random(3).randbytes(size)).decode()


KINDS = {"prose": PROSE * 12, "code": CODE * 12, "base64": in_base64(1_500), "log": LOG * 20,
         "json": JSON * 20, "chinese": CHINESE * 30}


@pytest.mark.parametrize("learned", KINDS)
def test_three_turns_of_one_kind_do_not_spoil_the_others(learned: str) -> None:
    """Estimates that are far off afterwards were far off before, too."""
    estimator, first = TokenEstimator(), TokenEstimator()
    for turn in range(1, 4):
        request = Request("m", tuple(user_message(KINDS[learned]) for _ in range(turn)))
        estimator.learn(request, count_prompt(request, by_parts, 4))
    for kind, text in KINDS.items():
        counted = by_parts(text)
        before, after = (abs(each.text(text, "m") / counted - 1) for each in (first, estimator))
        assert after <= max(before + 0.1, 0.25), (kind, before, after)


@pytest.mark.parametrize(("text", "rates"), (
    (CHINESE, (0.5, 0.7, 1.0, 1.7, 2.1)), (RUSSIAN, (0.2, 0.3, 0.5, 0.65))),
    ids=("chinese", "russian"))
@pytest.mark.parametrize("turns", (0, 3))
def test_the_error_that_is_shown_covers_small_vocabularies(text: str, rates: tuple[float, ...],
                                                           turns: int) -> None:
    """Three turns of code say nothing about other scripts; one turn in that script does."""
    for rate in rates:
        estimator, sample = TokenEstimator(), text * 20
        for turn in range(1, turns + 1):
            request = Request("m", tuple(user_message(KINDS["code"]) for _ in range(turn)))
            estimator.learn(request, count_prompt(request, by_parts, 4))
        counted = round(rate * len(sample))
        off = abs(estimator.text(sample, "m") - counted)
        assert off <= estimator.text_doubt(sample, "m"), rate
        estimator.learn(Request("m", (user_message(sample),)), counted)
        assert estimator.text_doubt(sample, "m") < counted / 10


def test_of_a_conversation_that_grew_only_what_is_new_is_estimated() -> None:
    """For any beginning, and in any order of calls."""
    estimator = TokenEstimator()
    start = (user_message(in_base64(3_000)),)
    more = (*start, Message("assistant", (Text(PROSE),)), user_message(PROSE))
    estimator.learn(Request("m", start, "system"), 4_321)
    assert estimator.request(Request("m", start, "system"), "m") == 4_321
    grown = Request("m", more, "system")
    assert abs(estimator.request(grown, "m") - 4_321 - 2 * estimator.text(PROSE, "m")) < 30
    assert estimator.doubt(grown, "m") < 200 < estimator.doubt(Request("m", more[1:] * 20), "m")


def test_thoughts_that_may_not_be_sent_teach_nothing() -> None:
    estimator, before = TokenEstimator(), TokenEstimator()
    start = (user_message(PROSE),)
    grown = (*start, Message("assistant", (Thinking(PROSE * 20), Text("Yes."))),
             user_message(PROSE))
    for each in (estimator, before):
        each.learn(Request("m", start), 50)
    estimator.learn(Request("m", grown), 110)
    assert estimator.text(PROSE, "m") == before.text(PROSE, "m")
    assert estimator.request(Request("m", grown), "m") == 110


def test_what_was_learned_lasts() -> None:
    kept: dict[str, str] = {}
    request = Request("m", (user_message(PROSE * 10),))
    TokenEstimator(kept).learn(request, 900)
    again = TokenEstimator(kept)
    assert abs(again.request(request) - 900) < 30
    assert TokenEstimator().request(request) == again.request(request, "other")


def test_what_was_learned_lasts_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "made" / "tokens.json"
    request = Request("m", (user_message(PROSE * 10),))
    TokenEstimator(LearnedFile(str(path))).learn(request, 900)
    assert abs(TokenEstimator(LearnedFile(str(path))).request(request) - 900) < 30
    kept = LearnedFile(str(path))
    for number in range(150):
        kept[f"other {number}"] = "x"
    assert len(LearnedFile(str(path))) == 100 and "m" not in LearnedFile(str(path))
    for broken in ("", "[]", '{"a": 1}', "\0"):
        path.write_text(broken)
        assert len(LearnedFile(str(path))) == 0
    assert [entry.name for entry in path.parent.iterdir()] == ["tokens.json"]
    LearnedFile("/proc/no/where.json")["m"] = "x"


@pytest.mark.parametrize("broken", ("", "no json", "[]", '{"values": [1]}', "null"))
def test_broken_memory_is_learned_anew(broken: str) -> None:
    request = Request("m", (user_message(PROSE),))
    assert TokenEstimator({"m": broken}).request(request) == TokenEstimator().request(request)


def test_wild_counts_do_no_lasting_harm() -> None:
    estimator = TokenEstimator()
    request = Request("m", (user_message(PROSE * 10),))
    for wild in (10_000_000, 3, 0, -5):
        estimator.learn(request, wild)
    assert estimator.request(request) == TokenEstimator().request(request)
    estimator.learn(request, 2_800)
    for _ in range(3):
        estimator.learn(request, 450)
    assert abs(estimator.request(request) - 450) < 450 * 0.2


def test_all_of_a_request_counts() -> None:
    estimator = TokenEstimator()
    call = ToolCall("1", "read_file", {"path": "a" * 400})
    bare = Request("m", (user_message("hi"),))
    rich = Request("m", (user_message("hi", (Image("image/png", "AAAA"),)),
                         Message("assistant", (call,)),
                         tool_message((ToolResult("1", "read_file", PROSE * 5),))), "system " * 50,
                   (ToolSpec("read_file", "Read a file", {"type": "object"}),))
    assert estimator.request(rich) > estimator.request(bare) + 1_100 + 200
    before = estimator.request(rich)
    estimator.learn(rich, 2_500)   # pictures are counted too differently to learn from
    assert estimator.request(rich) == before


def test_gaps_are_runs_of_line_ends_and_of_blanks() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    texts = ["".join(chance.choices("a _\n\n \t\r.\x1f", k=length)) for length in range(60)] * 5
    found = [dict(zip(NAMES, text_features(text), strict=True))["gaps"] for text in texts]
    assert found == [len(re.findall(r"\n+|[ \t]{2,}", text)) for text in texts]


def test_features_and_small_things() -> None:
    numbers = dict(zip(NAMES, text_features("aB c12, 你か\n\nдд !="), strict=True))
    assert numbers == {"words": 2, "letters": 3, "digits": 2, "numbers": 1, "signs": 3, "runs": 2,
                       "gaps": 1, "switches": 2,
                       "wide": 1, "kana": 1, "other": 2, "other_words": 1, "blanks": 5,
                       "messages": 0}
    assert bytes_to_tokens(0) == 1
    assert TokenEstimator().messages([]) == 0
    assert TokenEstimator().text("") == 0
