"""Fetches paged lists and single JSON objects from providers, and checks their shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from core.config.keys import without_credentials
from core.errors import BadResponse, ProviderError
from core.providers import Endpoint
from core.providers.errors_http import classify
from core.providers.foreign import MOST_ENTRIES, objects_of, size_of, text_of
from core.providers.http.decoder import named
from core.providers.http.http1 import Client
from core.providers.http.transport import ErrorMapper, fetch_json

MOST_PAGES = 100   # limit for servers that always name a next page


async def fetch_object(client: Client, endpoint: Endpoint, path: str, error_from: ErrorMapper, *,
                       body: Any = None, needs: str = "") -> dict[str, Any]:
    """Fetch a JSON object with the key `needs`. Raises BadResponse for anything else."""
    answer = await fetch_json(client, endpoint, path, error_from, body=body)
    if not isinstance(answer, dict) or needs and answer.get(needs) is None:
        shown = without_credentials(repr(answer), endpoint.key)
        raise BadResponse(f"{endpoint.base_url} did not respond like {named(endpoint)}: "
                          f"{shown:.80}",
                          "Check --base-url and --provider.")
    return answer


async def fetch_entries(client: Client, endpoint: Endpoint, path: str, error_from: ErrorMapper, *,
                        under: str,
                        name: str, parameter: str,
                        following: Callable[[dict[str, Any]], Any]) -> list[dict[str, Any]]:
    """Fetch the objects under the key `under` of all pages; those without `name` are skipped.

    `following` reads from a page the value of the query parameter `parameter` for the next page; a
    false value ends the list.
    """
    found: list[dict[str, Any]] = []
    page_path = path
    for _ in range(MOST_PAGES):
        page = await fetch_object(client, endpoint, page_path, error_from)
        listed = page.get(under)
        if listed is not None and not isinstance(listed, list) and not found:
            raise not_a_list(endpoint, page)
        found += [entry for entry in objects_of(listed) if text_of(entry.get(name))]
        token = following(page)
        if not isinstance(token, (str, int)) or not token or len(found) >= MOST_ENTRIES:
            break
        page_path = f"{path}{'&' if '?' in path else '?'}{parameter}={quote(str(token), safe='')}"
    return found


def not_a_list(endpoint: Endpoint, answer: Any) -> BadResponse:
    shown = without_credentials(repr(answer), endpoint.key)
    return BadResponse(f"{endpoint.base_url} did not respond with a list of models: {shown:.80}",
                       "Check --base-url and --provider.")


def counted(answer: Mapping[str, Any], name: str) -> int:
    """Read a number of tokens from a response. Raises BadResponse for anything else."""
    found = size_of(answer.get(name))
    if found is None:
        raise BadResponse(f"The server did not respond with a number of tokens: {answer!r:.80}")
    return found


class Fetching:
    """Base class of providers with one client and common error bodies: fetch objects, read errors,
    close.
    """

    endpoint: Endpoint
    _client: Client

    async def _get(self, path: str, *, needs: str, body: Any = None) -> dict[str, Any]:
        return await fetch_object(self._client, self.endpoint, path, self._error, body=body,
                                  needs=needs)

    def _error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return classify(self.endpoint, status, headers, body)

    async def close(self) -> None:
        await self._client.aclose()
