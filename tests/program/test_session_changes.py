"""Sessions changed from the command line: undone, retried, edited, forked, named, tagged, archived
and deleted.
"""

from __future__ import annotations

import json
import subprocess

from tests.fake_server import FakeOllama

Environment = dict[str, str]


def run(program: list[str], environment: Environment,
        *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*program, *words], env=environment, capture_output=True, text=True,
                          timeout=120,
                          stdin=subprocess.DEVNULL)


def test_a_conversation_is_changed_by_scripts(ollama: FakeOllama, program: list[str],
                                              environment: Environment) -> None:
    def done(*words: str) -> str:
        result = run(program, environment, *words)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def asked() -> list[str]:
        last = [request for request in ollama.requests if request.path == "/api/chat"][-1].json
        return [message["content"] for message in last["messages"] if message["role"] == "user"]

    assert done("-m", "echo", "one") == "one\n"
    assert done("-c", "two") == "two\n"
    done("--undo")
    done("-c", "three")
    assert asked() == ["one", "three"]
    done("-c", "--edit", "1", "ONE")
    assert asked() == ["ONE"]
    done("--retry")
    assert asked() == ["ONE"]
    branches = json.loads(done("--branches", "--json"))
    assert [(branch["messages"], branch["shown"])
            for branch in branches] == [(4, False), (4, False), (2, False), (2, True)]
    done("--branch", "1")
    fork = done("--fork", "--at", "1").strip()
    done("--session", fork, "four")
    assert asked() == ["one", "four"]
    done("--undo")
    done("--redo")
    done("-c", "five")
    assert asked() == ["one", "four", "five"]
    assert run(program, environment, "--branch", "9").returncode == 2
    assert run(program, environment, "-c", "--edit", "9", "x").returncode == 2


def test_a_session_is_named_tagged_shelved_and_deleted(ollama: FakeOllama, program: list[str],
                                                       environment: Environment) -> None:
    def done(*words: str) -> str:
        result = run(program, environment, *words)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def listed(*words: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = json.loads(done("--list-sessions", "--json", *words))
        return found

    done("-m", "echo", "older")
    done("-m", "echo", "newer")
    name = str(listed()[1]["name"])
    done("--session", name, "--rename", "Plans for\tthe garden")
    done("--session", name, "--tag", "home,garden")
    done("--session", name, "--tag=-home")
    done("--session", name, "--pin-session")
    first = listed()[0]
    assert (first["name"], first["title"], first["tags"],
            first["pinned"]) == (name, "Plans for the garden", ["garden"], True)
    assert "* Plans for the garden #garden" in done("--list-sessions")
    done("-c", "again")     # the last used one, not the pinned one
    assert [row["messages"] for row in listed()] == [2, 4]
    done("--session", name, "--unpin-session")
    done("--session", name, "--archive")
    assert [row["title"] for row in listed()] == ["newer"]
    assert [row["name"] for row in listed("--shelf", "archived")] == [name]
    done("--session", name, "--unarchive")
    done("--delete-session", name, "--yes")
    assert [row["title"] for row in listed()] == ["newer"]
    refused = run(program, environment, "--session", name, "more")
    assert refused.returncode != 0 and "in the trash" in refused.stderr
    done("--undelete", name)
    assert len(listed()) == 2
    assert run(program, environment, "--prune", "0d").returncode == 2
    done("--prune", "0d", "--yes")
    assert listed() == [] and len(listed("--shelf", "trash")) == 2
    done("--delete-session", name, "--forever", "--yes")
    assert [row["title"] for row in listed("--shelf", "trash")] == ["newer"]
