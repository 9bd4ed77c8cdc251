"""OpenAI first with a local OpenAI-compatible server as fallback, and the reverse, by configuration
alone.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.fake_server import Answer, FakeServer, Received, json_answer

WORDS = b'data: {"choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n'
DONE = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
CONFIGURATION = """\
llm:
  {first}:
    {key}
    base_url: "{first_url}/v1"
    model: "gpt-4"
  {second}:
    base_url: "{second_url}/v1"
    model: "gpt-oss:20b"
    fallback: true
retry_max_attempts: 1
"""
NOBODY = "http://127.0.0.1:1"


def answering(name: str) -> FakeServer:
    def script(request: Received) -> Answer:
        if request.path == "/v1/chat/completions":
            text = f"{name} with {request.json['model']}".encode()
            return Answer((WORDS % text, DONE), content_type="text/event-stream")
        return json_answer({"data": []}, 404)
    return FakeServer(script)


def run(program: list[str], environment: dict[str, str], tmp_path: Path,
        **values: str) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "config.yaml"
    usual = {"first": "openai", "second": "ollama", "key": 'api_key: "${OPENAI_API_KEY}"'}
    path.write_text(CONFIGURATION.format(**{**usual, **values}))
    return subprocess.run([*program, "--config", str(path), "hi"], env=environment,
                          capture_output=True, text=True, timeout=60)


def test_the_first_answers(program: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    with answering("cloud") as cloud, answering("here") as here:
        done = run(program, environment | {"OPENAI_API_KEY": "sk-1"}, tmp_path, first_url=cloud.url,
                   second_url=here.url)
        assert (done.stdout, here.requests) == ("cloud with gpt-4\n", [])
        assert cloud.requests[0].headers["authorization"] == "Bearer sk-1"


@pytest.mark.parametrize("key", ["sk-1", ""])
def test_the_local_one_stands_in(program: list[str], environment: dict[str, str], tmp_path: Path,
                                 key: str) -> None:
    """It also works without a key, and the key of the first server is never sent to the second."""
    with answering("here") as here:
        done = run(program, environment | {"OPENAI_API_KEY": key}, tmp_path, first_url=NOBODY,
                   second_url=here.url)
        assert (done.stdout, done.returncode) == ("here with gpt-oss:20b\n", 0), done.stderr
        assert "authorization" not in here.requests[-1].headers
    assert "Continued by ollama/gpt-oss:20b instead of openai/gpt-4" in done.stderr
    assert key or "OPENAI_API_KEY is not set" in done.stderr


def test_the_other_way_round(program: list[str], environment: dict[str, str],
                             tmp_path: Path) -> None:
    with answering("cloud") as cloud:
        done = run(program, environment | {"OPENAI_API_KEY": "sk-1"}, tmp_path, first="ollama",
                   second="openai", key="think: off",
                   first_url=NOBODY, second_url=cloud.url)
        assert (done.stdout, done.returncode) == ("cloud with gpt-oss:20b\n", 0), done.stderr
        assert cloud.requests[0].headers["authorization"] == "Bearer sk-1"
