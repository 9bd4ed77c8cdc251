"""The page's own files, served under names with a hash of their content, so that browsers can cache
them permanently.
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
_IMPORT = regex(r'(?<=from ")\./([a-z_]+\.js)(?=";)')     # ignores types imported in comments
_NAME = regex(r"\{\{([a-z_.]+)\}\}")


@dataclass(frozen=True, slots=True)
class Asset:
    """A served file."""

    body: bytes
    packed: bytes
    media_type: str


class Assets:
    """All files of the page by served name, and the HTML that refers to them: `page`, `signin`,
    `signout`.
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
        """Return the name under which a file is served.

        Imported files are processed first, since their names are part of its hash.
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
