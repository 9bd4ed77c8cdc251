"""Counting tokens before sending: exact if the server can count, otherwise an estimate with its
error.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.config import Settings
from core.messages import Image, Message, Text, Usage, user_message
from core.model_manager import Providers, Target
from core.providers import CanCount, Request
from core.stats.counting import Counted, count_request
from core.window.tokens import TokenEstimator
from tests.fake_server import Answer, FakeOllama, FakeServer, Received, json_answer

TEXT = "The tide comes in twice a day, and the harbour is dry between. " * 40


def counted(provider: str, url: str, request: Request, **settings: Any) -> Counted:
    async def ask() -> Counted:
        values = {"provider": provider, "base_url": url, **settings}
        keys = {"ANTHROPIC_API_KEY": "k", "GEMINI_API_KEY": "k"}
        providers = Providers(
            Settings(
                values, environment={"HOME": "/nowhere", **keys}, flags=frozenset({"base_url"})
            )
        )
        try:
            return await count_request(request, Target(provider, "m"), providers, TokenEstimator())
        finally:
            await providers.close()

    return asyncio.run(ask())


def on_llamacpp(request: Received) -> Answer:
    if request.path == "/apply-template":
        return json_answer({"prompt": "<s>" + request.json["messages"][-1]["content"]})
    assert request.path == "/tokenize" and request.json["parse_special"] is True
    return json_answer({"tokens": list(range(len(request.json["content"])))})


@pytest.mark.parametrize(
    "provider, answer",
    [
        ("anthropic", json_answer({"input_tokens": 8})),
        ("gemini", json_answer({"totalTokens": 8})),
        ("vllm", json_answer({"count": 8, "max_model_len": 100, "tokens": []})),
        ("llamacpp", on_llamacpp),
    ],
)
def test_servers_that_count(provider: str, answer: Any) -> None:
    with FakeServer(answer) as server:
        found = counted(
            provider,
            f"{server.url}/v1" if provider in ("vllm", "llamacpp") else server.url,
            Request("m", (user_message("hello"),)),
        )
        assert found == Counted(8, provider) and str(found) == f"8 tokens (counted by {provider})"
        assert all(not request.path.startswith("/v1/tokenize") for request in server.requests)


@pytest.mark.parametrize(
    "answer",
    [
        json_answer({"error": "no such path"}, 404),
        json_answer({"count": "many"}),
        json_answer([]),
        json_answer({"tokens": 7}),
        Answer([b"<html>"]),
        json_answer({"prompt": ["x"], "count": None}),
    ],
)
@pytest.mark.parametrize("provider", ["vllm", "llamacpp", "anthropic"])
def test_a_server_that_cannot_after_all_gives_an_estimate(provider: str, answer: Answer) -> None:
    with FakeServer(answer) as server:
        found = counted(provider, server.url, Request("m", (user_message(TEXT),)))
    assert found.by == "" and 300 < found.tokens < 1_200 and 0 < found.doubt <= found.tokens // 3


def test_pictures_are_estimated() -> None:
    with FakeServer(on_llamacpp) as server:
        picture = user_message("what is it?", (Image("image/png", "AAAA", "a.png"),))
        assert (
            counted("llamacpp", server.url, Request("m", (picture,))).by == ""
            and not server.requests
        )


def test_with_local_only_nobody_elsewhere_is_asked() -> None:
    """Not even to count."""
    request = Request("m", (user_message("secret"),))
    assert counted("anthropic", "https://api.example.org", request, local_only=True).by == ""


def test_the_error_shrinks_with_what_was_counted() -> None:
    estimator, request = TokenEstimator(), Request("m", (user_message(TEXT),))
    before = estimator.doubt(request)
    for turn in range(1, 4):
        estimator.learn(Request("m", (user_message(TEXT * turn),)), 600 * turn, "m")
    assert estimator.doubt(request, "m") < before / 4
    assert abs(estimator.request(request, "m") - 600) <= estimator.doubt(request, "m") + 1


def test_an_openai_host_without_a_tokenizer_does_not_claim_to_count() -> None:
    providers = Providers(Settings({}, environment={"HOME": "/nowhere", "GROQ_API_KEY": "k"}))
    assert not isinstance(providers.open("groq"), CanCount)


# ---- through the program


def run(
    program: list[str], environment: dict[str, str], *words: str, stdin: str | None = None
) -> tuple[int, str, str]:
    done = subprocess.run(
        [*program, *words],
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        **({} if stdin is not None else {"stdin": subprocess.DEVNULL}),
    )  # type: ignore[call-overload]
    return done.returncode, done.stdout, done.stderr


def test_files_are_counted_without_a_model(
    program: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two words.md"
    one.write_text(TEXT)
    two.write_text("a\x1b[2Jb " * 100)
    code, out, _ = run(program, environment, "--count", str(one), "--count", str(two))
    lines = out.splitlines()
    assert (
        code == 0
        and len(lines) == 4
        and lines[0].split() == ["name", "tokens"]
        and lines[3].startswith("all")
    )
    assert all("(estimated, \u00b1" in line for line in lines[1:])
    code, out, _ = run(program, environment, "--json", "--count", str(one), str(two))
    records = json.loads(out)
    assert (
        code == 0
        and [set(record) for record in records] == [{"name", "tokens", "exact", "within"}] * 2
    )
    assert all(type(record["tokens"]) is int and record["exact"] is False for record in records)


def test_what_cannot_be_read_is_said(
    program: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "b.txt").write_bytes(b"\0\1\2")
    code, out, err = run(program, environment, "--count", f"{tmp_path}/a.txt,{tmp_path}/b.txt")
    assert code == 1 and "a.txt" in out and "binary" in err
    assert run(program, environment, "--count", str(tmp_path / "none"))[0] == 2
    code, out, err = run(program, environment, "--count", "-", stdin=TEXT)
    assert code == 0 and out.splitlines()[1].startswith("stdin")


def test_an_exact_count_through_the_program(
    program: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("hello")
    with FakeServer(on_llamacpp) as server:
        code, out, _ = run(
            program,
            environment,
            "-p",
            "llamacpp",
            "--base-url",
            f"{server.url}/v1",
            "-m",
            "m",
            "--json",
            "--count",
            str(tmp_path / "a.txt"),
        )
    assert code == 0 and json.loads(out) == [
        {"name": str(tmp_path / "a.txt"), "tokens": 8, "exact": True, "within": 0}
    ]


def test_a_secret_file_is_not_read(program: list[str], environment: dict[str, str]) -> None:
    key = Path(environment["HOME"], ".ssh", "id_rsa")
    key.parent.mkdir(parents=True)
    key.write_text("PRIVATE")
    code, out, err = run(program, environment, "--count", str(key))
    assert code == 2 and out == "" and "id_rsa" in err


def test_nothing_is_asked_or_saved(
    program: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    with FakeOllama() as ollama:
        environment["OLLAMA_HOST"] = ollama.url
        assert run(program, environment, "-m", "echo", "--count", str(tmp_path / "a.txt"))[0] == 0
        assert not ollama.chats
    assert not Path(environment["HOME"], ".local/share/stream-chat/sessions.db").exists()


@pytest.mark.parametrize("usage, since", [
    (Usage(600, 50), 650), (Usage(600, None), 600), (Usage(None, 50), None), (Usage(), None),
    (None, None)])
def test_the_last_answers_count_is_where_an_estimate_begins(usage: Usage | None,
                                                            since: int | None) -> None:
    reply = Message("assistant", (Text("yes"),), "groq/m", usage)
    found = estimated(Request("m", (user_message(TEXT), reply)))
    assert found.since == (since is not None)
    assert since is None or (found.tokens, found.doubt) == (since, 0)
    more = estimated(Request("m", (user_message(TEXT), reply, user_message(TEXT))))
    assert since is None or more.tokens > since + 300 and more.doubt > 0


@pytest.mark.parametrize("model, messages", [("", (user_message(TEXT),)), ("m", ())])
def test_a_server_is_not_asked_for_nothing(model: str, messages: tuple[Message, ...]) -> None:
    with FakeServer(json_answer({"input_tokens": 8})) as server:
        found = estimated(Request(model, messages), "anthropic", server.url)
        assert found.by == "" and not server.requests


def estimated(request: Request, provider: str = "groq", url: str = "") -> Counted:
    async def ask() -> Counted:
        providers = Providers(Settings({"provider": provider, "base_url": url or None},
                                       environment={"HOME": "/nowhere", "GROQ_API_KEY": "k",
                                                    "ANTHROPIC_API_KEY": "k"},
                                       flags=frozenset({"base_url"})))
        try:
            return await count_request(request, Target(provider, request.model), providers,
                                       TokenEstimator())
        finally:
            await providers.close()
    return asyncio.run(ask())
