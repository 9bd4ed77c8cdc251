"""The rows of hosts: complete, without duplicates, and cheap to read; and the splitter of inline
thinking that several of them need.
"""

from __future__ import annotations

import inspect
import random
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from core.events import TextDelta, ThinkingDelta
from core.providers import hosts as module
from core.providers.hosts import find_host, hosts
from core.providers.thinking import InlineThinking
from tests.fake_server import FakeServer, json_answer

NAMES = [host.name for host in hosts()]
QUIRKS = {line.split()[0] for line in (inspect.getdoc(module) or "").splitlines()
          if line.startswith("    ")}


def test_names_and_aliases_are_one_of_a_kind() -> None:
    every = [name for host in hosts() for name in (host.name, *host.aliases)]
    assert len(every) == len(set(every)) and all(name == name.lower().strip() for name in every)


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_whole(name: str) -> None:
    host = find_host(name)
    assert host is not None and host.name == name
    address = urlsplit(host.base_url)
    assert (host.base_url == "" or address.scheme in ("http", "https")
            and not host.base_url.endswith("/"))
    assert host.kind != "cloud" or address.scheme == "https" or name == "azure"
    assert host.kind != "local" or not host.base_url or address.hostname == "127.0.0.1"
    assert host.kind != "cloud" or host.key_variables and (host.default_model or name == "azure")
    assert all(variable.isupper() for variable in host.key_variables)


@pytest.mark.parametrize("name", NAMES)
def test_its_quirks_are_explained(name: str) -> None:
    host = find_host(name)
    assert host is not None
    assert set(host.quirks) <= QUIRKS, f"explain {set(host.quirks) - QUIRKS} at the top of hosts.py"


@pytest.mark.parametrize(("alias", "name"), [
    ("claude", "anthropic"), ("hf", "huggingface"), (" OpenAI ", "openai"), ("grok", "xai")])
def test_other_names(alias: str, name: str) -> None:
    host = find_host(alias)
    assert host is not None and host.name == name


def test_no_such_host() -> None:
    assert find_host("nowhere") is None and find_host("") is None


def test_a_key_is_not_sent_to_a_host_of_another_maker() -> None:
    """A variable that two rows read must mean the same origin."""
    origins: dict[str, set[str]] = {}
    for host in hosts():
        for variable in host.key_variables:
            origins.setdefault(variable, set()).add(urlsplit(host.base_url).netloc)
    assert all(len(found) == 1 for found in origins.values())


@pytest.mark.processes
def test_reading_the_rows_loads_no_http_client() -> None:
    heavy = ("core.providers.http.http1", "ssl", "asyncio")
    script = (f"import sys, core.providers.hosts; print([name for name in {heavy} if name in "
              "sys.modules])")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True,
                          check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("flags", "path", "status"), [
    ((), "/openai/deployments/my-model/chat/completions?api-version=2024-12-01-preview", 200),
    (("--api-version", "2025-03-01"),
     "/openai/deployments/my-model/chat/completions?api-version=2025-03-01", 200),
    (("--api-version", "2025-03-01"),
     "/openai/deployments/my-model/chat/completions?api-version=2025-03-01", 401)])
def test_azure_through_the_whole_program(program: list[str], environment: dict[str, str],
                                         flags: tuple[str, ...], path: str,
                                         status: int) -> None:
    key = "a-key-that-nobody-may-see"
    said = {"choices": [{"index": 0, "message": {"content": "Hi."}, "finish_reason": "stop"}]}
    with FakeServer(json_answer(said if status == 200
                                else {"error": {"message": f"wrong key {key}"}}, status)) as server:
        done = subprocess.run([*program, "--provider", "azure", "--base-url", server.url, "--model",
                               "my-model", "--no-save",
                               *flags, "Hello"], env={**environment, "AZURE_OPENAI_API_KEY": key},
                              capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=60)
        assert (server.requests[0].path, server.requests[0].headers["api-key"]) == (path, key)
    assert key not in done.stdout + done.stderr
    assert (done.returncode, "Hi." in done.stdout) == ((0, True) if status == 200 else (1, False))


# ---- thinking inside the text

def split(pieces: list[str], *, opened: bool = False) -> tuple[str, str]:
    splitter = InlineThinking(opened=opened)
    deltas = [delta for piece in pieces for delta in splitter.feed(piece)] + splitter.flush()
    assert all(delta.text for delta in deltas)
    return ("".join(delta.text for delta in deltas if isinstance(delta, ThinkingDelta)),
            "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)))


@pytest.mark.parametrize(("text", "thinking", "answer"), [
    ("plain", "", "plain"),
    ("<think>\nHm.\n</think>\n\nYes.", "Hm.", "Yes."),
    ("\n <think>Hm</think>Yes", "Hm", "Yes"),
    ("<think></think>Yes", "", "Yes"),
    ("<think>Hm\n\nWell </thi </think>Yes</think>", "Hm\n\nWell </thi ", "Yes</think>"),
    ("<think>never closed <", "never closed <", ""),
    ("<thinking> is no tag", "", "<thinking> is no tag"),
    ("<thi", "", "<thi"),
    ("  indented", "", "  indented"),
    ("Say <think>x</think>", "", "Say <think>x</think>"),
    ("", "", ""),
])
def test_thinking_does_not_depend_on_the_cut(text: str, thinking: str, answer: str) -> None:
    assert split([text]) == (thinking, answer)
    assert split(list(text)) == (thinking, answer)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    for _ in range(50):
        cuts = sorted(chance.sample(range(len(text) + 1), min(4, len(text) + 1)))
        assert (split([text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)])])
                == (thinking, answer))


def test_an_answer_that_begins_inside_its_thinking() -> None:
    assert split(["\nHm.\n", "</thi", "nk>\n", "Yes."], opened=True) == ("Hm.", "Yes.")
