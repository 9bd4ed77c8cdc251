"""Embeddings in each dialect that has them: requests, results, and invalid results that are
rejected.
"""

from __future__ import annotations

import array
import asyncio
import base64
from typing import Any

import pytest

from core.config import Settings
from core.errors import AuthFailed, BadResponse, ChatError, ModelNotFound, Unsupported
from core.model_manager import Providers, Target
from core.providers import CanEmbed, Endpoint, load_dialect
from core.providers.embedding import by_index, checked_vectors
from tests.fake_server import Answer, FakeServer, json_answer

TEXTS = ["one", "two"]
VECTORS = [[1.0, 0.5], [0.0, -2.0]]


def packed(vector: list[float]) -> str:
    return base64.b64encode(array.array("f", vector).tobytes()).decode()


CASES: list[tuple[str, dict[str, Any], str, Any, Any]] = [
    ("ollama", {}, "/api/embed", {"model": "m", "input": TEXTS, "truncate": True},
     {"model": "m", "embeddings": VECTORS}),
    ("openai", {}, "/embeddings", {"model": "m", "input": TEXTS},
     {"data": [{"index": 1, "embedding": VECTORS[1]}, {"index": 0, "embedding": VECTORS[0]}]}),
    ("openai", {}, "/embeddings", {"model": "m", "input": TEXTS},
     {"data": [{"index": place, "embedding": packed(vector)}
               for place, vector in enumerate(VECTORS)]}),
    ("openai", {"deployments": True, "api_version": "1"},
     "/openai/deployments/m/embeddings?api-version=1",
     {"model": "m", "input": TEXTS}, {"data": [{"embedding": vector} for vector in VECTORS]}),
    ("mistral", {}, "/embeddings", {"model": "m", "input": TEXTS},
     {"data": [{"index": place, "embedding": vector} for place, vector in enumerate(VECTORS)]}),
    ("gemini", {}, "/models/m:batchEmbedContents",
     {"requests": [{"model": "models/m", "content": {"parts": [{"text": text}]}}
                   for text in TEXTS]},
     {"embeddings": [{"values": vector} for vector in VECTORS]}),
    ("cohere", {}, "/v2/embed",
     {"model": "m", "texts": TEXTS, "input_type": "search_document", "embedding_types": ["float"],
      "truncate": "END"},
     {"embeddings": {"float": VECTORS}}),
]


@pytest.mark.parametrize(("name", "quirks", "path", "body", "answer"), CASES)
def test_what_is_asked_and_what_comes(name: str, quirks: dict[str, Any], path: str, body: Any,
                                      answer: Any) -> None:
    async def run(url: str) -> list[list[float]]:
        provider = load_dialect(name)(Endpoint(url, "sk-key-of-ours", quirks=quirks))
        assert isinstance(provider, CanEmbed)
        try:
            return await provider.embed("m", TEXTS)
        finally:
            await provider.close()
    with FakeServer(json_answer(answer)) as server:
        assert asyncio.run(run(server.url)) == VECTORS
    (request,) = server.requests
    assert (request.method, request.path, request.json) == ("POST", path, body)
    assert "sk-key-of-ours" in " ".join(request.headers.values())


@pytest.mark.parametrize(("name", "answer", "kind"), [
    ("ollama", json_answer({"error": 'model "m" not found, try pulling it first'}, 404),
     ModelNotFound),
    ("ollama", json_answer({"error": "this model does not support embeddings"}, 400), Unsupported),
    ("ollama", json_answer({"embeddings": None}), BadResponse),
    ("ollama", json_answer([]), BadResponse),
    ("openai", json_answer({"error": {"message": "Incorrect API key provided: sk-key-of-ours"}},
                           401), AuthFailed),
    ("openai", json_answer({"error": {"message": "no embeddings here"}}), BadResponse),
    ("openai",
     json_answer({"data": [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [2]}]}),
     BadResponse),
    ("gemini", json_answer({"embeddings": ["x", "y"]}), BadResponse),
    ("cohere", json_answer({"embeddings": []}), BadResponse)])
def test_what_cannot_be_used(name: str, answer: Answer, kind: type[ChatError]) -> None:
    async def run(url: str) -> None:
        settings = Settings({"model": f"{name}/m", "base_url": url},
                            environment={"OPENAI_API_KEY": "sk-key-of-ours"})
        providers = Providers(settings)
        try:
            await providers.embed(Target(name, "m"), TEXTS)
        finally:
            await providers.close()
    with FakeServer(answer) as server, pytest.raises(kind) as caught:
        asyncio.run(run(server.url))
    assert "sk-key-of-ours" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize("name", ["demo", "anthropic"])
def test_who_has_none_says_so(name: str) -> None:
    providers = Providers(Settings({}, environment={"ANTHROPIC_API_KEY": "x"}))
    with pytest.raises(Unsupported, match=f"{name} does not support embeddings"):
        asyncio.run(providers.embed(Target(name, "m"), TEXTS))


@pytest.mark.parametrize("values",
                         [None, [], [[1.0]], [[1.0], [1.0, 2.0]], [[], []], [["1"], ["2"]],
                          [[float("nan")], [1.0]],
                          [[float("inf")], [1.0]], [1.0, 2.0], ["%%%", "AAAA"], [[None], [1]],
                          ["AAA=", "AAA="]])
def test_useless_vectors(values: Any) -> None:
    with pytest.raises(BadResponse, match="unusable"):
        checked_vectors(values, 2, "m")


def test_order() -> None:
    assert by_index([{"index": 1, "embedding": "b"}, {"index": 0, "embedding": "a"}]) == ["a", "b"]
    assert by_index([{"embedding": "a"}, {"embedding": "b"}]) == ["a", "b"] and by_index([]) == []
    assert (by_index([{"index": 7, "embedding": "a"}]) is None and by_index(["a"]) is None
            and by_index({}) is None)
