"""--check and /check: which servers respond, whether keys work, and fitting advice."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from typing import Any

import pytest

from core.config import Settings
from core.model_manager import Providers
from core.models.health import Health, check_all, list_models, missing_for, proxy_advice, set_up
from core.models.tables import health_table
from tests.conftest import NOTHING_LISTENS
from tests.fake_server import FakeOllama, FakeServer, Pause, Received, Answer, json_answer


def opened(environment: dict[str, str] | None = None, entries: dict[str, Any] | None = None,
           **values: Any) -> Providers:
    return Providers(Settings(values, environment=environment or {"HOME": "/nonexistent"},
                              providers=entries or {}))


def check(providers: Providers, *names: str, timeout: float = 120,
          usual: str = NOTHING_LISTENS) -> list[Health]:
    async def run() -> list[Health]:
        try:
            return await check_all(providers, list(names), timeout, usual)
        finally:
            await providers.close()
    return asyncio.run(run())


def test_who_is_set_up() -> None:
    environment = {"HOME": "/nonexistent", "GROQ_API_KEY": "g", "HF_TOKEN": "h"}
    entries: dict[str, Any] = {"workshop": {"base_url": "http://x"}, "claude": {}}
    providers = opened(environment, entries, model="openai/m", model_fallbacks=("mistral/s",))
    assert set_up(providers) == ["openai", "mistral", "workshop", "anthropic", "groq",
                                 "huggingface", "ollama"]


@pytest.mark.parametrize("name, words",
                         [("openai", "OPENAI_API_KEY"), ("azure", "an address"), ("ollama", ""),
                          ("demo", ""),
                          ("vllm", ""), ("gemini", "GEMINI_API_KEY or GOOGLE_API_KEY")])
def test_what_is_missing(name: str, words: str) -> None:
    missing = missing_for(name, opened())
    assert (words in missing) if words else missing == ""


def test_all_are_asked_at_the_same_time() -> None:
    """No response is sent before all six requests have arrived."""
    together = threading.Barrier(6)

    def script(request: Received) -> Answer:
        together.wait(10)
        return json_answer({"data": [{"id": "m", "type": "model", "display_name": "m"}],
                            "has_more": False})
    with FakeServer(script) as server:
        entries = {f"host{number}": {"base_url": server.url, "dialect": "anthropic", "api_key": "k"}
                   for number in range(6)}
        assert [health.ok for health in check(opened(entries=entries), *entries)] == [True] * 6


def test_a_silent_provider_holds_nobody_up() -> None:
    with FakeServer(Answer((Pause(30),))) as silent, FakeOllama() as ollama:
        entries = {"silent": {"base_url": silent.url, "dialect": "anthropic", "api_key": "k"}}
        quiet, good = check(opened(entries=entries, ollama_host=ollama.url), "silent", "ollama",
                            timeout=0.5)
    assert (quiet.ok, good.ok) == (False, True) and "No answer within" in quiet.said


def test_a_wrong_key_is_told() -> None:
    refusal = json_answer({"type": "error",
                           "error": {"type": "authentication_error",
                                     "message": "invalid x-api-key"}}, 401)
    with FakeServer(refusal) as server:
        entries = {"anthropic": {"base_url": server.url, "api_key": "wrong-key-1"}}
        found, = check(opened(entries=entries), "anthropic")
    assert (not found.ok and "did not accept the key" in found.said
            and "wrong-key-1" not in str(found))


def ollama_with(**answers: Any) -> FakeServer:
    def script(request: Received) -> Answer:
        return json_answer(answers.get(request.path.rsplit("/", 1)[-1], {}))
    return FakeServer(script)


def advice(providers: Providers, usual: str = NOTHING_LISTENS) -> str:
    return " | ".join(check(providers, "ollama", usual=usual)[0].advice)


def test_ollama_does_not_run() -> None:
    assert "ollama serve" in advice(opened(ollama_host="127.0.0.1:1", connect_timeout=1))


def test_ollama_runs_where_it_usually_does_and_another_address_was_named() -> None:
    with FakeOllama() as server:
        said = advice(opened(ollama_host=NOTHING_LISTENS, connect_timeout=1), usual=server.url)
    assert (f"An Ollama server responds at {server.url}, but OLLAMA_HOST or --base-url is set to "
            f"{NOTHING_LISTENS}" in said)


def test_ollama_at_all_addresses() -> None:
    assert ("0.0.0.0 in OLLAMA_HOST is an address for servers"
            in advice(opened(ollama_host="0.0.0.0:1", connect_timeout=1)))


def test_ollama_is_old_and_empty() -> None:
    with ollama_with(version={"version": "0.5.7"}, tags={"models": []}) as server:
        said = advice(opened(ollama_host=server.url))
    assert "Version 0.5 is old" in said and "has no models yet" in said


def test_ollama_lacks_the_model() -> None:
    with FakeOllama() as server:
        assert ("does not have other: ollama pull other"
                in advice(opened(ollama_host=server.url, model="other")))


def test_ollama_loads_less_than_the_model_can_take() -> None:
    with FakeOllama() as server:
        assert ("32,768 tokens and may be loaded with 8,192"
                in advice(opened(ollama_host=server.url, model="echo")))
        assert ("raise it with /ctx or --num-ctx"
                in advice(opened(ollama_host=server.url, model="echo")))
        table = asyncio.run(health_table(opened(ollama_host=server.url, model="echo")))[0]
        assert ". echo can take 32,768 tokens" in next(row[3]
                                                       for row in table.rows if row[0] == "ollama")
        assert "" == advice(opened(ollama_host=server.url, model="echo", num_ctx=32768))


@pytest.mark.parametrize("address, environment, told", [
    ("http://10.0.0.5:11434", {"HTTP_PROXY": "http://proxy"}, True),
    ("http://10.0.0.5:11434", {"HTTP_PROXY": "http://proxy", "NO_PROXY": "a, 10.0.0.5"}, False),
    ("http://10.0.0.5:11434", {"HTTPS_PROXY": "http://proxy"}, False),
    ("http://127.0.0.1:11434", {"ALL_PROXY": "http://proxy"}, False),
    ("https://host", {"all_proxy": "http://proxy"}, True),
])
def test_a_proxy_in_between(address: str, environment: dict[str, str], told: bool) -> None:
    assert bool(proxy_advice(address, environment)) is told


def test_lists_keep_errors_beside_models() -> None:
    with FakeOllama() as server:
        async def run() -> list[Any]:
            providers = opened(ollama_host=server.url)
            try:
                return await list_models(providers, ["ollama", "openai", "nobody"])
            finally:
                await providers.close()
        good, keyless, unknown = asyncio.run(run())
    assert "echo:latest" in [info.name for info in good.models] and good.error is None
    assert keyless.error.kind == "authentication" and unknown.error.kind == "usage"


def test_on_the_command_line(program: list[str], environment: dict[str, str]) -> None:
    with FakeOllama() as server:
        environment |= {"OLLAMA_HOST": server.url, "GROQ_API_KEY": "g-123456"}
        done, lists = (subprocess.run([*program, *words], env=environment, capture_output=True,
                                      text=True, timeout=60)
                       for words in (("--check", "--json", "-m", "echo"),
                                     ("--list-models", "-p", "ollama")))
    rows = {row["provider"]: row for row in json.loads(done.stdout)}
    assert (done.returncode == 0 and rows["ollama"]["answers"] is True
            and rows["groq"]["answers"] is False)
    assert all(type(row["seconds"]) is float and isinstance(row["advice"], list)
               for row in rows.values())
    lines = lists.stdout.splitlines()
    assert lines[0].startswith("model ") and "\t" not in lists.stdout and "\x1b" not in lists.stdout
    assert any(line.startswith("ollama/words-50:latest") and line.endswith("loaded")
               for line in lines)


def test_lists_for_programs_hold_values_and_not_the_words_of_a_table(
    program: list[str], environment: dict[str, str]
) -> None:
    """JSON has numbers, true, false and null instead of "?", "352 ms" and "1.2 GB"."""
    with FakeOllama() as server:
        environment |= {"OLLAMA_HOST": server.url, "GROQ_API_KEY": "g-123456"}
        lists = {}
        for flag in ("--list-models", "--list-providers", "--check"):
            done = subprocess.run([*program, flag, "--json"], env=environment, capture_output=True,
                                  text=True, timeout=60)
            lists[flag] = json.loads(done.stdout)
    kinds = {"context_window": int, "output_limit": int, "input_price": float,
             "output_price": float, "bytes": int,
             "seconds": float, "tools": bool, "vision": bool, "thinking": bool, "loaded": bool,
             "answers": bool}
    for flag, records in lists.items():
        assert records, flag
        for record in records:
            for name, value in record.items():
                assert (value is None
                        or isinstance(value, kinds.get(name, (str, list)))), (flag, name, value)
                assert value not in ("?", "-", "", "yes", "no"), (flag, name, value)
    models = {record["model"]: record for record in lists["--list-models"]}
    assert models["ollama/words-50:latest"]["loaded"] is True and models[None]["error"]
