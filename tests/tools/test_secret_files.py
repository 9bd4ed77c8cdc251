"""Files of keys and passwords: the same rules for every input, with generated names and contents.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest

from core.context_loader import ContextSet
from core.errors import ContextError, ToolError
from core.messages import ToolCall
from core.tool_executor import ApprovalRequest, Decision, Toolbox
from core.tools import ToolContext, make_tool
from core.tools.files import read_file, search_files
from core.tools.guards.secret_files import holds_secret, is_secret_name, is_secret_path, read_head

ROOTS = (".env", ".envrc", "prod.env", ".env.production", "id_rsa", "id_ed25519_sk", "id_ecdsa_sk",
         "deploy_ed25519", "server.pem",
         "server.key", "cert.p12", "box.kdbx", "service-account.json",
         "my_service_account_key.json", "terraform.tfstate",
         "prod.tfvars", "kubeconfig", "admin-kubeconfig.yaml", "kubeconfig.prod", "credentials",
         "credentials.json",
         "aws_credentials", "client_secret_1.json", "secrets.yaml", "db-passwords.txt",
         "tokens.json", "api_keys.toml",
         ".netrc", ".pgpass", ".npmrc", ".git-credentials", ".htpasswd", "rclone.conf",
         "vault-password", ".zsh_history", "key4.db")
ORDINARY = ("README.md", "main.py", "secrets.py", "tokens.py", "tokenizer.json", "keyboard.ts",
            "keys.py", "environment.yml",
            ".env.example", "sample.env", "config.yaml", "password_reset.html", "package.json",
            "id_rsa.pub", "history.md",
            "auth.py", "hotkeys.json", "nginx.conf", "main.tf", "monkey.json", "log.txt",
            "cookies.py", "known_hosts")
SUFFIXES = ("", "~", ".bak", ".old", ".orig", ".1", ".backup", " (1)", ".2024-01-05", ".bak.old")


def made_up(seed: int, count: int = 400) -> list[str]:
    chance = random.Random(seed)
    print("seed", seed)
    names = []
    for _ in range(count):
        name = chance.choice(ROOTS) + chance.choice(SUFFIXES)
        name = chance.choice((str, str.upper, str.title, lambda text: text.replace("i", "\uff49"),
                              lambda text: f".{text}.swp",
                              lambda text: f"#{text}#"))(name)
        names.append(chance.choice(("", "a/", "deep/er/", "x.y/")) + name)
    return names


def test_names_are_known_in_any_dress() -> None:
    missed = [name for name in made_up(random.randrange(10 ** 6)) if not is_secret_path(name)]
    assert missed == []
    assert [name for name in ORDINARY if is_secret_name(name)] == []


@pytest.mark.parametrize("folder", [".ssh", ".AWS", ".kube", ".gnupg", ".docker", ".config/gcloud"])
def test_everything_in_a_folder_of_keys(folder: str) -> None:
    assert is_secret_path(f"/home/ann/{folder}/config") and is_secret_path(f"{folder}\\deep\\file")


KEY = "-----BEGIN {}PRIVATE KEY-----\nMIIE\n"
CONTENTS = [KEY.format(kind)
            for kind in ("", "RSA ", "OPENSSH ", "ENCRYPTED ", "EC ", "X99 NEW ")] + [
    '{"type": "service_account", "private_key": "x"}',
    '{\n "private_key" : "x",\n "type":"service_account"}',
    "apiVersion: v1\nkind: Config\nusers:\n- user: {token: x}\n", '{"kind": "Config", "users": []}',
    '{"version": 4, "terraform_version": "1.5", "serial": 3}',
    "github.com:\n    oauth_token: x\n    user: ann\n"]


@pytest.mark.parametrize("content", CONTENTS)
def test_contents_are_known_whatever_the_name(content: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text(content)
    assert (holds_secret(b"\xef\xbb\xbf\n" + content.encode())
            and holds_secret(content.encode("utf-16")))
    with pytest.raises(ToolError, match="never read by a tool"):
        read_file(ToolContext(roots=(str(tmp_path),)), "notes.txt")
    with pytest.raises(ContextError, match="keys or passwords"):
        asyncio.run(ContextSet(root=str(tmp_path)).add("notes.txt"))


@pytest.mark.parametrize("content",
                         ["a key begins with -----BEGIN PRIVATE KEY-----",
                          "kind: Deployment\nusers: x\n", "", "\0\1\2",
                          '{"type": "object", "private_key": 1}', "def private_key(): ...\n"])
def test_words_about_keys_are_not_keys(content: str) -> None:
    assert not holds_secret(content.encode())


def doors(folder: Path, name: str) -> dict[str, Any]:
    """Whether a file's text passes each input when nobody can be asked."""
    context = ToolContext(roots=(str(folder),))

    def given(source: str) -> str:
        chosen = ContextSet(root=str(folder))
        asyncio.run(chosen.add(source))
        return "".join(str(item.text or Path(item.path).read_text()) for item in chosen.items)
    return {"read_file": lambda: read_file(context, name),
            "search": lambda: search_files(context, "planted"),
            "file": lambda: given(f'"{name}"'), "folder": lambda: given("."),
            "glob": lambda: given(f"**/*{Path(name).name[2:]}")}


def test_no_door_gives_one_away(tmp_path: Path) -> None:
    for number, name in enumerate(made_up(random.randrange(10 ** 6), 60)):
        folder = tmp_path / str(number)
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("planted words")
        (folder / "plain.txt").write_text("nothing")
        for door, enter in doors(folder, name).items():
            try:
                got = enter()
            except (ToolError, ContextError):
                continue
            assert "planted words" not in got, (door, name)


def test_a_link_to_one_is_one(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("KEY=planted")
    os.symlink(tmp_path / ".env", tmp_path / "notes.txt")
    with pytest.raises(ContextError, match="keys or passwords"):
        asyncio.run(ContextSet(root=str(tmp_path)).add("notes.txt"))


def test_the_user_is_asked_and_decides(tmp_path: Path) -> None:
    (tmp_path / "prod.env").write_text("KEY=planted")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host planted")
    (tmp_path / ".ssh" / "id_rsa").write_text("planted")
    said: list[str] = []
    answers = [False, True, True]

    async def ask(question: str) -> bool:
        said.append(question)
        return answers.pop(0)

    async def scenario() -> list[str]:
        chosen = ContextSet(root=str(tmp_path), ask=ask)
        with pytest.raises(ContextError, match="you declined"):
            await chosen.add("prod.env")
        await chosen.add("prod.env")
        await chosen.add(".ssh")
        await chosen.refresh()      # not asked again
        return [item.name for item in chosen.items]
    assert asyncio.run(scenario()) == ["prod.env", ".ssh/config"]
    assert (said[0] == "prod.env looks like a file of keys or passwords. Send it to the "
            "model?" and len(said) == 3)


# ---- tools from elsewhere

def open_anything(path: str, options: dict[str, Any] | None = None) -> str:
    """Open a file."""
    return "opened"


@pytest.mark.parametrize("source", ["MCP server files", "/home/ann/tools.py"])
def test_a_foreign_tool_that_names_one_asks(source: str) -> None:
    made = make_tool(open_anything, source=source, kind="write")
    asked: list[str] = []

    async def approve(request: ApprovalRequest) -> Decision:
        asked.append(request.reason)
        return "no" if len(asked) % 2 else "once"

    def run(box: Toolbox, arguments: dict[str, Any]) -> bool:
        return not asyncio.run(
            box.execute_tool_call(ToolCall("1", "open_anything", arguments))).is_error
    for name in made_up(random.randrange(10 ** 6), 40):
        for arguments in ({"path": name}, {"path": f"file:///home/ann/{name.replace('#', '%23')}"},
                          {"path": "x", "options": {"files": [name]}}):
            assert not run(Toolbox([made], allow=["write", "open_anything"]), arguments), arguments
    assert not run(Toolbox([made], allow=["write"]), {"path": "sh -c 'cat ~/.ssh/id_rsa | wc'"})
    assert run(Toolbox([made], allow=["write"]), {"path": "notes.txt"})
    box = Toolbox([made], allow=["write"], approve=approve)
    assert [run(box, {"path": ".env"}), run(box, {"path": ".env"})] == [False, True]
    assert asked == [".env looks like a file of keys or passwords"] * 2


def test_the_head_of_a_file_is_read_where_it_begins(tmp_path: Path,
                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """Its position stays, also on systems that cannot read at a place."""
    (tmp_path / "notes").write_bytes(b"0123456789" * 1_000)
    for system in ("this one", "without pread"):
        if system == "without pread":
            monkeypatch.delattr(os, "pread", raising=False)
        descriptor = os.open(tmp_path / "notes", os.O_RDONLY)
        try:
            assert read_head(descriptor) == b"0123456789" * 819 + b"01", system
            assert os.read(descriptor, 10) == b"0123456789", system
        finally:
            os.close(descriptor)
    assert read_head(-1) == b"", "a file that cannot be read holds nothing known"


@pytest.mark.parametrize("name", [
    "id_rsa.bak.old.orig", ".env.bak.1.save", "server.key~.2024-01-05.old"])
def test_copies_of_copies_of_copies_count(name: str) -> None:
    assert is_secret_name(name)
