"""Where spool files are looked for: our own directory, and the temporary one that users share."""

from __future__ import annotations

from pathlib import Path

from core.sessions.spool_places import Places


def test_files_are_ours_only(tmp_path: Path) -> None:
    own, shared = tmp_path / "data" / "spool", tmp_path / "tmp"
    places = Places(str(own), str(shared))
    assert places.files() == [], "neither directory exists"
    own.mkdir(parents=True)
    shared.mkdir()
    ours = [f"{prefix}session-1.jsonl" for prefix in places.prefixes()]
    others = Places(str(tmp_path / "other" / "spool"), str(shared)).prefixes()[1]
    for name in (*ours, f"{others}session-1.jsonl", str(shared / "stream-chat-.jsonl"),
                 str(shared / "notes.jsonl"), f"{places.prefixes()[1]}session-1.jsonl.unreadable"):
        Path(name).touch()
    assert places.files() == ours
    assert Places(str(own)).files() == ours[:1]
    assert places.usual_store() == str(tmp_path / "data" / "sessions.db")
