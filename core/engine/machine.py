"""Checks whether this computer can run the engine and a model: system, processor and memory."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from typing import Any

from core.errors import ProviderError

# the x86-64 build of the wheel requires these processor features
NEEDED_BY_WHEEL = frozenset({"avx2", "fma", "bmi2", "f16c"})
CONTEXTS = (16_384, 8_192, 4_096, 2_048)  # tokens; the largest that fits is used
RESERVE = 64 << 20  # bytes of memory for the engine itself and its buffers
OTHER_WAYS = ("Use an Ollama server (--provider ollama), one with a key (--list-providers), or "
              "--provider demo.")


def check_platform() -> None:
    """Raise ProviderError on a system without any engine."""
    if sys.platform == "win32":
        raise ProviderError("The embedded engine does not run directly on Windows.",
                            "It runs in WSL. " + OTHER_WAYS)


def check_processor(flags: frozenset[str] | None = None) -> None:
    """Raise ProviderError if the wheel would crash with an illegal instruction."""
    present = processor_flags() if flags is None else flags
    missing = NEEDED_BY_WHEEL - present if present else frozenset()
    if missing:
        raise ProviderError("This processor is too old for the embedded engine: it lacks "
                            f"{', '.join(sorted(missing)).upper()}.",
                            "A llama-server built for it works with --engine PATH. " + OTHER_WAYS)


def processor_flags(path: str = "/proc/cpuinfo") -> frozenset[str]:
    """The x86 feature flags; empty if they are not known (other processors, other systems)."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith("flags"):
                    return frozenset(line.partition(":")[2].split())
    except OSError:
        pass
    return frozenset()


def is_musl() -> bool:
    return sys.platform == "linux" and platform.libc_ver()[0] != "glibc"


def default_threads(model_size: int) -> int:
    """The number of threads: 1 for a toy model; all of a few processors; half of many (which are
    usually pairs on one core), at most 8.
    """
    if model_size < 50 << 20:
        return 1
    count = usable_processors()
    return count if count <= 4 else min(8, count // 2)


def usable_processors() -> int:
    """The number of processors that this process may use."""
    count = (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
             else os.cpu_count() or 1)
    quota = _first_line("/sys/fs/cgroup/cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit():
        count = min(count, max(1, int(quota[0]) // int(quota[1])))
    return count


def available_memory() -> int | None:
    """The bytes available to a new process in the system or the container; None if unknown."""
    left = []
    system = _system_memory()
    if system is not None:
        left.append(system)
    limit, used = (_first_line("/sys/fs/cgroup/memory.max"),
                   _first_line("/sys/fs/cgroup/memory.current"))
    if limit.isdigit() and used.isdigit():
        left.append(max(0, int(limit) - int(used)))
    return min(left) if left else None


def _system_memory() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def _first_line(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.readline().strip()
    except (OSError, ValueError):
        return ""


def choose_context(header: Mapping[str, Any], size: int, wanted: int | None,
                   available: int | None) -> int:
    """The context window in tokens: `wanted`, or the largest of CONTEXTS that the model supports
    and the memory can hold.

    Raises ProviderError if not even the smallest fits.
    """
    trained = _first_number(header.get(f"{header.get('general.architecture')}.context_length"),
                            CONTEXTS[0])
    usual = [count for count in CONTEXTS if count <= trained] or [trained]
    candidates = [min(wanted, trained)] if wanted else usual
    for count in candidates:
        if available is None or memory_needed(header, size, count) <= available:
            return count
    assert available is not None
    need = memory_needed(header, size, candidates[-1])
    raise ProviderError(f"Not enough memory for this model: it needs about {gigabytes(need)}, and "
                        f"{gigabytes(available)} are free.",
                        "Choose a smaller model, a smaller --num-ctx, or close other programs.")


def memory_needed(header: Mapping[str, Any], size: int, context: int) -> int:
    """The approximate bytes needed: the weights once (they are repacked, so the file's pages can be
    dropped), and 16-bit keys and values.
    """
    name = header.get("general.architecture")
    layers = _first_number(header.get(f"{name}.block_count"),
                           24) // _first_number(header.get(f"{name}.full_attention_interval"), 1)
    heads = _first_number(header.get(f"{name}.attention.head_count"), 16)
    shared = _first_number(header.get(f"{name}.attention.head_count_kv"), heads)
    width = _first_number(header.get(f"{name}.embedding_length"), 1024)
    key = _first_number(header.get(f"{name}.attention.key_length"), width // heads)
    value = _first_number(header.get(f"{name}.attention.value_length"), width // heads)
    return size * 11 // 10 + layers * shared * (key + value) * 2 * context + RESERVE


def _first_number(value: Any, default: int) -> int:
    """The value as a number; of a list with one entry per layer, the largest."""
    if isinstance(value, list):
        value = max((item for item in value if isinstance(item, int)), default=default)
    return value if isinstance(value, int) and value > 0 else default


def gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{max(1, round(size / 1e6))} MB"
