"""The page's own files, served under names that carry their content's hash,
so that a browser keeps them for good.
"""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

from core.dataclass import dataclass
from core.regex import regex

FOLDER = Path(__file__).resolve().parent / "static"
TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".svg": "image/svg+xml", ".html": "text/html; charset=utf-8"}
_IMPORT = regex(r'(?<=from ")\./([a-z_]+\.js)(?=";)')     # not the types that a comment imports
_NAME = regex(r"\{\{([a-z_.]+)\}\}")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is served."""

    body: bytes
    packed: bytes
    media_type: str


class Assets:
    """All files of the page by served name, and `page`, `signin` and `signout`,
    the HTML that names them.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._texts = {path.name: path.read_text(encoding="utf-8")
                       for path in sorted(folder.iterdir()) if path.suffix in TYPES}
        self._names: dict[str, str] = {}
        self.files: dict[str, Asset] = {}
        for name in self._texts:
            if not name.endswith(".html"):
                self._served(name)
        self.page = self._filled("index.html").encode()
        self.signin, self.signout = self._filled("signin.html"), self._filled("signout.html")

    def _served(self, name: str) -> str:
        """The name under which a file is served.

        What it imports comes first: its hash covers theirs.
        """
        if name not in self._names:
            text = _IMPORT.sub(lambda match: f"./{self._served(match[1])}", self._texts[name])
            body = text.encode()
            stem, _, ending = name.rpartition(".")
            served = f"{stem}.{hashlib.sha256(body).hexdigest()[:12]}.{ending}"
            self._names[name] = served
            self.files[served] = Asset(body, gzip.compress(body, 9, mtime=0), TYPES[f".{ending}"])
        return self._names[name]

    def _filled(self, name: str) -> str:
        return _NAME.sub(lambda match: f"/static/{self._names[match[1]]}", self._texts[name])
