"""Random addresses and paths, tried with the tools that fetch and read.

An address inside (this machine, its network, a cloud's metadata) is written as some parser
somewhere understands it, and fetched; the judge is Python's audit hook, which sees each connection
before it is made, and the ipaddress module. A path is put together from parts that lead out; the
judge is a secret in the files outside.
"""

from __future__ import annotations

import ipaddress
import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import ToolError
from core.tools import ToolContext
from core.tools.fetch_url import fetch_url
from core.tools.files import list_files, read_file
from tests.proof.homes import new_home

INSIDE = ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
          "100.64.0.0/10", "0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "192.0.2.0/24",
          "198.18.0.0/15", "::1/128", "fc00::/7", "fe80::/10", "ff00::/8", "2001:db8::/32")
URLS = ("http://{}/", "https://{}/", "http://{}:80/x", "http://{}:8080/", "http://user@{}/",
        "http://user:word@{}:8000/", "http://public.test@{}/", "HTTP://{}", "http://{}?public.test",
        "http://{}#@public.test", "http:\\\\{}/", "http://{}%20/", " http://{}/ ", "//{}/", "{}",
        "http://{}.:443/", "http:///{}/", "http://public.test#@{}/", "http://public.test\\@{}/")
DIGITS = {ord(digit): 0xFF10 + place for place, digit in enumerate("0123456789")}
PARTS = ("..", "..", ".", "", "sub", "deep", "out", "up", "rel", "/", "secret.txt", "outside",
         "root", "..\\", "%2e%2e", "...", "~", "\0", " ", "..;", "proc", "self", "environ", "etc",
         "passwd", "OUTSIDE", "\uff0e\uff0e")
SECRET = "the planted secret"


@dataclass(slots=True)
class Tally:
    urls: int = 0
    paths: int = 0
    faults: list[str] = field(default_factory=list)


def try_doors(seed: int, count: int) -> Tally:
    """Try `count` addresses and as many paths."""
    chance, tally = random.Random(seed), Tally()
    CONNECTIONS.install()
    for _ in range(count):
        url = chance.choice(URLS).format(written(inside(chance), chance))
        tally.urls += 1
        if places := reached(url, chance):
            tally.faults.append(f"seed {seed}: {url!r} was connected to, at {places}")
    with new_home() as folder:
        world = Path(folder).resolve()
        context = ToolContext(roots=(str(make_world(world)),))
        for _ in range(count):
            path = made_up_path(chance, world)
            tally.paths += 1
            if found := given_away(context, path):
                tally.faults.append(f"seed {seed}: {path!r} gave {found[:90]!r}")
    return tally


def given_away(context: ToolContext, path: str) -> str:
    """What a tool showed of the files outside, or ""."""
    for read in (read_file, list_files):
        try:
            found = str(read(context, path))
        except ToolError:
            continue
        if SECRET in found or "secret.txt" in found or "root:x:" in found:
            return found
    return ""


# ---- addresses

def inside(chance: random.Random) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """A random address of a range that is not public, its ends more often."""
    network = ipaddress.ip_network(chance.choice(INSIDE))
    last = network.num_addresses - 1
    return network[chance.choice((0, min(1, last), last, chance.randint(0, last)))]


def written(address: ipaddress.IPv4Address | ipaddress.IPv6Address, chance: random.Random) -> str:
    """The address in a random notation."""
    if isinstance(address, ipaddress.IPv6Address):
        return chance.choice((f"[{address}]", f"[{address.exploded}]", f"[{address}%25eth0]",
                              f"[{str(address).upper()}]", str(address)))
    number, parts = int(address), str(address).split(".")
    bits = [int(part) for part in parts]
    rest = number & 0xFFFFFF
    return chance.choice((
        str(address), f"{address}.", str(number), hex(number), f"0{number:o}", f"0x{number:08X}",
        ".".join(f"0{bit:o}" for bit in bits), ".".join(map(hex, bits)),
        ".".join(f"{bit:04d}" for bit in bits), f"{bits[0]}.{rest}", f"{hex(bits[0])}.{rest}",
        f"{bits[0]}.{bits[1]}.{number & 0xFFFF}", f"{number + (1 << 32)}",
        str(address).translate(DIGITS), str(address).replace(".", "\u3002"),
        str(address).replace(".", "%2e"), f"[::ffff:{address}]", f"[::{address}]",
        f"[64:ff9b::{number >> 16:x}:{number & 0xFFFF:x}]",
        f"[2002:{number >> 16:x}:{number & 0xFFFF:x}::1]",
        f"[::ffff:0:{number >> 16:x}:{number & 0xFFFF:x}]", f"name-{number}.inner.test",
        f"{address}.nip.test"))


def reached(url: str, chance: random.Random) -> list[str]:
    """Internal addresses to which the tool connected for this URL."""
    answers = [str(inside(chance)), "93.184.216.34"]
    chance.shuffle(answers)
    context = ToolContext(resolve=lambda host, port: _resolved(host, answers))
    with CONNECTIONS.watching() as seen, suppress(ToolError):
        fetch_url(context, url)
    return [place for place in seen if not ipaddress.ip_address(place).is_global]


def _resolved(host: str, answers: list[str]) -> list[str]:
    """An attacker's name server: names resolve to internal addresses, besides an external one."""
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        return [] if host == "public.test" else answers


class Connections:
    """Sees each connection of this process before it is made, and lets none be made meanwhile."""

    def __init__(self) -> None:
        self._installed = False
        self._seen: list[str] | None = None

    def install(self) -> None:
        """Hooks stay until the process ends, so there is one."""
        if not self._installed:
            self._installed = True
            sys.addaudithook(self._heard)

    @contextmanager
    def watching(self) -> Iterator[list[str]]:
        self._seen = seen = []
        try:
            yield seen
        finally:
            self._seen = None

    def _heard(self, event: str, given: tuple[Any, ...]) -> None:
        if event == "socket.connect" and self._seen is not None:
            self._seen.append(str(given[1][0]))
            raise TimeoutError("timed out")


CONNECTIONS = Connections()


# ---- paths

def made_up_path(chance: random.Random, world: Path) -> str:
    """Random parts that lead outside, from the root, from outside or from nowhere."""
    parts = chance.choices(PARTS, k=chance.randint(1, 7))
    begin = chance.choice(("", "", "./", f"{world}/root/", f"{world}/", "/", "//", "file://"))
    ends = chance.choice(([], ["secret.txt"], ["outside", "secret.txt"]))
    return begin + "/".join([*parts, *ends])


def make_world(world: Path) -> Path:
    """A root with links that lead outside, and a secret beside it."""
    root = world / "root"
    (root / "sub/deep").mkdir(parents=True)
    (world / "outside/sub").mkdir(parents=True)
    for place in (world / "secret.txt", world / "outside/secret.txt",
                  world / "outside/sub/secret.txt"):
        place.write_text(SECRET)
    links = {"out": world / "outside", "up": Path(".."), "sub/rel": Path("../../outside"),
             "sub/deep/up": Path("../../.."), "proc": Path("/proc"), "etc": Path("/etc")}
    for name, target in links.items():
        os.symlink(target, root / name)
    return root
