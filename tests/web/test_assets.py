"""The size of the page's files that a browser loads at its first visit."""

from __future__ import annotations

import gzip

from core.web.assets import Assets

MOST = 150_000      # bytes, compressed, as docs/performance.md promises


def test_all_files_of_the_page_are_small_when_compressed() -> None:
    assets = Assets()
    page = [assets.page, assets.signin.encode(), assets.signout.encode()]
    size = sum(len(asset.packed) for asset in assets.files.values())
    size += sum(len(gzip.compress(each)) for each in page)
    assert 10_000 < size < MOST


def test_every_packed_file_is_the_file() -> None:
    for name, asset in Assets().files.items():
        assert gzip.decompress(asset.packed) == asset.body, name
