"""Makes the pictures of a request acceptable to its provider; the conversation keeps the originals.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from core.dataclass import dataclass, replace
from core.errors import ToolError
from core.events import Delta, Notice
from core.messages import Image, Message, Text, has_image, image_type
from core.model_manager import Providers, Target
from core.pictures.redraw import Redrawn, Wanted, redrawn
from core.providers import Provider, Request
from core.providers.picture_limits import PictureLimit, picture_limit
from core.rendering.picture_facts import HEAD, picture_size
from core.rendering.quantities import size_words
from core.tools.running import run_in_thread

NAMES = {"image/png": "PNG", "image/jpeg": "JPEG", "image/gif": "GIF", "image/webp": "WebP"}

HEAD_OF_TYPE = 88      # characters of base64 that show the type


@dataclass(frozen=True, slots=True)
class _Room:
    """What one picture of a request may be at most; `target` is the side of a smaller one."""

    size: int               # characters of base64; 0: any
    side: int
    area: int
    target: int
    formats: frozenset[str]
    certain: bool


@dataclass(frozen=True, slots=True)
class _Sent:
    """What is sent instead of a picture, and the line about it."""

    part: Image | Text
    said: str


async def stream_with_pictures(provider: Provider, target: Target, request: Request,
                               providers: Providers) -> AsyncGenerator[Delta | Notice, None]:
    """Yield the reply to a request with pictures.

    A picture that the provider does not accept is made smaller or converted first, once for each
    limit, and reported.
    """
    limit = picture_limit(providers.host(target.provider), provider.endpoint.base_url)
    fitting = _Fitting(target.provider, providers, limit, request.messages)
    messages = [await fitting.fitted(message) for message in request.messages]
    for text in fitting.said:
        yield Notice(text)
    async with aclosing(provider.stream(replace(request, messages=tuple(messages)))) as deltas:
        async for delta in deltas:
            yield delta


class _Fitting:
    """The pictures of one request; `said` is what the user must be shown about them."""

    def __init__(self, provider: str, providers: Providers, limit: PictureLimit,
                 messages: Sequence[Message]) -> None:
        self.said: list[str] = []
        self._provider, self._known = provider, providers.redrawn
        self._room = _room(limit, [part for message in messages for part in message.parts
                                   if isinstance(part, Image)])

    async def fitted(self, message: Message) -> Message:
        """The message with pictures that fit; the same object if nothing changes, or as before."""
        if not has_image(message):
            return message
        key = (id(message), self._room)
        known: tuple[Message, Message] | None = self._known.get(key)
        if known is None:    # the original is kept too, so that its id stays its own
            parts = [await self._part(part) if isinstance(part, Image) else part
                     for part in message.parts]
            same = all(map(_same, parts, message.parts))
            known = message, message if same else replace(message, parts=tuple(parts))
            self._known[key] = known
        return known[1]

    async def _part(self, picture: Image) -> Image | Text:
        why = _excess(picture, self._room)
        if not why:
            return _named_rightly(picture)
        key = (picture.data, picture.name, self._provider, self._room)
        sent: _Sent | None = self._known.get(key)
        if sent is None:
            sent = self._known[key] = await self._redrawn(picture, why)
            if sent.said:
                self.said.append(sent.said)
        return sent.part

    async def _redrawn(self, picture: Image, why: str) -> _Sent:
        name = picture.name or "a picture"
        stop = threading.Event()
        try:
            new: Redrawn = await run_in_thread(
                redrawn, {"image": picture, "wanted": _wanted(picture, self._room), "stop": stop})
        except ToolError as problem:
            return self._refused(picture, problem, why)
        finally:
            stop.set()
        kind = NAMES.get(new.image.media_type, new.image.media_type)
        size = size_words(len(new.image.data) * 3 // 4)
        first = ", only the first picture in it" if new.first else ""
        return _Sent(new.image, f"{name} was sent as {kind}, {new.width:,} \u00d7 {new.height:,}, "
                                f"{size}{first}: {self._provider} takes {why}.")

    def _refused(self, picture: Image, problem: ToolError, why: str) -> _Sent:
        """What to do with a picture that cannot be drawn anew."""
        name = picture.name or "a picture"
        if not self._room.certain and picture.media_type in NAMES:
            return _Sent(picture, "")
        said = (f"{name} was not sent: {self._provider} takes {why}. {problem.message} "
                f"{problem.hint}")
        return _Sent(Text(f"\n[image {name}: not sent, it could not be converted]\n"),
                     said.strip())


def _named_rightly(picture: Image) -> Image:
    """The picture with the type that its bytes have: providers refuse one that contradicts them."""
    kind = image_type(_head(picture, HEAD_OF_TYPE))
    return replace(picture, media_type=kind) if kind not in ("", picture.media_type) else picture


def _same(one: object, other: object) -> bool:
    return one is other


def _room(limit: PictureLimit, pictures: Sequence[Image]) -> _Room:
    """What each of these pictures may be at most.

    If they exceed the room of a request together, each gets the same share. It halves when their
    number has doubled, so that a conversation's pictures are not drawn anew for each new one.
    """
    size, side = limit.encoded, limit.side
    if limit.request and sum(len(picture.data) for picture in pictures) > limit.request:
        share = limit.request >> (len(pictures) - 1).bit_length()
        size = min(size or share, share)
    if limit.many and len(pictures) > limit.many:
        side = limit.many_side
    target = min(limit.target, side or limit.target)
    return _Room(size, side, limit.area, target, limit.formats, limit.certain)


def _excess(picture: Image, room: _Room) -> str:
    """What the provider takes, in words, if this picture is not like that; otherwise ""."""
    if (image_type(_head(picture, HEAD_OF_TYPE)) or picture.media_type) not in room.formats:
        *names, last = sorted(NAMES[kind] for kind in room.formats)
        return f"{', '.join(names)} and {last}"
    return _too_large(picture, room)


def _too_large(picture: Image, room: _Room) -> str:
    """How large a picture may be, in words, if this one is larger; otherwise ""."""
    if room.size and len(picture.data) > room.size:
        return f"up to {size_words(room.size * 3 // 4)} a picture"
    pixels = picture_size(_head(picture, HEAD))
    if pixels and room.side and max(pixels) > room.side:
        return f"up to {room.side:,} pixels a side"
    if pixels and room.area and pixels[0] * pixels[1] > room.area:
        return f"up to {room.area / 1e6:.0f} megapixels"
    return ""


def _head(picture: Image, size: int) -> bytes:
    """The bytes in this many characters of base64; none if it is not base64."""
    try:
        return base64.b64decode(picture.data[:size])
    except ValueError:
        return b""


def _wanted(picture: Image, room: _Room) -> Wanted:
    """What the picture must become. One that only has the wrong format keeps its pixels."""
    side = room.target if _too_large(picture, room) else room.side
    return Wanted(room.size * 3 // 4, side, room.target)
