"""Loads web pages as context, through the same guard as the tools."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from core.context.items import Fault, Found, Item
from core.context.sources import Source
from core.errors import ToolError
from core.tools import ToolContext
from core.tools.fetch_url import MOST_BYTES, as_readable, download
from core.tools.guards.net import parse_url


def load_page(source: Source, stop: threading.Event) -> Iterator[Found]:
    """The readable text of one page. The address may be local, because the user named it, but
    redirects to other local addresses are refused.
    """
    try:
        url = parse_url(source.target)
        final, kind, body, cut = download(ToolContext(stop=stop), url, local=frozenset({url.place}))
        title, text = as_readable(body, kind)
    except ToolError as problem:
        yield Fault(source.name, problem.message, problem.hint)
        return
    if not text.strip():
        yield Fault(source.name, "has no text")
        return
    shown = "\n".join([*([f"Title: {title}"] if title else []), text])
    note = f"only its first {MOST_BYTES >> 20} MB were read" if cut else ""
    yield Item(str(final), "page", source.name, len(shown.encode()), text=shown, named=True,
               note=note)
