"""Servers at a socket in a file: unix:///run/server.sock as an address, in every dialect."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.config import Settings
from core.config.keys import origin_of
from core.config.network import is_loopback, plain_unix_url, unix_socket
from core.errors import AuthFailed, ConnectFailed, ProviderError, StreamBroken, UsageError
from core.events import TextDelta
from core.messages import user_message
from core.model_manager import Providers
from core.providers import Request
from tests.dialects import ask, run
from tests.fake_server import Answer, Cut, FakeOllama, FakeServer, Pause, Reset, Stall, Step
from tests.scripted_answers import SCRIPTED, Script

HELLO = Request("test-model", (user_message("Hello"),))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short name: a socket's has at most 107 bytes."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


@pytest.mark.parametrize("url, expected", [
    ("unix:///run/llama.sock", ("/run/llama.sock", "")),
    ("unix:///run/llama.sock/", ("/run/llama.sock", "/")),
    ("unix:///run/llama.sock/v1", ("/run/llama.sock", "/v1")),
    ("unix:/run/llama.sock/v1", ("/run/llama.sock", "/v1")),
    ("UNIX:///run/a.socket/v1/chat?x=/y", ("/run/a.socket", "/v1/chat?x=/y")),
    ("unix:///run/llama", ("/run/llama", "")),
    ("unix:///run/llama:/v1", ("/run/llama", "/v1")),
    ("unix:///run/llama.sock:/v1", ("/run/llama.sock", "/v1")),
    ("unix:///run/ä b.sock/v1", ("/run/ä b.sock", "/v1")),
    ("http://127.0.0.1:11434", None), ("https://example.org/x.sock", None), ("unix", None),
])
def test_the_file_of_a_socket(url: str, expected: tuple[str, str] | None) -> None:
    assert unix_socket(url) == expected
    if expected is not None:
        plain = plain_unix_url(url)
        assert unix_socket(plain + "/api/chat") == (
            expected[0], expected[1].rstrip("/") + "/api/chat")
        assert is_loopback(url) and origin_of(url) == f"unix://{expected[0]}"


@pytest.mark.parametrize("url", ["unix://run/llama.sock", "unix:///", "unix://", "unix://host"])
def test_a_url_without_a_file_is_refused(url: str) -> None:
    if unix_socket_or_none(url) is None:
        settings = Settings({"provider": "openai", "base_url": url, "model": "m"})
        with pytest.raises((UsageError, ConnectFailed)):
            Providers(settings).open("openai")


def unix_socket_or_none(url: str) -> tuple[str, str] | None:
    try:
        return unix_socket(url)
    except ValueError:
        return None


@pytest.mark.parametrize("dialect", sorted(SCRIPTED))
def test_an_answer_is_the_same_as_over_tcp(dialect: str, folder: Path) -> None:
    answer = SCRIPTED[dialect](Script("Grüß Gott 🙂", "Hm …", ()))
    results = []
    for file in ("", str(folder / "model.sock")):
        with FakeServer(answer, file=file) as server:
            results.append(ask(dialect, server.url, HELLO))
            sent = server.requests[-1]
    assert results[0] == results[1] and results[1][1] is None
    assert "test-key" in str(sent.headers) + sent.path and sent.headers["host"] == "localhost"


@pytest.mark.parametrize("end", [Cut(), Reset(), Stall()])
def test_a_fault_is_the_same_as_over_tcp(end: Step, folder: Path) -> None:
    line = b'{"message": {"content": "half"}, "done": false}\n'
    for file in ("", str(folder / "model.sock")):
        with FakeServer(Answer([line, Pause(0.01), end]), file=file) as server:
            deltas, error = ask("ollama", server.url, HELLO, idle_timeout=0.3)
        assert deltas == [TextDelta("half")] and isinstance(error, StreamBroken)


def test_a_failure_names_the_socket(folder: Path) -> None:
    nobody = folder / "left.sock"
    with FakeServer([], file=str(nobody)):
        pass
    (folder / "file.sock").write_text("")
    for file in (folder / "missing.sock", nobody, folder / "file.sock",
                 folder / ("x" * 200 + ".sock")):
        deltas, error = ask("openai", f"unix://{file}/v1", HELLO)
        assert not deltas and isinstance(error, ConnectFailed)
        assert f"unix://{file}" in error.message
    missing = ask("openai", f"unix://{folder}/missing.sock/v1", HELLO)[1]
    assert isinstance(missing, ProviderError) and not missing.retryable
    assert "No such file" in missing.message


def test_a_key_goes_to_its_own_socket_only(folder: Path) -> None:
    entry = {"base_url": f"unix://{folder}/a.sock/v1", "api_key": "sk-a", "dialect": "openai"}
    given, providers = {"provider": "mine", "model": "m"}, {"mine": entry}
    own = Providers(Settings(given, providers=providers)).open("mine")
    assert own.endpoint.key == "sk-a"
    other = Settings({**given, "base_url": f"unix://{folder}/b.sock/v1"}, providers=providers,
                     environment={"STREAM_CHAT_BASE_URL": "set"})
    with pytest.raises(AuthFailed, match="another address"):
        Providers(other).open("mine")


def test_what_the_package_asks_goes_there_too(folder: Path) -> None:
    with FakeOllama(file=str(folder / "model.sock")) as server:
        shown = run("ollama", server.url, lambda provider: provider.show("words-50"))
        assert shown.name == "words-50" and server.requests[-1].path == "/api/show"


@pytest.mark.processes
@pytest.mark.parametrize("by", ["flag", "OLLAMA_HOST"])
def test_the_program_asks_at_a_socket(by: str, folder: Path, program: list[str],
                                      environment: dict[str, str]) -> None:
    file = folder / "ollama"      # a name without .sock
    with FakeOllama(file=str(file)) as server:
        flags = ["--base-url", server.url] if by == "flag" else []
        more = {"OLLAMA_HOST": server.url} if by != "flag" else {}
        more |= {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "http://127.0.0.1:9"}
        for words, expected in ((["-m", "words-3", "hi"], ""), (["--list-models"], "words-50")):
            done = subprocess.run([*program, *flags, *words], env={**environment, **more},
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert expected in done.stdout and done.stdout.strip()
