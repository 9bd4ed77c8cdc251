"""Hands requests to the process of the page that alone can answer them.

What waits in the memory of one process (a question whether a tool may run, two replies of which one
is to be kept, a reply that a program resumes) is asked of it, whichever process a request reaches.
Processes on one machine meet at sockets in a folder that only their own user can open.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import stat
from collections.abc import Coroutine
from contextlib import suppress
from urllib.parse import quote, unquote

import uvicorn
from uvicorn.server import ServerState

from core.providers.http.parser import AnswerParser, NotHttp
from core.web.guard import App, Receive, Scope, Send, refuse, values_of

USER = b"x-stream-chat-member"      # who asks: whoever hands a request over has checked it
MOST_OF_A_PATH = 100                # bytes; the kernel takes 107
READ = 65_536
HANDED = ("GET", "POST", "PUT", "PATCH", "DELETE")
OF_A_CONNECTION = (b"connection", b"content-length", b"transfer-encoding", b"expect", b"upgrade",
                   USER)
ENDED = "The process of the page that answers in this session has ended. Try again."
log = logging.getLogger(__name__)


class Neighbours:
    """The processes of one page on this machine. Each is named as Database.owner() gives it; `own`
    is this one."""

    def __init__(self, folder: str, own: str, temporary: str) -> None:
        """A folder whose path is too long for sockets is replaced by one in the directory for
        `temporary` files, which is the same for all processes that name this folder.
        """
        self.folder, self._own = folder, own
        if len(os.fsencode(self._place(own))) > MOST_OF_A_PATH:
            digest = hashlib.sha256(os.fsencode(os.path.abspath(folder))).hexdigest()[:16]
            self.folder = os.path.join(temporary, f"stream-chat-{digest}")

    def reaches(self, program: str) -> bool:
        """Whether requests can be handed to this process."""
        return (program != self._own and os.path.exists(self._place(program))
                and self._is_private())

    async def listen(self, app: App) -> None:
        """Answer what others hand over, for as long as the server runs."""
        place = self._place(self._own)
        config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off",
                                http="h11", ws="none", interface="asgi3", server_header=False,
                                proxy_headers=False)
        config.load()

        def make() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=ServerState(), app_state={})
        try:
            if len(os.fsencode(place)) > MOST_OF_A_PATH:
                raise OSError(f"its path is too long: {place}")
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            if not self._is_private():
                raise OSError(f"others can open {self.folder}")
            server = await asyncio.get_running_loop().create_unix_server(make, place)
            os.chmod(place, 0o600)
        except OSError as problem:
            log.info("no requests are handed over: %s", problem)
            return
        try:
            await asyncio.Event().wait()
        finally:
            server.close()
            self._remove(self._own)

    async def pass_on(self, program: str, user: str, scope: Scope, receive: Receive,
                      send: Send) -> bool:
        """Let this process answer a request of `user`; False when it cannot be reached.

        Nothing was read or sent then.
        """
        if scope["method"] not in HANDED:
            return False
        if not self._is_private():
            return False
        try:
            reader, writer = await asyncio.open_unix_connection(self._place(program))
        except OSError:
            self._remove(program)   # it ended without doing so
            return False
        try:
            body = await _body(receive)
            if body is not None:
                writer.write(_head(scope, user, len(body)) + body)
                await _while_connected(receive, _relay(reader, send))
        finally:
            writer.close()
        return True

    def _is_private(self) -> bool:
        """Whether the folder is this user's alone: in a shared directory, others may be faster."""
        try:
            found = os.lstat(self.folder)
        except OSError:
            return False
        return (stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
                and found.st_uid == os.getuid())

    def _place(self, program: str) -> str:
        return os.path.join(self.folder, f"{program}.sock")

    def _remove(self, program: str) -> None:
        with suppress(OSError):
            os.unlink(self._place(program))


def machine() -> str:
    """A name for this machine until it starts again: the folder may be shared with others."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(8)
    except OSError:
        return socket.gethostname()


def user_of(scope: Scope) -> str:
    """Who asks, in a request that was handed over."""
    return unquote(next(iter(values_of(list(scope["headers"]), USER)), ""))


def _head(scope: Scope, user: str, size: int) -> bytes:
    method, query = str(scope["method"]), bytes(scope["query_string"])
    target = bytes(scope["raw_path"]) + (b"?" + query if query else b"")
    headers = [(name, value) for name, value in scope["headers"]
               if name.lower() not in OF_A_CONNECTION]
    headers += [(USER, quote(user).encode()), (b"connection", b"close"),
                (b"content-length", str(size).encode())]
    return (method.encode() + b" " + target + b" HTTP/1.1\r\n"
            + b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n")


async def _body(receive: Receive) -> bytes | None:
    """All of a request's body, which is bounded already; None when who asked has gone."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _gone(receive: Receive) -> None:
    """Wait until who asked has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _while_connected(receive: Receive, relay: Coroutine[None, None, None]) -> None:
    """Relay the answer to its end, or until who asked has gone."""
    relaying = asyncio.ensure_future(relay)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait([relaying, leaving], return_when=asyncio.FIRST_COMPLETED)
        if relaying.done():
            await relaying
    finally:
        for task in (relaying, leaving):
            task.cancel()
        await asyncio.gather(relaying, leaving, return_exceptions=True)


async def _relay(reader: asyncio.StreamReader, send: Send) -> None:
    """The answer as it arrives. One that breaks off is not ended, so that its reader notices."""
    parser = AnswerParser()
    try:
        while (head := parser.read_head()) is None:
            parser.feed(await reader.read(READ))
    except (OSError, NotHttp):
        await refuse(send, 503, ENDED)
        return
    headers = [(name.encode("latin-1"), value.encode("latin-1"))
               for name, value in head.headers.items()
               if name not in ("connection", "transfer-encoding", "date")]
    await send({"type": "http.response.start", "status": head.status, "headers": headers})
    while True:
        piece = parser.read_body()
        if parser.over:
            break
        if piece:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        else:
            parser.feed(await reader.read(READ))
    await send({"type": "http.response.body", "body": piece})
