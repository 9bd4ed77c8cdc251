"""What each provider accepts as a picture, so that a larger one is made smaller for it.

Sources: the providers' pages about vision as known in November 2026, and where they say nothing,
what servers were measured to refuse (https://github.com/earendil-works/pi/pull/120, December 2025).
"""

from __future__ import annotations

from collections.abc import Mapping

from core.config.network import is_loopback
from core.dataclass import dataclass
from core.providers.hosts import Host

MB = 1 << 20
PNG, JPEG, GIF, WEBP = "image/png", "image/jpeg", "image/gif", "image/webp"
USUAL = frozenset({PNG, JPEG, GIF, WEBP})


@dataclass(frozen=True, slots=True)
class PictureLimit:
    """What a provider accepts; 0 means that no limit is known.

    `encoded` is the largest picture in characters of base64, `side` and `area` the most pixels,
    `request` the characters of all pictures of a request together. A request with more than
    `many` pictures may have at most `many_side` pixels a side. A larger picture is sent with
    `target` pixels on its longer side. Whatever is refused beyond a `certain` limit is not sent.
    """

    encoded: int = 0
    side: int = 0
    area: int = 0
    request: int = 0
    many: int = 0
    many_side: int = 0
    target: int = 2048
    formats: frozenset[str] = USUAL
    certain: bool = True


NOTHING_KNOWN = PictureLimit()
# A host of which nothing is known: what nearly every provider accepts. A picture that cannot be
# made smaller is sent unchanged, since it might be accepted.
CAUTIOUS = PictureLimit(encoded=5 * MB, side=8000, certain=False)
# llama.cpp decodes with stb_image, which has no WebP (https://github.com/ollama/ollama/pull/17755);
# its server drops such a picture silently (https://github.com/NousResearch/hermes-agent/pull/97486)
STB = PictureLimit(formats=frozenset({PNG, JPEG, GIF}), certain=False)

LIMITS: Mapping[str, PictureLimit] = {
    # https://docs.claude.com/en/docs/build-with-claude/vision: larger than 1568 px is made smaller
    # there; "image exceeds 5 MB maximum ... > 5242880 bytes" counts base64
    "anthropic": PictureLimit(5 * MB, 8000, request=24 * MB, many=20, many_side=2000, target=1568),
    # 512 MB a request, 1,500 pictures: https://platform.openai.com/docs/guides/images-vision
    "openai": NOTHING_KNOWN,
    "openai-responses": NOTHING_KNOWN,
    # 20 MB a request: https://ai.google.dev/gemini-api/docs/image-understanding
    "gemini": PictureLimit(side=8000, request=19 * MB, target=3072,
                           formats=frozenset({PNG, JPEG, WEBP})),
    # https://docs.cohere.com/docs/image-inputs: 20 MB together
    "cohere": PictureLimit(request=20_000_000, side=8000),
    # https://docs.mistral.ai/capabilities/vision: 10 MB a picture, 1540 px are used
    "mistral": PictureLimit(10_000_000, 8000, target=1540),
    # https://console.groq.com/docs/vision: 4 MB of base64 a request, 33 megapixels
    "groq": PictureLimit(4_000_000, area=33_000_000, request=4_000_000),
    # https://docs.x.ai/docs/guides/image-understanding: 20 MiB, only PNG and JPEG
    "xai": PictureLimit(20 * MB, 8000, formats=frozenset({PNG, JPEG})),
    # 20 MB a picture: Azure's page "Use vision-enabled chat models"
    "azure": PictureLimit(20 * MB),
    # PNG, JPEG and WebP: https://github.com/ollama/ollama/issues/2457
    "ollama": PictureLimit(formats=frozenset({PNG, JPEG, WEBP}), certain=False),
    "local": STB,
    "llamacpp": STB,
    "localai": STB,
    "lmstudio": PictureLimit(formats=frozenset({PNG, JPEG, WEBP}), certain=False),
    "vllm": NOTHING_KNOWN,
    "stream-chat": NOTHING_KNOWN,     # it makes them smaller itself
    "demo": NOTHING_KNOWN,
}


def picture_limit(host: Host, address: str) -> PictureLimit:
    """What the provider of this row at this address accepts.

    A provider that only the configuration names has the limits of its dialect.
    """
    found = LIMITS.get(host.name)
    if found is None and host.dialect != "openai":
        found = LIMITS.get(host.dialect)
    if found is not None:
        return found
    return STB if address and is_loopback(address) else CAUTIOUS
