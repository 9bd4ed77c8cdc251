"""The files of deploy/ name things that exist, and match one another.
tests/web/test_team_processes.py runs nginx.conf.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.argument_parser import parse_arguments
from core.web.team.server import address_of

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY = ROOT / "deploy"
PORTS = re.findall(
    r"server 127\.0\.0\.1:(\d+)", (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
)
NAME = "https://chat.example.org"


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


def check_page(words: list[str], port: str) -> None:
    """These words start a page that nginx.conf passes requests to."""
    settings = parse_arguments(words, {"HOME": "/nowhere"})
    assert settings.web and settings.team and str(settings.port) == port
    address = address_of(settings)
    assert address.scheme == "https" and address.hosts == {"chat.example.org"}
    assert address.proxies == {"127.0.0.1"} and settings.public_url == NAME


def test_the_pages_of_compose_are_those_of_nginx() -> None:
    services = compose()["services"]
    pages = [services[name] for name in ("page1", "page2")]
    assert len(PORTS) == 2
    for page, port in zip(pages, PORTS):
        check_page(page["command"], port)
        assert page["network_mode"] == "service:nginx"
        assert f"127.0.0.1:{port}/healthz" in page["healthcheck"]["test"][-1]
        assert page["environment"]["DATABASE_URL"].startswith("postgresql://page:")
    prepared = parse_arguments(services["prepare"]["command"], {"HOME": "/nowhere"})
    assert prepared.db_init and prepared.server == ("page",)


def test_what_compose_names_exists() -> None:
    document = compose()
    volumes = set(document["volumes"])
    services = document["services"]
    for name, service in services.items():
        assert "image" in service, name
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if not source.startswith("."):
                assert source in volumes, (name, source)
            elif source != "./certificate":  # the user's own
                assert (DEPLOY / source).exists(), (name, source)
        for other in service.get("depends_on", ()):
            assert other in services, (name, other)
        if "build" in service:
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
    for line in (DEPLOY / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("COPY"):
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line


@pytest.mark.processes
def test_compose_follows_its_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run(
        [*command, str(DEPLOY / "compose.yaml")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("port", PORTS)
def test_the_systemd_unit_starts_a_page_of_nginx(port: str) -> None:
    text = (DEPLOY / "stream-chat-page@.service").read_text(encoding="utf-8").replace("\\\n", " ")
    words = shlex.split(re.findall(r"ExecStart=(.*)", text)[0].replace("%i", port))
    check_page(words[2:], port)
    backup = (DEPLOY / "stream-chat-backup.service").read_text(encoding="utf-8")
    words = shlex.split(re.findall(r"ExecStart=(.*)", backup)[0])
    assert parse_arguments(words[2:], {"HOME": "/nowhere"}).db_backup


@pytest.mark.processes
@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
def test_systemd_finds_no_fault_in_the_timer() -> None:
    done = subprocess.run(
        ["systemd-analyze", "calendar", "03:30"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.processes
@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
def test_systemd_finds_no_fault_in_the_units(tmp_path: Path) -> None:
    """With this Python in place of that of the deployment."""
    named = {"stream-chat-page@.service": "stream-chat-page@8421.service"}
    files = []
    for path in [*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")]:
        text = path.read_text(encoding="utf-8").replace("/opt/stream-chat/.venv/bin/python",
                                                        "/bin/sh")
        files.append(tmp_path / named.get(path.name, path.name))
        files[-1].write_text(text, encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", *map(str, files)], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr


@pytest.mark.processes
def test_the_script_of_the_database_is_valid() -> None:
    done = subprocess.run(
        ["bash", "-n", str(DEPLOY / "make-page-role.sh")], capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
