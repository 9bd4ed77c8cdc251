"""A file with keys or settings is replaced completely or not at all; only its owner reads it."""

from __future__ import annotations

import stat
from pathlib import Path
from threading import Thread

import pytest

from core.config.private_file import write_private


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "keys.json"
    write_private(str(path), "first")
    path.chmod(0o644)
    write_private(str(path), "é second")
    assert path.read_text(encoding="utf-8") == "é second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_symbolic_link_stays(tmp_path: Path) -> None:
    target, link = tmp_path / "dotfiles" / "keys.json", tmp_path / "keys.json"
    target.parent.mkdir()
    target.write_text("old", encoding="utf-8")
    link.symlink_to(target)
    write_private(str(link), "new")
    assert link.is_symlink() and target.read_text(encoding="utf-8") == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_failed_check_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "providers.json"
    path.write_text("old", encoding="utf-8")

    def reject(beside: str) -> None:
        assert Path(beside).read_text(encoding="utf-8") == "new"
        raise ValueError

    with pytest.raises(ValueError):
        write_private(str(path), "new", check=reject)
    assert path.read_text(encoding="utf-8") == "old" and list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    with pytest.raises(OSError):
        write_private(str(tmp_path / "place"), "text")
    assert list(tmp_path.iterdir()) == [tmp_path / "place"]


def test_many_writers_never_mix_their_texts(tmp_path: Path) -> None:
    path = tmp_path / "grants.json"
    texts = [letter * 5_000 for letter in "abcdefgh"]
    threads = [Thread(target=write_private, args=(str(path), text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text(encoding="utf-8") in texts and list(tmp_path.iterdir()) == [path]
