"""Dividing the model's window, and fitting requests into it."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path

import pytest

from core.chat.fitted_request import Fitted, fit_request
from core.context_loader import Budget, ContextSet, budget_bars, plan_budget
from core.errors import UsageError
from core.messages import Message, Text, user_message
from core.providers import Options, Request, ToolSpec
from core.rendering.bars import bar_rows, bar_text, spoken_bars
from core.rendering.theme import MONO, NO_STYLE, theme_of
from core.window.tokens import TokenEstimator, message_text


def test_shares_add_up_to_the_window() -> None:
    budget = plan_budget(32_768, system=300, tools=900, history=4_000).with_context(8_000)
    assert budget == Budget(32_768, 8_192, 300, 900, 4_000, 8_000, 1_638)
    assert sum(budget.shares().values()) == budget.window
    assert budget.for_context == int((32_768 - 8_192 - 1_638 - 1_200) * 0.75)


@pytest.mark.parametrize(("window", "most", "reserve"), (
    (4_096, None, 1_024), (200_000, None, 8_192), (4_096, 500, 500), (4_096, 9_000, 2_048),
    (None, None, 8_192)))
def test_the_reserve_for_the_answer(window: int | None, most: int | None, reserve: int) -> None:
    assert plan_budget(window, max_tokens=most).reserve == reserve


def test_a_window_that_is_too_small() -> None:
    with pytest.raises(UsageError) as caught:
        plan_budget(2_048, system=100, tools=1_900)
    assert "1,900" in caught.value.message and "--num-ctx" in caught.value.hint


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def test_the_bars() -> None:
    budget = plan_budget(8_192, system=10, tools=0, history=1_000, exact=True).with_context(4_000)
    assert list(bar_rows(budget_bars(budget, "m"), 80, NO_STYLE, unicode=False)) == [
        "Window  86% of 8,192 tokens, m", "",
        "  Instructions             10     0%  #",
        "  Attached              4,000    49%  " + "#" * 41,
        "  Conversation          1,000    12%  " + "#" * 10,
        "  Kept for the answer   2,048    25%  " + "#" * 21,
        "  Free                  1,134    14%  " + "." * 12]
    assert "808 too many" in bar_text(budget_bars(plan_budget(8_192, history=6_952, exact=True)))
    assert ("Attached: 4,000, 49%." in spoken_bars(budget_bars(budget))
            and "#" not in bar_text(budget_bars(budget)))


def test_the_bars_fit_and_stand_one_under_the_other() -> None:
    seed = random.randrange(10 ** 6)
    print("seed", seed)
    dice = random.Random(seed)
    for _ in range(300):
        window = dice.randrange(1_000, 200_000)
        budget = plan_budget(window, system=dice.randrange(200), tools=dice.randrange(500),
                             history=dice.randrange(window * 2),
                             exact=dice.random() < 0.5).with_context(dice.randrange(window))
        width, theme = (dice.randrange(44, 150),
                        dice.choice([NO_STYLE, MONO, theme_of("dark", "true")]))
        rows = [plain(row) for row in bar_rows(budget_bars(budget, "model"), width, theme)]
        assert all(len(row) < width for row in rows), (width, rows)
        assert (len({row.index("%") for row in rows[2:]}) == 1), ("the columns stand one under "
                                                                  "the other")


def conversation(turns: int) -> tuple[Message, ...]:
    return tuple(message for number in range(turns) for message in (
        user_message(f"question {number} " + "and some words " * 60),
        Message("assistant", (Text("an answer of words " * 60),), finish="stop")))


def fit(request: Request, window: int | None, root: Path | None = None, *,
        estimator: TokenEstimator | None = None,
        **options: object) -> Fitted:
    async def go() -> Fitted:
        made = estimator or TokenEstimator()
        context = None
        if root is not None:
            context = ContextSet(root=str(root), estimator=made)
            await context.add(".")
        # as given
        return await fit_request(request, window, made, context=context, **options)  # type: ignore[arg-type]
    return asyncio.run(go())


def test_what_fits_is_sent_as_it_is() -> None:
    request = Request("m", (*conversation(2), user_message("now?")), "system")
    fitted = fit(request, 8_192)
    assert fitted.request == request and fitted.notices == () and fitted.left_out == ()


def test_a_long_conversation_is_cut_with_a_notice_and_context_stays(tmp_path: Path) -> None:
    (tmp_path / "facts.txt").write_text("the answer is 42\n" * 100)
    request = Request("m", (*conversation(60), user_message("what is the answer?")), "system")
    fitted = fit(request, 8_192, tmp_path)
    assert fitted.notices[0].startswith("context: 1 of 1 files")
    assert fitted.notices[1].startswith("The oldest ") and "were not sent" in fitted.notices[1]
    assert "the answer is 42" in fitted.request.messages[-1].text
    assert fitted.request.messages[-1].text.endswith("\n\nwhat is the answer?")
    assert fitted.left_out == tuple(range(len(request.messages) - len(fitted.request.messages)))
    assert fitted.request.messages[0].role == "user"
    assert TokenEstimator().request(fitted.request) <= 8_192 - fitted.budget.reserve
    assert fitted.budget.free >= 0


def test_a_window_that_nobody_knows_cuts_nothing() -> None:
    request = Request("m", conversation(400))
    assert fit(request, None).request == request


def test_tools_are_told_as_the_way_to_what_was_left_out(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"f{number}.txt").write_text("some words here\n" * 100)
    tool = ToolSpec("read_file", "Read a file", {"type": "object"})
    fitted = fit(Request("m", (user_message("hello"),), tools=(tool,)), 4_096, tmp_path)
    assert "Read them with the tools" in fitted.request.messages[0].text
    assert "left out: f" in fitted.notices[0]


def test_the_providers_count_is_believed(tmp_path: Path) -> None:
    """A tokenizer with three times as many tokens as estimated: after its count, the request fits.
    """
    (tmp_path / "facts.txt").write_text("some words about it\n" * 900)
    asked: list[int] = []

    async def count(request: Request) -> int:
        asked.append(sum(len(message_text(message)) // 2 for message in request.messages))
        return asked[-1]
    estimator = TokenEstimator()
    request = Request("m", (user_message("what about it?"),), options=Options(max_tokens=1_000))
    fitted = fit(request, 8_192, tmp_path, estimator=estimator, count=count)
    assert asked[0] > 7_192
    assert asyncio.run(count(fitted.request)) <= 7_192
    assert estimator.doubt(fitted.request, "m") < 0.05 * asked[-1] and len(asked) == 2


def test_a_window_that_is_just_too_small() -> None:
    """One token less leaves room for one."""
    assert plan_budget(2_048, system=100, tools=1_435, exact=True).free == 1
    with pytest.raises(UsageError):
        plan_budget(2_048, system=100, tools=1_436, exact=True)


def test_an_unknown_window_is_large_enough_for_what_is_there() -> None:
    assert plan_budget(None, history=100).window == 32_768
    assert plan_budget(None, system=1, tools=2, history=100_000).window == 200_006


def test_where_there_is_no_room_there_is_none_for_context() -> None:
    assert Budget(1_000, 250, system=900).for_context == 0
    assert Budget(1_000, 250, system=100, fixed=700).for_context == 0
    assert Budget(1_000, 250, system=100, context=200).for_history == 450


def test_what_is_too_much_is_said_to_the_token() -> None:
    assert ": 50 too many" in budget_bars(Budget(1_000, 250, history=800, margin=100)).about
    assert "too many" not in budget_bars(Budget(1_000, 250, history=750, margin=100)).about
