"""The export formats and the endings of their files. Made from `core/sessions/export.py` by `make docs`."""

FORMATS: dict[str, tuple[str, ...]] = {
    "json": (".json",),
    "csv": (".csv",),
    "text": (".txt", ".text"),
    "markdown": (".md", ".markdown"),
    "sql": (".sql",),
}
