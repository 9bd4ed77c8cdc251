"""Extracts the code of an answer, for -x."""

from __future__ import annotations

from core.errors import ChatError
from core.rendering.parser.code_blocks import CodeBlock, code_blocks

SAME = {"py": "python", "sh": "bash", "shell": "bash", "zsh": "bash", "console": "bash",
        "js": "javascript",
        "ts": "typescript", "yml": "yaml", "c++": "cpp", "rs": "rust", "golang": "go"}


def extracted(text: str, which: str) -> str:
    """Return code blocks of a text: all ("all"), one by number (from 1), or those of a language.

    Raises ChatError when there is none.
    """
    blocks = code_blocks(text)
    if which == "all":
        wanted = blocks
    elif which.isascii() and which.isdigit():
        wanted = blocks[int(which) - 1:int(which)] if int(which) else []
    else:
        wanted = [block for block in blocks if language(block.info) == language(which)]
    if not wanted:
        raise ChatError(f"The answer has no {'code' if which == 'all' else f'code {which}'}.",
                        _hint(blocks))
    return "\n".join(block.source if block.source.endswith("\n") else block.source + "\n"
                     for block in wanted)


def language(info: str) -> str:
    """Return the canonical name of a block's language."""
    word = (info.split() or [""])[0].lower().strip("{}.")
    return SAME.get(word, word)


def _hint(blocks: list[CodeBlock]) -> str:
    if not blocks:
        return "The answer is saved and shown above; without -x it is printed."
    names = ", ".join(language(block.info) or "no language" for block in blocks)
    return f"It has {len(blocks)} {'block' if len(blocks) == 1 else 'blocks'} of code: {names}."
