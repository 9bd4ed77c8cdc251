"""Late modules become the real modules when something in them is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.surroundings import uncounted

ROOT = Path(__file__).resolve().parent.parent
CERTIFICATE = ROOT / "tests" / "providers" / "server.test.pem"
BEGIN = """
import sys
from core.late_modules import UNUSED, LateModule, load_late
load_late()
import asyncio, shutil, logging
late = lambda: {name for name in UNUSED if isinstance(sys.modules[name], LateModule)}
"""
OVER_TCP = BEGIN + """
async def answer(reader, writer):
    writer.write(await reader.readline())
    writer.close()

async def asked(**tls):
    import socket
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls.pop("server", None)) as s:
        port = s.sockets[0].getsockname()[1]
        found = socket.create_connection(("127.0.0.1", port))
        found.setblocking(False)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, protocol = await loop.create_connection(
            lambda: asyncio.StreamReaderProtocol(reader), sock=found, **tls)
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        writer.write(b"said\\n")
        return await reader.readline()
assert asyncio.run(asked()) == b"said\\n"
assert late() == set(UNUSED), set(UNUSED) - late()
import ssl
server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
server.load_cert_chain(sys.argv[1])
client = ssl.create_default_context(cafile=sys.argv[1])
client.check_hostname = False
assert asyncio.run(asked(server=server, ssl=client, server_hostname="localhost")) == b"said\\n"
assert not late() & {"ssl", "asyncio.sslproto"}
"""
EACH = BEGIN + """
import importlib, inspect, ssl, textwrap, lzma, bz2, asyncio.sslproto, asyncio.staggered
asked = {"ssl": "SSLContext", "asyncio.sslproto": "SSLProtocol", "inspect": "isawaitable",
         "asyncio.staggered": "staggered_race", "textwrap": "indent", "linecache": "getline",
         "lzma": "open", "bz2": "open"}
assert set(asked) == set(UNUSED)
for name, inside in asked.items():
    stands = sys.modules[name]
    found = getattr(stands, inside)
    real = sys.modules[name]
    assert not isinstance(real, LateModule) and getattr(real, inside) is found
    stands.something = 1
    assert real.something == 1 and "something" in dir(stands)
    try:
        stands.nothing_of_that_name
    except AttributeError as problem:
        assert name in str(problem)
import socket
assert not isinstance(socket.socket(), ssl.SSLSocket) and ssl.SSLSocket.__name__ == "SSLSocket"
"""


@pytest.mark.processes
@pytest.mark.parametrize("script", [OVER_TCP, EACH], ids=["connections", "each"])
def test_a_late_module_is_the_real_one_when_it_is_used(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script, str(CERTIFICATE)], cwd=ROOT,
                          env=uncounted(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.processes
def test_what_is_loaded_already_stays() -> None:
    script = "import inspect\n" + BEGIN + "assert 'inspect' not in late() and 'ssl' in late()"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
