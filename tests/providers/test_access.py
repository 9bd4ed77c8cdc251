"""A key is sent only to the origin it was given for, and never unencrypted: every host, every way
to set key and address.
"""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from core.config.keys import clean_key, origin_of, store_key
from core.config.sources import load_settings
from core.errors import AuthFailed
from core.model_manager import Providers
from core.providers import Endpoint
from core.providers.access import in_the_clear
from core.providers.hosts import Host, hosts
from tests.fake_server import FakeServer, json_answer

KEY = "sk-0123456789abcdef"
FOREIGN = "https://collector.example/v1"
SERVERS = [host for host in hosts() if host.server and host.key_variables]
NAMES = [host.name for host in SERVERS]
ADDRESSED = [host.name for host in SERVERS if host.base_url]


def open_at(home: Path, name: str, *, file: dict[str, Any] | None = None,
            flags: dict[str, object] | None = None,
            **environment: str) -> Endpoint:
    """The endpoint of a provider, or one without a key if using it is rejected."""
    given: dict[str, object] = {"provider": name, **(flags or {})}
    if file is not None:
        path = home / "config.json"
        path.write_text(json.dumps(file))
        given["config"] = str(path)
        given.pop("provider")
    settings = load_settings(given, {"HOME": str(home), **environment})
    try:
        return Providers(settings).open(name).endpoint
    except AuthFailed as refused:
        return Endpoint("", None, quirks={"refused": refused.message})


def row(name: str) -> Host:
    return next(host for host in SERVERS if host.name == name)


@pytest.mark.parametrize("name", ADDRESSED)
@pytest.mark.parametrize("kept", ["variable", "stored", "entry"])
def test_an_address_of_the_environment_gets_no_key(tmp_path: Path, name: str, kept: str) -> None:
    """Settings that others can change, such as a project's variables, must not redirect the key."""
    environment, file = {"STREAM_CHAT_BASE_URL": FOREIGN}, None
    if kept == "variable":
        environment[row(name).key_variables[0]] = KEY
    elif kept == "stored":
        store_key({"HOME": str(tmp_path)}, name, KEY, row(name).base_url)
    else:
        file = {"provider": name, "providers": {name: {"api_key": KEY}}}
    assert open_at(tmp_path, name, file=file, **environment).key is None


@pytest.mark.parametrize("name", NAMES)
def test_a_key_reaches_the_address_that_the_user_names(tmp_path: Path, name: str) -> None:
    variable = row(name).key_variables[0]
    by_flag = open_at(tmp_path, name, flags={"base_url": FOREIGN}, **{variable: KEY})
    assert (by_flag.key, origin_of(by_flag.base_url)) == (KEY, origin_of(FOREIGN))
    in_file = open_at(tmp_path, name,
                      file={"provider": name, "providers": {name: {"base_url": FOREIGN}}},
                      **{variable: KEY})
    assert (in_file.key, origin_of(in_file.base_url)) == (KEY, origin_of(FOREIGN))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("url",
                         ["http://collector.example/v1", "http://93.184.216.34/v1",
                          "HTTP://collector.example:8080",
                          "http://[2606:2800:220:1::1]/v1", "collector.example/v1"])
def test_no_key_travels_in_the_clear(tmp_path: Path, name: str, url: str) -> None:
    assert open_at(tmp_path, name, flags={"base_url": url},
                   **{row(name).key_variables[0]: KEY}).key is None


@pytest.mark.parametrize("name", [name for name in NAMES if name != "openai"])
def test_the_key_at_the_top_of_a_file_is_its_owners(tmp_path: Path, name: str) -> None:
    """`api_key` is OpenAI's key, whichever provider the file chooses and whatever its address is.
    """
    file: dict[str, Any] = {"provider": name, "model": "m", "base_url": "http://127.0.0.1:1/v1",
                            "api_key": KEY}
    found = open_at(tmp_path, name, file=file)
    assert KEY not in (found.key, json.dumps(dict(found.quirks)))
    with_own = open_at(tmp_path, name, file=file, **{row(name).key_variables[0]: "own-key-of-it"})
    assert with_own.key == "own-key-of-it"


def test_an_address_at_the_top_of_a_file_is_for_the_provider_of_that_file(tmp_path: Path) -> None:
    """--provider on the command line does not send another's key there."""
    file = {"provider": "ollama", "base_url": "http://127.0.0.1:1", "api_key": KEY}
    found = open_at(tmp_path, "openai", file=file, flags={"model": "openai/gpt"})
    assert (found.key, found.base_url) == (KEY, "https://api.openai.com/v1")


def test_two_names_of_one_provider_are_one_entry(tmp_path: Path) -> None:
    file = {"provider": "claude", "claude_api_key": KEY,
            "providers": {"anthropic": {"idle_timeout": 7}}}
    found = open_at(tmp_path, "anthropic", file=file)
    assert (found.key, found.idle_timeout) == (KEY, 7.0)


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key", "cookie", "x-session-token"])
@pytest.mark.parametrize("name", ["openai", "litellm"])
def test_configured_headers_are_keys_too(tmp_path: Path, name: str, header: str) -> None:
    entry = {"base_url": "https://proxy.example/v1", "headers": {header: KEY, "X-Team": "blue"},
             "api_key": "another-key-of-it"}
    file = {"provider": name, "providers": {name: entry}}
    assert open_at(tmp_path, name, file=file).quirks["headers"] == entry["headers"]
    elsewhere = open_at(tmp_path, name, file=file, STREAM_CHAT_BASE_URL=FOREIGN)
    assert elsewhere.key is None and KEY not in json.dumps(dict(elsewhere.quirks))
    del entry["api_key"]
    alone = open_at(tmp_path, name, file=file, STREAM_CHAT_BASE_URL=FOREIGN).quirks
    if row(name).kind == "cloud":
        assert f"headers of {name}" in alone["refused"]
        assert "https://proxy.example/v1" in alone["refused"] and FOREIGN in alone["refused"]
    else:
        assert alone["headers"] == {"X-Team": "blue"}, "what is not secret is sent"


@pytest.mark.parametrize("name", ADDRESSED)
def test_only_a_cloud_provider_needs_a_key(tmp_path: Path, name: str) -> None:
    """Only at its own address: another server may need no key."""
    cloud = row(name).kind == "cloud"
    assert ("needs a key" in open_at(tmp_path, name).quirks.get("refused", "")) is cloud
    elsewhere = open_at(tmp_path, name, flags={"base_url": "https://proxy.example/v1"})
    assert "refused" not in elsewhere.quirks


def test_a_local_server_is_asked_without_the_key_and_a_refusal_says_why(tmp_path: Path) -> None:
    """OLLAMA_API_KEY is for ollama.com; a local server named by OLLAMA_HOST does not get it."""
    at_home = open_at(tmp_path, "ollama", OLLAMA_HOST="http://10.0.0.7:11434", OLLAMA_API_KEY=KEY)
    assert at_home.key is None and "10.0.0.7" in at_home.base_url
    assert open_at(tmp_path, "ollama", OLLAMA_HOST="https://ollama.com",
                   OLLAMA_API_KEY=KEY).key == KEY
    assert open_at(tmp_path, "ollama", flags={"ollama_host": "10.0.0.7"},
                   OLLAMA_API_KEY=KEY).key == KEY


@pytest.mark.parametrize("given, needed", [(True, True), (False, False)])
@pytest.mark.parametrize("written", ["requires_key", "requires_api_key", "requires-key"])
def test_the_configuration_says_whether_a_key_is_needed(tmp_path: Path, written: str, given: bool,
                                                        needed: bool) -> None:
    file = {"provider": "lab",
            "providers": {"lab": {"base_url": "https://lab.example/v1", written: given}}}
    assert (("needs a key" in open_at(tmp_path, "lab", file=file).quirks.get("refused", ""))
            is needed)
    assert open_at(tmp_path, "groq",
                   file={"provider": "groq", "providers": {"groq": {written: False}}}).base_url


@pytest.mark.parametrize("seed", range(20))
def test_a_key_is_what_is_between_what_was_copied_with_it(seed: int) -> None:
    chance = random.Random(seed)
    text = KEY
    for _ in range(chance.randrange(4)):
        before, after = chance.choice([
            ('"', '"'), ("'", "'"), ("Bearer ", ""), ("bearer  ", ""), ("\u201c", "\u201d"),
            (" ", "\n")])
        text = f"{before}{text}{after}"
    assert clean_key(text) == KEY, f"seed {seed}: {text!r}"


def test_a_copied_key_is_sent_clean(tmp_path: Path) -> None:
    assert open_at(tmp_path, "groq", GROQ_API_KEY=f'"Bearer {KEY}"\n').key == KEY


def test_cborg_works_end_to_end_by_its_row(tmp_path: Path, program: list[str],
                                           environment: dict[str, str]) -> None:
    found = open_at(tmp_path, "cborg", CBORG_API_KEY=KEY)
    assert (found.base_url, found.key) == ("https://api.cborg.lbl.gov", KEY)
    said = {"choices": [{"index": 0, "message": {"content": "Hi."}, "finish_reason": "stop"}]}
    with FakeServer(json_answer(said)) as server:
        done = subprocess.run([*program, "-p", "cborg", "--base-url", server.url, "Hello"],
                              capture_output=True, text=True,
                              env=environment | {"CBORG_API_KEY": KEY}, timeout=60)
        asked = server.requests[-1]
    assert (done.stdout, done.returncode) == ("Hi.\n", 0), done.stderr
    assert asked.headers["authorization"] == f"Bearer {KEY}" and asked.path == "/chat/completions"
    assert asked.json["model"] == "lbl/cborg-coder:latest"


@pytest.mark.parametrize("url, clear", [
    ("https://api.openai.com", False), ("http://127.0.0.1:1", False), ("http://localhost", False),
    ("http://[::1]:8", False),
    ("http://192.168.1.2", False), ("http://10.1.1.1", False), ("http://100.100.1.1", False),
    ("http://litellm:4000", False),
    ("http://box.local", False), ("http://[fd00::1]", False), ("http://8.8.8.8", True),
    ("http://example.com", True),
    ("http://example.com.", True), ("http://172.32.0.1", True), ("http://[::ffff:8.8.8.8]", True),
    ("http://127.0.0.1.evil.com", True),
])
def test_own_networks(url: str, clear: bool) -> None:
    assert in_the_clear(url) is clear
