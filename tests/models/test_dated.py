"""Facts that become outdated: each default model has a source, and a withdrawn one is replaced by
one that the host lists.
"""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import Any

import pytest

from core.config import Settings
from core.errors import ModelNotFound
from core.events import Notice, TextDelta
from core.messages import Message, Text
from core.model_manager import Providers, Target
from core.models.facts import known_facts, table_date, table_source
from core.models.successor import stream_or_successor
from core.providers import Request
from core.providers.dated import FACTS, Dated, fact_of, findings
from core.providers.hosts import hosts
from tests.check_facts import main, used
from tests.fake_server import Answer, FakeServer, Received, json_answer

LONG_AGO, FAR = date(2026, 11, 29), date(2040, 1, 1)


def test_every_default_has_a_dated_source() -> None:
    for provider, kind, name in used():
        fact = fact_of(provider, kind, name)
        assert fact is not None and fact.source.startswith(
            "https://"), f"add {provider} {name} to core/providers/dated.py"
        assert (fact.ends is None or fact.ends > fact.checked), (f"{name} was already past its end "
                                                                 "when it was chosen")


# A laboratory's gateway, and routers whose price depends on where they pass the request on.
UNPRICED = {"cborg", "huggingface", "openrouter"}


def test_every_default_has_a_price_from_a_dated_table() -> None:
    """Otherwise a limit on cost would have to ask at each question.

    Hosts without prices say so, and the user is asked.
    """
    providers = Providers(Settings({}))
    cloud = [host for host in hosts() if host.kind == "cloud" and host.default_model]
    priced = {host.name: known_facts(Target(host.name, host.default_model), providers)
              for host in cloud}
    unknown = {name for name, facts in priced.items()
               if None in (facts.input_price, facts.output_price)}
    assert unknown == UNPRICED
    assert date.fromisoformat(table_date()) > date(2026, 1, 1) and "genai-prices" in table_source()


def test_facts_are_one_of_a_kind() -> None:
    keys = [(fact.provider, fact.kind, fact.name) for fact in FACTS]
    assert (len(keys) == len(set(keys))
            and {fact.provider for fact in FACTS} <= {host.name for host in hosts()})


@pytest.mark.parametrize("days, words, fatal",
                         [(-1, "ended on", True), (0, "ends on", False), (10, "ends on", False)])
def test_the_end_of_a_default_is_reported(days: int, words: str, fatal: bool) -> None:
    fact = next(fact for fact in FACTS if fact.ends is not None)
    assert fact.ends is not None
    found = list(findings([(fact.provider, fact.kind, fact.name)],
                          fact.ends - timedelta(days=days)))
    assert ([finding.fatal for finding in found] == [fatal] and words in found[0].text
            and fact.source in found[0].text)


def test_the_check_fails_only_on_what_is_past(capsys: pytest.CaptureFixture[str]) -> None:
    # nothing in use has an announced end; later it is only old
    assert main(LONG_AGO) == 0 and main(FAR) == 0
    assert "was last checked on" in capsys.readouterr().out
    assert [finding.fatal for finding
            in findings([("groq", "model", "llama-3.3-70b-versatile")], LONG_AGO)] == [True]
    assert "no source" in next(findings([("new", "model", "m")], LONG_AGO)).text
    assert ("is not confirmed"
            in next(findings([("together", "model", _default("together"))], LONG_AGO)).text)
    assert Dated("p", "model", "m", LONG_AGO, "https://x").successor == ""


def _default(provider: str) -> str:
    return next(host.default_model for host in hosts() if host.name == provider)


def test_a_doubt_says_what_is_not_confirmed() -> None:
    """A default whose maker's page could not be read is reported at each check, but never as
    withdrawn.
    """
    doubtful = [fact for fact in FACTS if fact.doubt]
    assert doubtful and all(fact.ends is None and not fact.doubt.endswith(".") for fact in doubtful)
    for fact in doubtful:
        found = list(findings([(fact.provider, fact.kind, fact.name)], fact.checked))
        assert [finding.fatal for finding in found] == [False] and fact.doubt in found[0].text


SAID = {"choices": [{"index": 0, "message": {"content": "Hi."}, "finish_reason": "stop"}]}


def asked_at(listed: list[str], settings: dict[str, Any],
             target: Target) -> tuple[list[Any], list[str]]:
    """(the result, the requested models) of a server that has only these models."""
    models: list[str] = []

    def script(request: Received) -> Answer:
        if request.method == "GET":
            return json_answer({"data": [{"id": name} for name in listed]})
        models.append(request.json["model"])
        if models[-1] in listed:
            return json_answer(SAID)
        return json_answer(
            {"error": {"message": "The model does not exist", "code": "model_not_found"}}, 404)

    async def use(url: str) -> list[Any]:
        providers = Providers(Settings({**settings, "provider": "groq", "base_url": f"{url}/v1"}))
        found: list[Any] = []
        try:
            for _ in range(2):
                request = Request(target.model, (Message("user", (Text("hi"),)),))
                found += [item async for item in stream_or_successor(target, request, providers)]
        finally:
            await providers.close()
        return found
    with FakeServer(script) as server:
        return asyncio.run(use(server.url)), models


DEFAULT = next(host.default_model for host in hosts() if host.name == "groq")


@pytest.mark.parametrize("listed, successor", [
    (["whisper-large", "openai/gpt-oss-20b", "zeta"], "openai/gpt-oss-20b"), (["zeta"], "zeta"),
    (["text-embedding-1", "b"], "b")])
def test_a_default_that_is_gone_gives_way_and_says_so(listed: list[str], successor: str) -> None:
    found, asked = asked_at(listed, {}, Target("groq", DEFAULT))
    notices = [item.text for item in found if isinstance(item, Notice)]
    assert [item.text for item in found if isinstance(item, TextDelta)] == ["Hi.", "Hi."]
    assert len(notices) == 1 and DEFAULT in notices[0] and successor in notices[0]
    assert asked == [DEFAULT, successor, successor], "asked in vain only once"


@pytest.mark.parametrize("listed, settings",
                         [(["other"], {"model": DEFAULT}), ([], {}), (["whisper-large"], {})])
def test_what_the_user_named_is_not_replaced(listed: list[str], settings: dict[str, Any]) -> None:
    with pytest.raises(ModelNotFound):
        asked_at(listed, settings, Target("groq", DEFAULT))
