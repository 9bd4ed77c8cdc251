"""Pictures that a provider does not accept are made smaller for the request, and only for it."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import sys
import threading
from contextlib import aclosing
from functools import cache
from typing import Any

import pytest
from PIL import Image as Pillow

from core.config import Settings
from core.events import Notice
from core.messages import Image, Message, user_message
from core.model_manager import Providers, Target
from core.models.fallback import chain_of, respond_with_fallbacks
from core.providers import Request
from core.providers.hosts import Host, hosts
from core.providers.picture_limits import CAUTIOUS, LIMITS, picture_limit
from tests.fake_server import Answer, FakeServer, Received
from tests.scripted_answers import SCRIPTED, Script

# provider -> (dialect, the file type that is sent for a large photo)
SEVEN = {"anthropic": "anthropic", "gemini": "gemini", "cohere": "cohere", "mistral": "mistral",
         "groq": "openai", "openai-responses": "openai-responses", "ollama": "ollama"}
KEYS = {f"{name.upper()}_API_KEY": "k" for name in ("anthropic", "gemini", "cohere", "mistral",
                                                    "groq", "xai", "openai")}


def encoded(drawn: Pillow.Image, kind: str, name: str, **settings: Any) -> Image:
    file = io.BytesIO()
    drawn.save(file, kind, **settings)
    return Image(f"image/{kind.lower()}", base64.b64encode(file.getvalue()).decode(), name)


@cache
def photo() -> Image:
    """A photo of a phone: 11 MB of base64, 9,000 pixels wide as stored, held upright."""
    exif = Pillow.Exif()
    exif[0x0112] = 6
    wide = Pillow.new("RGB", (9000, 1500), "blue")
    wide.paste("red", (0, 0, 9000, 400))
    small = base64.b64decode(encoded(wide, "JPEG", "", exif=exif).data)
    film = bytes(range(256)) * 33_000       # cameras append a film to the picture
    return Image("image/jpeg", base64.b64encode(small + film).decode(), "photo.jpg")


def chain_at(server: FakeServer, *names: str) -> tuple[Any, Providers]:
    entries = {name: {"base_url": server.url} for name in names if name != "ollama"}
    settings = Settings({"ollama_host": server.url, "retry_max_attempts": 0, "provider": names[0],
                         "model": "m"}, environment=KEYS, providers=entries)
    providers = Providers(settings)
    first, *others = (Target(name, "m") for name in names)
    return chain_of(settings, providers, first, others), providers


async def asked(chain: Any, *messages: Message) -> list[str]:
    """The notices of one turn."""
    request = Request("m", messages)
    said = []
    async with aclosing(respond_with_fallbacks(chain, request)) as items:
        async for item in items:
            if isinstance(item, Notice):
                said.append(item.text)
    return said


def posted(server: FakeServer) -> list[Received]:
    """The requests for a reply; on a slow machine others come between them."""
    return [request for request in server.requests if b"Look" in request.body]


def pictures_of(request: Received) -> list[bytes]:
    """The pictures in a request of any dialect."""
    return [base64.b64decode(found)
            for found in re.findall(rb"[A-Za-z0-9+/]{64,}={0,2}", request.body)]


def sent_to(name: str, *pictures: Image) -> tuple[list[bytes], list[str], Received]:
    """(what the provider received, the notices, the request)."""
    with FakeServer(SCRIPTED[SEVEN[name]](Script("Seen."))) as server:
        chain, providers = chain_at(server, name)

        async def whole() -> list[str]:
            said = await asked(chain, user_message("Look", pictures))
            await providers.close()
            return said
        said = asyncio.run(whole())
        return pictures_of(posted(server)[-1]), said, posted(server)[-1]


@pytest.mark.processes
@pytest.mark.parametrize("name", sorted(SEVEN))
def test_a_large_photo_fits_each_provider(name: str) -> None:
    original = photo()
    (data,), said, _ = sent_to(name, original)
    limit = LIMITS[name]
    if name in ("openai-responses", "ollama"):       # no limit is known: nothing is degraded
        assert base64.b64encode(data).decode() == original.data and not said
        return
    read = Pillow.open(io.BytesIO(data))
    assert read.format == "JPEG" and read.size == (round(limit.target / 6), limit.target)
    assert not limit.encoded or len(base64.b64encode(data)) <= limit.encoded
    red, _, _ = read.convert("RGB").getpixel((read.width - 5, read.height // 2))
    assert red > 220                                 # the upper side as stored is on the right
    assert len(said) == 1
    assert re.fullmatch(rf"photo\.jpg was sent as JPEG, [\d,]+ × {limit.target:,}, [\d.]+ [kM]B: "
                        rf"{name} takes up to .+\.", said[0])


@pytest.mark.processes
def test_it_is_drawn_once_for_each_limit_and_the_original_stays() -> None:
    original = photo()
    question = user_message("Look", (original,))
    refused = Answer([b'{"type": "error", "error": {"type": "overloaded_error"}}'], status=529)

    def answer(request: Received) -> Answer:
        known = {"/api/chat": SCRIPTED["ollama"](Script("Seen.")), "/v1/messages": refused,
                 "/chat/completions": SCRIPTED["openai"](Script("Seen."))}
        return known.get(request.path, Answer([b"{}"], status=404))
    with FakeServer(answer) as server:
        chain, providers = chain_at(server, "ollama", "anthropic", "groq")

        async def whole() -> list[list[str]]:
            first = await asked(chain, question)
            chain.choose(Target("anthropic", "m"), [Target("groq", "m")])
            second = await asked(chain, question)
            third = await asked(chain, question)
            await providers.close()
            return [first, second, third]
        first, second, third = asyncio.run(whole())
        sizes = [len(data) for request in posted(server) for data in pictures_of(request)]
    assert not first and [text.split(":")[1].split()[0] for text in second
                          if "was sent" in text] == ["anthropic", "groq"]
    assert not [text for text in third if "was sent" in text]
    assert sizes[0] == len(base64.b64decode(original.data))
    assert sizes[0] > 10 * sizes[1] and sizes[2] == sizes[3] <= 3_000_000
    assert question.parts[1] is original


@pytest.mark.processes
def test_formats_that_a_provider_does_not_accept_are_converted() -> None:
    drawn = Pillow.new("RGB", (60, 40), "red")
    for name, kind, file in (("ollama", "GIF", "a.gif"), ("anthropic", "TIFF", "scan.tiff"),
                             ("gemini", "BMP", "b.bmp"), ("mistral", "AVIF", "c.avif")):
        (data,), said, request = sent_to(name, encoded(drawn, kind, file))
        read = Pillow.open(io.BytesIO(data))
        assert read.size == (60, 40) and read.format in ("PNG", "JPEG")
        assert f"image/{read.format.lower()}".encode() in request.body or name == "ollama"
        assert f"{file} was sent as {read.format}" in said[0] and "takes" in said[0]


@pytest.mark.processes
def test_a_picture_that_cannot_be_made_smaller_is_left_out_with_words() -> None:
    broken = Image("image/jpeg", base64.b64encode(b"\xff\xd8\xff" + bytes(6 << 20)).decode(), "b")
    data, said, request = sent_to("anthropic", broken)
    assert not data and b"[image b: not sent" in request.body
    assert said[0].startswith("b was not sent: anthropic takes up to 3.9 MB a picture. It is ")


def test_small_pictures_are_sent_unchanged() -> None:
    small = [encoded(Pillow.new("RGB", (50, 50), "red"), kind, kind) for kind in ("PNG", "JPEG")]
    for name in SEVEN:
        data, said, _ = sent_to(name, *small)
        assert [base64.b64encode(each).decode() for each in data] == [one.data for one in small]
        assert not said


def test_a_picture_is_sent_as_what_it_is() -> None:
    png = encoded(Pillow.new("RGB", (50, 50), "red"), "PNG", "a.jpg")
    wrong = Image("image/jpeg", png.data, "a.jpg")
    for name in ("anthropic", "gemini"):
        _, said, request = sent_to(name, wrong)
        assert b"image/png" in request.body and b"image/jpeg" not in request.body and not said
    odd = Image("image/png", "A", "odd")     # is not base64: unchanged
    assert b'"A"' in sent_to("anthropic", odd)[2].body


def heavy(name: str) -> Image:
    """A small picture in a file of a megabyte."""
    small = encoded(Pillow.new("RGB", (300, 200), "red"), "PNG", name)
    data = base64.b64decode(small.data) + name.encode() * 250_000
    return Image("image/png", base64.b64encode(data).decode(), name)


@pytest.mark.processes
def test_many_pictures_share_the_room_of_a_request() -> None:
    data, said, request = sent_to("groq", *(heavy(f"{number}.gi") for number in range(4)))
    assert len(data) == 4 == len(said)
    assert len(request.body) < LIMITS["groq"].request


@pytest.mark.processes
def test_a_growing_conversation_draws_its_pictures_seldom() -> None:
    messages = [user_message("Look", (heavy(f"{number}.gi"),)) for number in range(5)]
    with FakeServer(lambda _: SCRIPTED["openai"](Script("Seen."))) as server:
        chain, providers = chain_at(server, "groq")

        async def whole() -> list[int]:
            said = [len(await asked(chain, *messages[:count])) for count in (2, 3, 4, 4)]
            await providers.close()
            return said
        assert asyncio.run(whole()) == [0, 3, 1, 0]
        assert all(len(request.body) < LIMITS["groq"].request for request in posted(server))


def test_without_the_package_a_line_says_what_to_install(
        monkeypatch: pytest.MonkeyPatch) -> None:
    large = photo()
    monkeypatch.setitem(sys.modules, "PIL", None)
    data, said, request = sent_to("anthropic", large)
    assert not data and b"Look" in request.body
    assert said[0].startswith("photo.jpg was not sent: anthropic takes up to 3.9 MB a picture.")
    assert "-m pip install pillow" in said[0]


@pytest.mark.processes
def test_stopping_does_not_wait_for_the_picture() -> None:
    drawing = encoded(Pillow.new("RGB", (3000, 2000), "red"), "BMP", "large.bmp")
    with FakeServer(SCRIPTED["anthropic"](Script("Seen."))) as server:
        chain, providers = chain_at(server, "anthropic")

        async def whole() -> int:
            turn = asyncio.ensure_future(asked(chain, user_message("Look", (drawing,))))
            while not _redrawing():
                await asyncio.sleep(0.005)
            turn.cancel()
            await asyncio.wait({turn})
            await providers.close()
            return len(posted(server))
        assert asyncio.run(whole()) == 0
    for thread in _redrawing():
        thread.join(20)
    assert not _redrawing()


def _redrawing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tool-redrawn"]


def test_limits_are_of_hosts_that_exist_and_unknown_ones_are_cautious() -> None:
    assert set(LIMITS) <= {host.name for host in hosts()}
    own = Host("mine", "openai", "hybrid", "")
    assert picture_limit(own, "https://example.com/v1") is CAUTIOUS
    assert picture_limit(own, "http://127.0.0.1:9/v1").encoded == 0
    assert picture_limit(Host("proxy", "anthropic", "hybrid", ""), "https://x") is LIMITS[
        "anthropic"]
