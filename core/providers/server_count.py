"""Counts the tokens of a request on servers with a tokenizer to ask: llama.cpp's and vLLM's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from core.dataclass import replace
from core.errors import BadResponse
from core.providers import Endpoint
from core.providers.foreign import object_of
from core.providers.listing import counted

FIELDS = ("messages", "tools", "chat_template_kwargs")  # the fields that form the prompt


class Post(Protocol):
    """Sends a body to a path of the server and returns the answer."""

    async def __call__(self, endpoint: Endpoint, path: str, body: Mapping[str, Any], /) -> Any: ...


async def count_on_server(post: Post, endpoint: Endpoint, body: Mapping[str, Any]) -> int:
    """Count the tokens of the prompt for this body. Raises ProviderError."""
    root = replace(endpoint, base_url=endpoint.base_url.rstrip("/").removesuffix("/v1"))
    prompt = {name: body[name] for name in FIELDS if name in body}
    if _has_images(prompt["messages"]):
        raise BadResponse("The server cannot count images.")
    if endpoint.quirks["count"] == "vllm":
        whole = {"model": body["model"], **prompt, "add_generation_prompt": True}
        answer = await post(root, "/tokenize", whole)
        return counted(object_of(answer), "count")
    written = object_of(await post(root, "/apply-template", prompt)).get("prompt")
    if not isinstance(written, str):
        raise BadResponse("The server did not return the prompt of the chat.")
    text = {"content": written, "add_special": True, "parse_special": True}
    tokens = object_of(await post(root, "/tokenize", text))
    if not isinstance(tokens.get("tokens"), list):
        raise BadResponse("The server did not return tokens.")
    return len(tokens["tokens"])


def _has_images(messages: Any) -> bool:
    contents = [message.get("content") for message in messages]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    return any(isinstance(part, Mapping) and part.get("type") == "image_url" for part in parts)
