"""Lists that providers give in pages, and single JSON objects:
fetched, and checked for their shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from core.errors import BadResponse, ProviderError
from core.providers import Endpoint
from core.providers.errors_http import classify
from core.providers.foreign import MOST_ENTRIES, objects_of, size_of, text_of
from core.providers.http.decoder import named
from core.providers.http.http1 import Client
from core.providers.http.transport import ErrorMapper, fetch_json

MOST_PAGES = 100   # a server that always names a next page would never end


async def fetch_object(client: Client, endpoint: Endpoint, path: str, error_from: ErrorMapper, *,
                       body: Any = None, needs: str = "") -> dict[str, Any]:
    """One JSON object that has the key `needs`. Anything else is a BadResponse."""
    answer = await fetch_json(client, endpoint, path, error_from, body=body)
    if not isinstance(answer, dict) or needs and answer.get(needs) is None:
        shown = repr(answer).replace(endpoint.key, "***") if endpoint.key else repr(answer)
        raise BadResponse(f"{endpoint.base_url} did not answer as {named(endpoint)} does: "
                          f"{shown:.80}",
                          "Check --base-url and --provider.")
    return answer


async def fetch_entries(client: Client, endpoint: Endpoint, path: str, error_from: ErrorMapper, *,
                        under: str,
                        name: str, parameter: str,
                        following: Callable[[dict[str, Any]], Any]) -> list[dict[str, Any]]:
    """The objects under the key `under` of all pages; those without `name` are left out.

    `following` reads out of a page what the query parameter `parameter` of the next one
    is; nothing ends the list.
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
    shown = repr(answer).replace(endpoint.key, "***") if endpoint.key else repr(answer)
    return BadResponse(f"{endpoint.base_url} did not answer with a list of models: {shown:.80}",
                       "Check --base-url and --provider.")


def counted(answer: Mapping[str, Any], name: str) -> int:
    """A number of tokens in an answer. Raises BadResponse for anything else."""
    found = size_of(answer.get(name))
    if found is None:
        raise BadResponse(f"The server did not answer with a number of tokens: {answer!r:.80}")
    return found


class Fetching:
    """What providers with one client and the common error bodies share:
    single objects, errors, and the end.
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
