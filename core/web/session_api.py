"""The page's API for saved sessions: lists, search, titles, tags, shelves, export and import."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import chain
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from core.errors import UsageError
from core.sessions.export import ENDINGS, EXPORTERS, find_exporter, session_pieces
from core.sessions.importing import Report, import_file
from core.sessions.search import Found, search
from core.sessions.shelves import changed_tags
from core.store.rows import SessionRow
from core.web.api import Handler, body_of, guarded, text_of
from core.web.conversation.hub import Hub
from core.web.uploads import file_name
from db import Store, open_store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from core.store.rows import Shelf

SHELVES: tuple[Shelf, ...] = ("open", "archived", "trash")
LISTED = 200            # default length of a list
FOUND = 50              # most results of a search
MOST_NOTES = 20         # most notes about an import
PACKET = 1 << 16        # bytes of an export that are sent at once, about
TURN_SECONDS = 0.01     # of work for it, after which other requests have their turn


class SessionApi:
    """The routes for sessions in the store, which is None with --no-save."""

    def __init__(self, hub: Hub, store: Store | None) -> None:
        self._hub, self._stored = hub, store

    def routes(self) -> list[Route]:
        one = "/api/sessions/{session}"
        rows: list[tuple[str, str, Handler]] = [
            ("GET", "/api/sessions", self.list), ("PATCH", one, self.change),
            ("DELETE", one, self.delete),
            ("GET", f"{one}/row", self.row), ("GET", f"{one}/export", self.export),
            ("GET", "/api/formats", self.formats),
            ("POST", "/api/import", self.import_)]
        return [Route(path, guarded(handler), methods=[method]) for method, path, handler in rows]

    @property
    def _store(self) -> Store:
        if self._stored is None:
            raise UsageError("Sessions are not saved in this run.",
                             "Start the program without --no-save.")
        return self._stored

    def _row(self, request: Request) -> SessionRow:
        return self._store.find_session(str(request.path_params["session"]))

    # ---- lists

    async def list(self, request: Request) -> Response:
        """List the sessions on a shelf, or those that contain `words`, with snippets."""
        if self._stored is None:
            return JSONResponse({"sessions": [], "more": False, "tags": [], "archived": 0,
                                 "trash": 0})
        words, shelf = (request.query_params.get("words", ""),
                        _shelf(request.query_params.get("shelf", "open")))
        written = request.query_params.get("limit", "")
        limit = int(written) if written.isascii() and written.isdigit() else LISTED
        if words and shelf == "open":
            found = search(self._stored, words, limit=FOUND + 1, hits=1, complete_last=True)
            rows = [self._shown(entry.session) | _place(entry) for entry in found]
        else:
            rows = [self._shown(row) for row
                    in self._stored.sessions(limit + 1, words, shelf=shelf)]
            rows = [*by_day(rows[:limit]), *rows[limit:]]
        most = FOUND if words and shelf == "open" else limit
        return JSONResponse({"sessions": rows[:most], "more": len(rows) > most, "tags": _tags(rows),
                             "archived": self._stored.count_sessions("archived"),
                             "trash": self._stored.count_sessions("trash")})

    def _shown(self, row: SessionRow) -> dict[str, Any]:
        return {"id": row.id, "name": row.name, "title": row.title, "model": row.model,
                "updated": row.updated,
                "messages": row.message_count, "pinned": bool(row.pinned), "tags": row.tags.split(),
                "shelf": row.shelf, "running": self._hub.is_running(row.id)}

    # ---- one session

    async def row(self, request: Request) -> Response:
        return JSONResponse(self._shown(self._row(request)))

    async def change(self, request: Request) -> Response:
        """Change the title, tags, pin or shelf, as far as given."""
        body, session = await body_of(request), str(request.path_params["session"])
        if "title" in body:
            await self._rename(session, text_of(body, "title"))
        if self._stored is not None:
            row = self._row(request)
            if isinstance(body.get("tags"), list):
                words = [str(tag) for tag in body["tags"]]
                self._store.update_session(row.id, tags=changed_tags("", words))
            if isinstance(body.get("pinned"), bool):
                self._store.update_session(row.id, pinned=body["pinned"])
            if "shelf" in body:
                await self._shelve(row, _shelf(text_of(body, "shelf")))
            return JSONResponse(self._shown(self._row(request)))
        return JSONResponse({"title": text_of(body, "title")})

    async def _rename(self, session: str, title: str) -> None:
        live = await self._hub.get(session)
        live.chat.session.set_title(title)
        live.publish({"type": "session", **live.about()})

    async def _shelve(self, row: SessionRow, shelf: Shelf) -> None:
        if shelf == "trash":
            await self._hub.stop(row.id)
        self._store.shelve_session(row.id, shelf)

    async def delete(self, request: Request) -> Response:
        """Delete a session permanently, from any shelf."""
        row = self._row(request)
        await self._hub.drop(row.id)
        self._store.delete_session(row.id)
        return Response(status_code=204)

    # ---- import and export

    async def formats(self, request: Request) -> Response:
        """Return the export formats, the most readable first."""
        ending = {name: end for end, name in reversed(ENDINGS.items())}
        first = ("markdown", "html", "json")
        names = [*first, *(name for name in EXPORTERS if name not in first)]
        return JSONResponse({"formats": [{"name": name, "ending": ending.get(name, ""),
                                          "help": (EXPORTERS[name].__doc__ or "")
                                          .partition("\n")[0]} for name in names]})

    async def export(self, request: Request) -> Response:
        row, name = self._row(request), request.query_params.get("format", "markdown")
        find_exporter(name)
        ending = next((end for end, kind in ENDINGS.items() if kind == name), ".txt")
        pieces = session_pieces(self._store, row, name)
        first = next(pieces, "")    # what is wrong from the beginning is answered as an error
        disposition = f'attachment; filename="{row.name}{ending}"'
        return StreamingResponse(_encoded(chain([first], pieces)),
                                 media_type="text/plain; charset=utf-8",
                                 headers={"content-disposition": disposition})

    async def import_(self, request: Request) -> Response:
        """Import the sessions in the request's body: an export of this or another program."""
        name = file_name(request.query_params.get("name", ""))
        with tempfile.TemporaryDirectory(prefix="stream-chat-import-") as folder:
            path = os.path.join(folder, name)
            with open(path, "wb") as file:
                async for piece in request.stream():
                    await asyncio.to_thread(file.write, piece)
            try:
                report = await asyncio.to_thread(_import, self._store.url, path)
            except UsageError as error:
                raise UsageError(error.message.replace(path, name), error.hint) from error
        more = len(report.notes) - MOST_NOTES
        notes = report.notes[:MOST_NOTES] + ([f"{more:,} more remarks"] if more > 0 else [])
        return JSONResponse({"added": report.added, "known": report.known,
                             "messages": report.messages, "notes": notes})


async def _encoded(pieces: Iterable[str]) -> AsyncIterator[bytes]:
    """A long text as packets; other requests have their turn after each."""
    packet = bytearray()
    begun = time.monotonic()
    for piece in pieces:
        packet += piece.encode("utf-8", "replace")
        if len(packet) >= PACKET or time.monotonic() - begun > TURN_SECONDS:
            yield bytes(packet)
            await asyncio.sleep(0)
            packet.clear()
            begun = time.monotonic()
    yield bytes(packet)


def _import(url: str, path: str) -> Report:
    """Import over a separate connection, since a large file takes a while."""
    store = open_store(url)
    try:
        return import_file(store, path)
    finally:
        store.close()


def _shelf(name: str) -> Shelf:
    if name not in SHELVES:
        raise UsageError(f"There is no shelf {name!r}.", f"Available: {', '.join(SHELVES)}.")
    return name


def by_day(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort listed sessions by the time of their last use, pinned ones first: the page groups them
    by day, and sessions imported from another computer belong to the day they were used there.
    """
    return sorted(rows, key=lambda row: (not row["pinned"], -row["updated"]))


def _tags(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the tags of these sessions, most used first."""
    counts: dict[str, int] = {}
    for row in rows:
        for tag in row["tags"]:
            counts[tag] = counts.get(tag, 0) + 1
    return sorted(counts, key=lambda tag: (-counts[tag], tag))


def _place(found: Found) -> dict[str, Any]:
    """Return the best snippet of a result; empty if its title matched."""
    if not found.hits:
        return {}
    hit = found.hits[0]
    return {"snippet": hit.snippet, "marks": [list(mark) for mark in hit.marks], "role": hit.role,
            "message": f"{hit.message:032x}"}
