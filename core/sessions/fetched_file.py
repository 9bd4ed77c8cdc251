"""Downloads a file to import to a temporary place, within limits."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from core.errors import ConnectFailed, UsageError
from core.regex import regex
from core.safe_text import safe_line

MOST_BYTES = 2_000_000_000
SECONDS = 60.0  # seconds without a byte
# LibreChat shows a shared conversation as a page, and serves it as JSON at another path
# (api/server/routes/share.js there).
SHARED = regex(r"(.*)/share/([\w-]+)/?$")


@contextmanager
def fetched(url: str) -> Iterator[str]:
    """Yield the path of a downloaded file. Raises UsageError and ConnectFailed."""
    with tempfile.TemporaryDirectory(prefix="stream-chat-") as scratch:
        path = os.path.join(scratch, os.path.basename(urlsplit(url).path) or "import")
        kind = _fetch(url, path)
        shared = SHARED.fullmatch(url.partition("?")[0])
        if "html" in kind and shared:
            kind = _fetch(f"{shared[1]}/api/share/{shared[2]}", path)
        if "html" in kind:
            raise UsageError(
                f"{safe_line(url, 200)} is a web page, not a file of sessions.",
                "Download the service's data export and import that file.",
            )
        yield path


def _fetch(url: str, path: str) -> str:
    """Download to a file; return the content type."""
    import httpx2

    try:
        with httpx2.stream("GET", url, follow_redirects=True, timeout=SECONDS) as answer:
            if answer.status_code != 200:
                raise UsageError(
                    f"{safe_line(url, 200)} responded with status {answer.status_code}.",
                    "Open it in a browser: it may need a login.",
                )
            size = 0
            with open(path, "wb") as file:
                for block in answer.iter_bytes():
                    size += len(block)
                    if size > MOST_BYTES:
                        raise UsageError(f"{safe_line(url, 200)} is larger than 2 GB.")
                    file.write(block)
            return str(answer.headers.get("content-type", "")).lower()
    except (httpx2.HTTPError, httpx2.InvalidURL) as problem:
        raise ConnectFailed(
            f"{safe_line(url, 200)} cannot be fetched: {safe_line(str(problem), 200)}.",
            "Check the address and the network.",
        ) from problem
