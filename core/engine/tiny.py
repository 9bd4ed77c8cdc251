"""Computes a toy model: a real GGUF chat model of about one megabyte without any knowledge.

It tests a real engine (loader, chat template, sampler, grammars, tool calls) without a download.
Nothing is trained; each weight has a purpose:

    token_embd    every token has its own direction, plus a large constant that keeps the norms
                  nearly equal
    attention     five heads that compare marks in the prompt: each attends only to its marks and
                  averages their signs
    feed-forward  turns each average into a switch that is 0 or 1
    output        how often one word follows another in TALK, adjusted by the switches

So it writes readable nonsense and ends its turns. It thinks when the prompt opens <think>; it calls
a tool when tools are offered and the user has written more messages than it has made calls; inside
braces its strings are short. The result is the same, byte for byte, each time.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from core.engine import gguf
from core.engine.tiny_words import CLOSERS, END, LIST, MARKS, TALK, VALUES, Vocabulary, byte_letters

NAME = "tiny-toy"
CONTEXT = 32_768

TEMPLATE = """\
{%- set told = namespace(text='') -%}
{%- for message in messages if message.role == 'system' -%}
{%- set told.text = told.text ~ message.content -%}
{%- endfor -%}
{%- if told.text or tools -%}
{{- '<|system|>\\n' ~ told.text -}}
{%- if tools -%}
{{- '\\n<tools>' -}}
{%- for tool in tools -%}{{- '\\n' ~ (tool.function | tojson) -}}{%- endfor -%}
{{- '\\n</tools>' -}}
{%- endif -%}
{{- '<|end|>\\n' -}}
{%- endif -%}
{%- for message in messages if message.role != 'system' -%}
{{- '<|' ~ message.role ~ '|>\\n' -}}
{%- if message.reasoning_content and loop.last -%}
{{- '<think>\\n' ~ message.reasoning_content ~ '\\n</think>\\n\\n' -}}
{%- endif -%}
{{- message.content or '' -}}
{%- for call in message.tool_calls or [] -%}
{%- if message.content or not loop.first -%}{{- '\\n' -}}{%- endif -%}
{{- '<tool_call>\\n{"name": "' ~ call.function.name ~ '", "arguments": ' -}}
{{- call.function.arguments if call.function.arguments is string
    else call.function.arguments | tojson -}}
{{- '}\\n</tool_call>' -}}
{%- endfor -%}
{{- '<|end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|assistant|>\\n' -}}
{%- if enable_thinking is defined and enable_thinking -%}{{- '<think>\\n' -}}{%- endif -%}
{%- endif -%}
"""

# Scores are natural logarithms of probabilities, up to a constant.
NEVER = -90.0       # not even if a grammar requires it
ASLEEP = -40.0      # until a switch raises it
RARE = -20.0        # single letters: only if a grammar allows nothing better
UNUSUAL = -11.0     # words that never follow each other in TALK

SHORTNESS = 9.0     # how often an answer ends after a sentence, relative to their number

CONSTANT = 16.0     # much larger than everything else, so that the norm hardly changes
HEAD_SIZE = 32
FOCUS = 20.0        # how much more a head attends to its marks than to everything else
STEEP = 4000.0      # a switch is fully on from an average of 1/150
OFFSET = -18.0
VETO = 20_000.0

# Feature -> the marks that its attention head averages.
HEADS: Mapping[str, Mapping[str, float]] = {
    "tools": {"</tools>": 1.0},
    "turns": {"<|user|>": 1.0, "<tool_call>": -1.0},
    "thought": {"<think>": 1.0, "</think>": -1.0},
    "braces": {"{": 1.0, "}": -1.0},
    "calls": {"<tool_call>": 1.0, "</tool_call>": -1.0},
}
# Switch -> the features that turn it on, and the offset to overcome.
SWITCHES: Mapping[str, tuple[Mapping[str, float], float]] = {
    "call": ({"turns": STEEP, "tools": VETO, "thought": -VETO}, OFFSET - VETO),
    "thinking": ({"thought": STEEP}, OFFSET),
    "object": ({"braces": STEEP}, OFFSET),
    "calling": ({"calls": STEEP}, OFFSET),
}
# Switch -> how it changes the scores of single tokens.
BENDS: Mapping[str, Mapping[str, float]] = {
    "call": {"<tool_call>": 60.0},
    "calling": {"</tool_call>": 60.0, "{": 6.0, "}": 12.0},
    "thinking": {"</think>": 39.5, END: -60.0},
    "object": {'"': 10.5, " ": -8.0, "\n": -30.0},
}


def write_tiny_model(path: str) -> None:
    """Compute the model and write it to `path` atomically."""
    partial = f"{path}.{os.getpid()}.part"
    try:
        with open(partial, "wb") as file:
            file.write(tiny_model())
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.unlink(partial)


def tiny_model() -> bytes:
    """The file's bytes."""
    vocabulary = Vocabulary()
    layout = Layout(len(vocabulary.tokens))
    return gguf.compose(_metadata(vocabulary, layout), _tensors(vocabulary, layout))


class Matrix:
    """Rows and columns of numbers, initially zero."""

    def __init__(self, rows: int, columns: int) -> None:
        self.rows = [[0.0] * columns for _ in range(rows)]

    def tensor(self, name: str, kind: int = gguf.TENSOR_F16) -> gguf.Tensor:
        flat = [value for row in self.rows for value in row]
        pack = gguf.halves if kind == gguf.TENSOR_F16 else gguf.singles
        return gguf.Tensor(name, (len(self.rows), len(self.rows[0])), kind, pack(flat))


class Layout:
    """The positions in the residual stream: one per token, then the constant, features, switches.
    """

    def __init__(self, tokens: int) -> None:
        self.constant = tokens
        names = (*HEADS, *SWITCHES)
        self.at = {name: tokens + 1 + number for number, name in enumerate(names)}
        self.width = -(-(tokens + 1 + len(names)) // 32) * 32


def _scores(vocabulary: Vocabulary) -> Iterator[list[float]]:
    """For each token, how likely every other is to follow it."""
    followers = _followers(vocabulary)
    usual = _usual_scores(vocabulary)
    for number in range(len(vocabulary.tokens)):
        row = list(usual)
        seen = followers[number]
        total = sum(seen.values())
        for follower, count in seen.items():
            row[follower] = math.log(count / total)
        _bend_for_json(vocabulary, number, row)
        _bend_for_marks(vocabulary, number, row)
        yield row


def _followers(vocabulary: Vocabulary) -> dict[int, dict[int, float]]:
    """{token: {next token: count}} for TALK: each sentence may start an answer, follow another
    sentence, and end an answer.
    """
    found: dict[int, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    full_stop, newline, end = vocabulary["."], vocabulary["\n"], vocabulary[END]
    for line in TALK.splitlines():
        for numbers in ([newline, *vocabulary.encode(line)],
                        [full_stop, *vocabulary.encode(" " + line)]):
            _count(found, numbers)
    _count(found, [*vocabulary.encode(LIST.rstrip()), end])
    found[full_stop][end] += SHORTNESS
    return found


def _count(found: dict[int, dict[int, float]], numbers: list[int]) -> None:
    for first, second in zip(numbers, numbers[1:]):
        found[first][second] += 1


def _usual_scores(vocabulary: Vocabulary) -> list[float]:
    row = [NEVER] * len(vocabulary.tokens)
    for number in vocabulary.word_numbers:
        row[number] = UNUSUAL
    for code in range(0x20, 0x7F):
        row[vocabulary[chr(code)]] = RARE
    row[vocabulary["\n"]] = RARE
    row[vocabulary[END]] = UNUSUAL
    return row


def _bend_for_json(vocabulary: Vocabulary, number: int, row: list[float]) -> None:
    """Set scores that matter only when a grammar requires JSON: short strings of words, one digit,
    little nesting.

    Opening and closing quotes are the same token: what may follow a closing one is scored far below
    the words that follow an opening one, and wins when the grammar forbids words.
    """
    text = vocabulary.spoken_at(number)
    scores = {'"': UNUSUAL, ":": -12.0, "{": -13.0, "[": -15.0,
              **dict.fromkeys("0123456789", -10.0), **dict.fromkeys("tfn", -9.5)}
    if text in CLOSERS:
        scores.update({"}": -12.0, ",": -14.0, "]": -12.0, **dict.fromkeys("0123456789", -17.0)})
    if text == '"':
        scores.update({'"': -18.0, "}": -26.0, "]": -26.0, ",": -28.0,
                       **dict.fromkeys(VALUES, -2.0)})
    if text == "{":
        scores["}"] = -8.0          # a call without arguments, where none is required
    if text not in (":", " ", "[", ","):
        scores.update(dict.fromkeys("tfn", RARE))
    for follower, score in scores.items():
        if row[vocabulary[follower]] <= UNUSUAL:
            row[vocabulary[follower]] = score


def _bend_for_marks(vocabulary: Vocabulary, number: int, row: list[float]) -> None:
    newline, end = vocabulary["\n"], vocabulary[END]
    text = vocabulary.spoken_at(number)
    if text in ("\n", "}"):
        row[vocabulary["<tool_call>"]] = row[vocabulary["</tool_call>"]] = ASLEEP
    if text == "\n":
        row[end] = ASLEEP           # so that no answer is empty
    if text in (".", ":"):
        row[vocabulary["</think>"]] = ASLEEP
    if text in MARKS:
        row[:] = [NEVER] * len(row)
        row[newline] = 0.0
    if text == "</tool_call>":
        row[end] = 6.0


def _tensors(vocabulary: Vocabulary, layout: Layout) -> Iterable[gguf.Tensor]:
    yield _embedding(vocabulary, layout).tensor("token_embd.weight")
    yield _norm("output_norm.weight", layout)
    yield _output(vocabulary, layout).tensor("output.weight")
    yield _norm("blk.0.attn_norm.weight", layout)
    yield from _attention(vocabulary, layout)
    yield _norm("blk.0.ffn_norm.weight", layout)
    yield from _feed_forward(layout)


def _norm(name: str, layout: Layout) -> gguf.Tensor:
    """A norm that undoes the division by the root mean square, which is nearly the same for every
    token because of the constant.
    """
    factor = math.sqrt((1 + CONSTANT ** 2) / layout.width)
    return gguf.Tensor(name, (layout.width,), gguf.TENSOR_F32,
                       gguf.singles([factor] * layout.width))


def _embedding(vocabulary: Vocabulary, layout: Layout) -> Matrix:
    embedding = Matrix(len(vocabulary.tokens), layout.width)
    for number, row in enumerate(embedding.rows):
        row[number] = 1.0
        row[layout.constant] = CONSTANT
    return embedding


def _attention(vocabulary: Vocabulary, layout: Layout) -> Iterator[gguf.Tensor]:
    """The attention tensors. All heads share one key and one value head and use one component of
    each, so they do not interfere.

    The key components are the slowest of the rotary embedding, which hardly rotate within the
    context.
    """
    query, out = (Matrix(len(HEADS) * HEAD_SIZE, layout.width),
                  Matrix(layout.width, len(HEADS) * HEAD_SIZE))
    key, value = Matrix(HEAD_SIZE, layout.width), Matrix(HEAD_SIZE, layout.width)
    for head, (feature, marks) in enumerate(HEADS.items()):
        slow = HEAD_SIZE - 2 - 2 * head
        query.rows[head * HEAD_SIZE + slow][layout.constant] = math.sqrt(HEAD_SIZE) / CONSTANT
        for mark, sign in marks.items():
            key.rows[slow][vocabulary[mark]] = FOCUS
            value.rows[head][vocabulary[mark]] = sign
        out.rows[layout.at[feature]][head * HEAD_SIZE + head] = 1.0
    for name, matrix in (("q", query), ("k", key), ("v", value), ("output", out)):
        yield matrix.tensor(f"blk.0.attn_{name}.weight")


def _feed_forward(layout: Layout) -> Iterator[gguf.Tensor]:
    """silu(z + 8) - silu(z) is 0 far below zero and 8 far above: two units make a switch."""
    units = 32
    gate, up, down = (Matrix(units, layout.width), Matrix(units, layout.width),
                      Matrix(layout.width, units))
    for number, (switch, (inputs, offset)) in enumerate(SWITCHES.items()):
        for unit, step in ((2 * number, 8.0), (2 * number + 1, 0.0)):
            for feature, weight in inputs.items():
                gate.rows[unit][layout.at[feature]] = weight
            gate.rows[unit][layout.constant] = (offset + step) / CONSTANT
            up.rows[unit][layout.constant] = 1 / CONSTANT
            down.rows[layout.at[switch]][unit] = 1 / 8 if step else -1 / 8
    for name, matrix in (("gate", gate), ("up", up), ("down", down)):
        yield matrix.tensor(f"blk.0.ffn_{name}.weight", gguf.TENSOR_F32)


def _output(vocabulary: Vocabulary, layout: Layout) -> Matrix:
    output = Matrix(len(vocabulary.tokens), layout.width)
    for before, row in enumerate(_scores(vocabulary)):
        for after, score in enumerate(row):
            output.rows[after][before] = score
    for switch, bends in BENDS.items():
        for text, lift in bends.items():
            output.rows[vocabulary[text]][layout.at[switch]] = lift
    return output


def _metadata(vocabulary: Vocabulary, layout: Layout) -> dict[str, tuple[int, object]]:
    letters = byte_letters()
    return {
        "general.architecture": (gguf.STRING, "llama"),
        "general.name": (gguf.STRING, NAME),
        "general.license": (gguf.STRING, "cc0-1.0"),
        "general.file_type": (gguf.UINT32, 1),
        "llama.context_length": (gguf.UINT32, CONTEXT),
        "llama.embedding_length": (gguf.UINT32, layout.width),
        "llama.block_count": (gguf.UINT32, 1),
        "llama.feed_forward_length": (gguf.UINT32, 32),
        "llama.attention.head_count": (gguf.UINT32, len(HEADS)),
        "llama.attention.head_count_kv": (gguf.UINT32, 1),
        "llama.attention.key_length": (gguf.UINT32, HEAD_SIZE),
        "llama.attention.value_length": (gguf.UINT32, HEAD_SIZE),
        "llama.rope.dimension_count": (gguf.UINT32, HEAD_SIZE),
        "llama.rope.freq_base": (gguf.FLOAT32, 1e10),
        "llama.attention.layer_norm_rms_epsilon": (gguf.FLOAT32, 1e-6),
        "llama.vocab_size": (gguf.UINT32, len(vocabulary.tokens)),
        "tokenizer.ggml.model": (gguf.STRING, "gpt2"),
        "tokenizer.ggml.pre": (gguf.STRING, "gpt-2"),
        "tokenizer.ggml.tokens": (gguf.STRING, vocabulary.tokens),
        "tokenizer.ggml.token_type": (gguf.INT32, vocabulary.kinds()),
        # The loader requires a merge; this one joins two bytes that are never adjacent in UTF-8.
        "tokenizer.ggml.merges": (gguf.STRING, [f"{letters[0xFE]} {letters[0xFF]}"]),
        "tokenizer.ggml.bos_token_id": (gguf.UINT32, vocabulary["<|none|>"]),
        "tokenizer.ggml.eos_token_id": (gguf.UINT32, vocabulary[END]),
        "tokenizer.ggml.padding_token_id": (gguf.UINT32, vocabulary["<|none|>"]),
        "tokenizer.ggml.add_bos_token": (gguf.BOOL, False),
        "tokenizer.chat_template": (gguf.STRING, TEMPLATE),
    }
