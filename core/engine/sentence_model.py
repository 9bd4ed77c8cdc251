"""Converts a small sentence-embedding model (BERT) from safetensors, in a Python package, to GGUF.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from core.engine import gguf
from core.engine.gguf import BOOL, FLOAT32, INT32, STRING, UINT32, Tensor

PARTS = ("config.json", "vocab.txt", "model.safetensors")     # of the folder
MEAN_POOLING = 1
NORMAL, CONTROL = 1, 3          # kinds of a token
LAYER = {"attention.self.query": "attn_q", "attention.self.key": "attn_k",
         "attention.self.value": "attn_v",
         "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
         "intermediate.dense": "ffn_up", "output.dense": "ffn_down",
         "output.LayerNorm": "layer_output_norm"}
TOP = {"embeddings.word_embeddings.weight": "token_embd.weight",
       "embeddings.position_embeddings.weight": "position_embd.weight",
       "embeddings.token_type_embeddings.weight": "token_types.weight",
       "embeddings.LayerNorm.weight": "token_embd_norm.weight",
       "embeddings.LayerNorm.bias": "token_embd_norm.bias"}


def convert_sentence_model(folder: str, name: str) -> bytes:
    """The GGUF file's bytes for a folder with config.json, vocab.txt and model.safetensors (32-bit
    floats).

    Raises OSError, and ValueError or KeyError for another kind of model.
    """
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    if config.get("model_type") != "bert":
        raise ValueError(f"a model of type {config.get('model_type')!r}, not bert")
    with open(os.path.join(folder, "vocab.txt"), encoding="utf-8") as file:
        words = file.read().removesuffix("\n").split("\n")
    return gguf.compose(_metadata(config, words, name),
                        _tensors(os.path.join(folder, "model.safetensors")))


def _metadata(config: Mapping[str, Any], words: list[str], name: str) -> dict[str, tuple[int, Any]]:
    place = {word: number for number, word in enumerate(words)}
    control = {place[word] for word in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")}
    tokenizer = "tokenizer.ggml."
    return {
        "general.architecture": (STRING, "bert"), "general.name": (STRING, name),
        "general.file_type": (UINT32, 0),
        "bert.vocab_size": (UINT32, len(words)),
        "bert.context_length": (UINT32, config["max_position_embeddings"]),
        "bert.embedding_length": (UINT32, config["hidden_size"]),
        "bert.feed_forward_length": (UINT32, config["intermediate_size"]),
        "bert.block_count": (UINT32, config["num_hidden_layers"]),
        "bert.attention.head_count": (UINT32, config["num_attention_heads"]),
        "bert.attention.layer_norm_epsilon": (FLOAT32, config["layer_norm_eps"]),
        "bert.attention.causal": (BOOL, False), "bert.pooling_type": (UINT32, MEAN_POOLING),
        tokenizer + "model": (STRING, "bert"), tokenizer + "pre": (STRING, "jina-v2-en"),
        tokenizer + "token_type_count": (UINT32, config["type_vocab_size"]),
        tokenizer + "tokens":
        (STRING, [_token(word, number in control) for number, word in enumerate(words)]),
        tokenizer + "token_type":
        (INT32, [CONTROL if number in control else NORMAL for number in range(len(words))]),
        tokenizer + "bos_token_id": (UINT32, place["[CLS]"]),
        tokenizer + "eos_token_id": (UINT32, place["[SEP]"]),
        tokenizer + "cls_token_id": (UINT32, place["[CLS]"]),
        tokenizer + "seperator_token_id": (UINT32, place["[SEP]"]),
        tokenizer + "unknown_token_id": (UINT32, place["[UNK]"]),
        tokenizer + "padding_token_id": (UINT32, place["[PAD]"]),
        tokenizer + "mask_token_id": (UINT32, place["[MASK]"]),
    }


def _token(word: str, control: bool) -> str:
    """A token as llama.cpp writes it: the start of a word is marked, a continuation is not."""
    return word if control else word[2:] if word.startswith("##") else "\u2581" + word


def _tensors(path: str) -> Iterator[Tensor]:
    with open(path, "rb") as file:
        size, = struct.unpack("<Q", file.read(8))
        listed: dict[str, Any] = json.loads(file.read(size))
        for theirs, entry in listed.items():
            name = _name_of(theirs)
            if not name:
                continue
            if entry["dtype"] != "F32":
                raise ValueError(f"weights of type {entry['dtype']}, not F32")
            begin, end = entry["data_offsets"]
            file.seek(8 + size + begin)
            yield Tensor(name, tuple(entry["shape"]), gguf.TENSOR_F32, file.read(end - begin))


def _name_of(theirs: str) -> str:
    """llama.cpp's name of a tensor; "" if the tensor is not needed."""
    theirs = theirs.removeprefix("bert.")
    if theirs in TOP:
        return TOP[theirs]
    _, separator, rest = theirs.partition("encoder.layer.")
    number, _, part = rest.partition(".")
    block, _, kind = part.rpartition(".")
    return f"blk.{number}.{LAYER[block]}.{kind}" if separator and block in LAYER else ""
