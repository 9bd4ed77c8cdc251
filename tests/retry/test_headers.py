"""The delay that a server requests, in any form."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from core.retry.headers import retry_after

NOW = 1_800_000_000.0       # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(("headers", "seconds"), [
    ({}, None),
    ({"retry-after": "7"}, 7.0), ({"retry-after": " 1.5 "}, 1.5), ({"retry-after": "-3"}, 0.0),
    ({"retry-after-ms": "1500"}, 1.5), ({"retry-after-ms": "-1"}, 0.0),
    ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
    ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
    ({"retry-after": "Fri, 15 Jan 2027 08:00:42 GMT"}, 42.0),
    ({"retry-after": "Fri, 15 Jan 2027 07:59:00 GMT"}, 0.0),
    *(({"retry-after": odd}, None) for odd in ("", "soon", "inf", "nan", "Fri, 99 Foo 2027")),
])
def test_what_a_server_asks_for(headers: Mapping[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds
