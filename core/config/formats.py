"""The endings of exports. Made from `core/sessions/export.py` by `make docs`."""

FORMATS: dict[str, tuple[str, ...]] = {
    "json": (".json",),
    "jsonl": (".jsonl", ".ndjson"),
    "html": (".html", ".htm"),
    "csv": (".csv",),
    "text": (".txt", ".text"),
    "markdown": (".md", ".markdown"),
    "sql": (".sql",),
}
