"""A small model that compares texts by meaning, converted from a Python package and run by the
embedded engine.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.config import Settings
from core.config.directories import cache_directory
from core.engine.models import COMPARING, compares, read_header
from core.engine.sentence_model import convert_sentence_model
from core.errors import ModelNotFound
from core.model_manager import Providers
from core.providers import Endpoint
from core.providers.local import Local
from tests.engine_support import OUTSIDE, PROGRAM, require_wheel, skip_unless_ci

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz",
         *(f"##{c}" for c in "abcdefgh"), "tide"]
WIDE, INNER, LONGEST = 32, 64, 64


def write_toy(folder: Path) -> None:
    """A BERT of one layer with random weights, as sentence-transformers stores one."""
    chance = random.Random(3)
    folder.mkdir(parents=True)
    config = {"model_type": "bert", "hidden_size": WIDE, "intermediate_size": INNER,
              "num_hidden_layers": 1, "type_vocab_size": 2,
              "num_attention_heads": 4, "max_position_embeddings": LONGEST, "layer_norm_eps": 1e-12}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(WORDS), WIDE),
        "embeddings.position_embeddings.weight": (LONGEST, WIDE),
        "embeddings.token_type_embeddings.weight": (2, WIDE), "pooler.dense.weight": (WIDE, WIDE)}
    for name, rows, columns in (("attention.self.query", WIDE, WIDE),
                                ("attention.self.key", WIDE, WIDE),
                                ("attention.self.value", WIDE, WIDE),
                                ("attention.output.dense", WIDE, WIDE),
                                ("intermediate.dense", INNER, WIDE), ("output.dense", WIDE, INNER)):
        shapes |= {f"encoder.layer.0.{name}.weight": (rows, columns),
                   f"encoder.layer.0.{name}.bias": (rows,)}
    for name in ("embeddings.LayerNorm", "encoder.layer.0.attention.output.LayerNorm",
                 "encoder.layer.0.output.LayerNorm"):
        shapes |= {f"{name}.weight": (WIDE,), f"{name}.bias": (WIDE,)}
    listed, body = {}, b""
    for name, shape in shapes.items():
        data = struct.pack(f"<{math.prod(shape)}f",
                           *(chance.gauss(0, 0.5) for _ in range(math.prod(shape))))
        listed[name] = {"dtype": "F32", "shape": shape,
                        "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    head = json.dumps(listed).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + body)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    write_toy(tmp_path / "package")
    path = tmp_path / "models" / "toy.gguf"
    path.parent.mkdir()
    path.write_bytes(convert_sentence_model(str(tmp_path / "package"), "toy"))
    return path


def vectors(directory: Path, model: str, texts: Sequence[str]) -> list[list[float]]:
    async def run() -> list[list[float]]:
        provider = Local(Endpoint("", host="local",
                                  quirks={"model_directory": str(directory), "threads": 1}))
        try:
            return await provider.embed(model, texts)
        finally:
            await provider.close()
    return asyncio.run(run())


def near(first: Sequence[float], second: Sequence[float]) -> float:
    return (sum(map(float.__mul__, first, second))
            / math.sqrt(sum(x * x for x in first) * sum(y * y for y in second)))


@pytest.mark.processes
def test_the_file_is_one_that_the_engine_computes_with(toy: Path) -> None:
    require_wheel()
    assert compares(read_header(str(toy)))
    found = vectors(toy.parent, "toy", ["a tide", "a tide", "x y z", "tide " * 2_000])
    assert ({len(vector) for vector in found} == {WIDE}
            and near(found[0], found[1]) > 0.999 > near(found[0], found[2]))


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    with pytest.raises(ValueError, match="not bert"):
        convert_sentence_model(str(tmp_path), "x")


def test_a_model_that_only_compares_is_not_asked_to_chat(tmp_path: Path) -> None:
    require_wheel()
    models = tmp_path / ".cache" / "stream-chat" / "models"
    models.mkdir(parents=True)
    write_toy(tmp_path / "package")
    row = COMPARING[0]
    (models / row.file).write_bytes(convert_sentence_model(str(tmp_path / "package"), row.name))

    async def run() -> None:
        providers = Providers(Settings({"provider": "local", "save": False},
                                       environment={"HOME": str(tmp_path)}))
        assert [info.name for info in await providers.open("local").models()] == [row.name]
        with pytest.raises(ModelNotFound, match="local has no model yet"):
            await providers.default_model("local")
        await providers.close()
    asyncio.run(run())


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The real one, in the user's own cache."""
    require_wheel()
    path = Path(cache_directory(OUTSIDE)) / "models" / COMPARING[0].file
    if not path.exists():
        done = subprocess.run([sys.executable, str(PROGRAM), "--provider", "local", "--pull",
                               COMPARING[0].name], env=OUTSIDE,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if not path.exists():
            reason = f"{COMPARING[0].name} could not be fetched: {done.stderr.strip()[:300]}"
            skip_unless_ci(reason, reason)
    return path


@pytest.mark.processes
def test_the_real_one_gives_the_published_figures(minilm: Path) -> None:
    """From the model's own page: the similarity of three sentences to "That is a happy person"."""
    found = vectors(minilm.parent, COMPARING[0].name, [
        "That is a happy person", "That is a happy dog", "That is a very happy person",
        "Today is a sunny day"])
    figures = [near(found[0], vector) for vector in found[1:]]
    assert all(abs(figure - wanted) < 0.002
               for figure, wanted in zip(figures, (0.695, 0.943, 0.257), strict=True)), figures
