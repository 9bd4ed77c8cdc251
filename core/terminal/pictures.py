"""Pictures for the next message: from the clipboard, or dropped on the terminal (which pastes their
paths).
"""

from __future__ import annotations

import base64
import os
import shlex
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from core.chat.conversation import Chat
from core.commands import clipboard
from core.console.screen import Screen
from core.errors import UsageError
from core.messages import IMAGE_TYPES, Image, image_type
from core.rendering.picture_facts import picture_words
from core.safe_text import safe_line

LONGEST = 4096       # characters of a dropped path
MOST = 20 << 20      # bytes of one picture


def paste(chat: Chat, screen: Screen) -> None:
    """Do what /paste says: a picture goes with the next message, text begins it. Raises UsageError.
    """
    data = clipboard.picture(chat.settings.environment)
    if data:
        add(screen, picture_of(data, "clipboard.png"))
        return
    text = clipboard.text(chat.settings.environment)
    screen.draft = text if text.endswith("\n") else f"{text}\n"


def add(screen: Screen, picture: Image) -> None:
    """Keep a picture for the next message, and report it."""
    screen.pictures.append(picture)
    screen.say("added", f"{described(picture)}, with your next message")
    screen.picture(picture)


def described(picture: Image) -> str:
    return f"{safe_line(picture.name, 100)}  {picture_words(picture)}"


def take(screen: Screen, pasted: Sequence[str]) -> tuple[Image, ...]:
    """The pictures of a message that is sent now:
    those that were kept, and those whose paths were dropped in it.
    """
    found = list(screen.pictures)
    for path in dropped_pictures(pasted):
        with open(path, "rb") as file:
            picture = picture_of(file.read(MOST + 1), os.path.basename(path))
        screen.say("added", described(picture))
        screen.picture(picture)
        found.append(picture)
    screen.pictures.clear()
    return tuple(found)


def picture_of(data: bytes, name: str) -> Image:
    """A picture of the type that its bytes show, regardless of its name. Raises UsageError."""
    if len(data) > MOST:
        raise UsageError(f"{name} is larger than {MOST >> 20} MB.",
                         "Make it smaller; nothing was sent.")
    kind = image_type(data)
    if not kind:
        raise UsageError(f"{name} is not a picture, or of an unknown format.",
                         "Save it as PNG or JPEG; nothing was sent.")
    return Image(kind, base64.b64encode(data).decode(), name)


def dropped_pictures(pasted: Sequence[str]) -> list[str]:
    """The pictures whose paths pasted text consists of: absolute paths of existing files and
    nothing else.
    """
    found = [path for text in pasted for path in dropped_paths(text)]
    return [path for path in found if path.lower().endswith(tuple(IMAGE_TYPES))]


def dropped_paths(text: str) -> list[str]:
    """The files whose paths the text is, as terminals write them:
    quoted, escaped, or as file:// addresses.
    """
    text = text.strip()
    if not text or len(text) > LONGEST or "\n" in text or "\0" in text:
        return []
    if os.path.isabs(text) and os.path.isfile(text):
        return [text]
    try:
        words = shlex.split(text)
    except ValueError:
        return []
    paths = [unquote(urlsplit(word).path) if word.startswith("file://") else word for word in words]
    return paths if all(os.path.isabs(path) and os.path.isfile(path) for path in paths) else []
