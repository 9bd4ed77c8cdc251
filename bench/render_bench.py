"""Times the Markdown renderer: processor time and bytes per token, for several kinds of documents.

    python bench/render_bench.py [--tokens 8000,32000] [--frame 10] [--kinds
    mixed,code,para,list,table,cjk] [--file F]
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from core.rendering.markdown import MarkdownStream  # noqa: E402

CHARS_PER_TOKEN = 4
WORDS = ("a stream of tokens becomes rows on the screen while the model still thinks about the "
         "rest and nobody waits for more than what is needed to decide what a line can be").split()
PYTHON = '''import asyncio

async def answer(prompt: str, *, limit: int = 8192) -> str:
    """Ask once, and give what came."""
    async for delta in client.stream(prompt, {"limit": limit}):
        if delta.kind != "text":  # thinking is shown elsewhere
            continue
        parts.append(delta.text)
    return "".join(parts)

'''


def sentence(rng: random.Random) -> str:
    words = [rng.choice(WORDS) for _ in range(rng.randint(6, 16))]
    place = rng.randrange(len(words))
    words[place] = rng.choice(["**{}**", "`{}`", "*{}*", "[{}](https://example.org/x)", "{}",
                               "{}"]).format(words[place])
    return " ".join(words).capitalize() + "."


def block(kind: str, rng: random.Random) -> str:
    match kind:
        case "code":
            return PYTHON
        case "para":
            return sentence(rng) + " "
        case "list":
            return f"- {sentence(rng)}\n"
        case "table":
            return (f"| {rng.choice(WORDS)} | {rng.randint(1, 99999)} | `{rng.choice(WORDS)}` "
                    f"{rng.choice(WORDS)} |\n")
        case "cjk":
            return "".join(rng.choice("流式聊天客户端可以在终端里实时渲染标记语言")
                           for _ in range(rng.randint(20, 80))) + "。\n\n"
        case _:
            table = "| Name | Count | What |\n|---|---:|:---|\n" + "".join(block("table", rng)
                                                                           for _ in range(6))
            items = "".join(block("list", rng) for _ in range(4))
            return (f"## {rng.choice(WORDS)}\n\n{sentence(rng)} {sentence(rng)} {sentence(rng)}\n\n"
                    f"{items}\n"
                    f"```python\n{PYTHON}```\n\n{table}\n> {sentence(rng)}\n\n")


def document(kind: str, size: int) -> str:
    rng = random.Random(7)
    parts = [{"code": "```python\n", "table": "| Alpha | Beta | Gamma |\n| --- | ---: | :--- |\n"}
             .get(kind, "")]
    length = len(parts[0])
    while length < size:
        parts.append(block(kind, rng))
        length += len(parts[-1])
    return "".join(parts)[:size]


def processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def measure(text: str, frame: int) -> tuple[float, int]:
    written = 0

    def write(output: str) -> None:
        nonlocal written
        written += len(output.encode())

    stream = MarkdownStream(write, lambda: (120, 40))
    frames = [text[start:start + frame] for start in range(0, len(text), frame)]
    begun = processor()
    for part in frames:
        stream.feed(part)
    stream.finish()
    return processor() - begun, written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", default="8000,32000")
    parser.add_argument("--frame", type=int, default=10, help="tokens in a frame")
    parser.add_argument("--kinds", default="mixed,code,para,list,table,cjk")
    parser.add_argument("--file", type=Path, help="a document of your own")
    options = parser.parse_args()
    measure(document("mixed", 20000), 40)           # imports and caches are not what is timed
    print(f"{'kind':8} {'tokens':>7} {'µs/token':>9} {'bytes×':>7} {'peak MB':>8}")
    for kind in [options.file.name] if options.file else options.kinds.split(","):
        for tokens in map(int, options.tokens.split(",")):
            per_token = 2 if kind == "cjk" else CHARS_PER_TOKEN
            text = options.file.read_text() if options.file else document(kind, tokens * per_token)
            count = len(text) / per_token
            seconds, written = measure(text, options.frame * per_token)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{kind:8} {count:7.0f} {seconds * 1e6 / count:9.1f} "
                  f"{written / len(text.encode()):7.2f} {peak:8.0f}")


if __name__ == "__main__":
    main()
