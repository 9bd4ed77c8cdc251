"""The GGUF file format (version 3): reads a model's metadata, and writes small models.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, BinaryIO

from core.dataclass import dataclass

MAGIC = b"GGUF"
ALIGNMENT = 32            # bytes; tensors start at multiples of it
MAX_TEXT = 1 << 24        # bytes of one string; more means a damaged file

# Value types by their number in the file.
_FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q",
            11: "<q", 12: "<d"}
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TENSOR_F32, TENSOR_F16 = 0, 1


def read_metadata(path: str) -> dict[str, Any]:
    """The header's entries before the tokenizer's tables, which are large and come last.

    Raises ValueError for a file that is not GGUF or is truncated, and OSError if it cannot be read.
    """
    found: dict[str, Any] = {}
    with open(path, "rb") as file:
        magic, version, _, count = struct.unpack("<4sIQQ", _take(file, 24))
        if magic != MAGIC or not 2 <= version <= 3:
            raise ValueError("not a GGUF file of version 2 or 3")
        for _ in range(count):
            key = _read_text(file)
            if key.startswith("tokenizer."):
                break
            found[key] = _read_value(file, _number(file, "<I"))
    return found


def _take(file: BinaryIO, size: int) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise ValueError("the file ends within its header")
    return data


def _number(file: BinaryIO, form: str) -> Any:
    return struct.unpack(form, _take(file, struct.calcsize(form)))[0]


def _read_text(file: BinaryIO) -> str:
    size = _number(file, "<Q")
    if size > MAX_TEXT:
        raise ValueError("the header is damaged")
    return _take(file, size).decode("utf-8", "replace")


def _read_value(file: BinaryIO, kind: int) -> Any:
    if kind == STRING:
        return _read_text(file)
    if kind == ARRAY:
        inner, count = _number(file, "<I"), _number(file, "<Q")
        return [_read_value(file, inner) for _ in range(count)]
    if kind not in _FORMATS:
        raise ValueError("the header is damaged")
    return _number(file, _FORMATS[kind])


@dataclass(frozen=True, slots=True)
class Tensor:
    """`shape` is (rows, columns) or (size,); `data` is packed as `kind` says, row by row."""

    name: str
    shape: tuple[int, ...]
    kind: int
    data: bytes


def halves(values: Sequence[float]) -> bytes:
    """Pack as 16-bit floats."""
    return struct.pack(f"<{len(values)}e", *values)


def singles(values: Sequence[float]) -> bytes:
    """Pack as 32-bit floats."""
    return struct.pack(f"<{len(values)}f", *values)


def compose(metadata: Mapping[str, tuple[int, Any]], tensors: Iterable[Tensor]) -> bytes:
    """The bytes of a complete file.

    `metadata` maps a key to (type, value); a list value is an array of that type.
    """
    listed = tuple(tensors)
    head = bytearray(struct.pack("<4sIQQ", MAGIC, 3, len(listed), len(metadata)))
    for key, (kind, value) in metadata.items():
        head += _pack_text(key) + _pack_typed(kind, value)
    body = bytearray()
    for tensor in listed:
        dimensions = struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape),
                                 *reversed(tensor.shape))
        head += _pack_text(tensor.name) + dimensions + struct.pack("<IQ", tensor.kind, len(body))
        body += _padded(tensor.data)
    return bytes(_padded(head) + body)


def _pack_text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _pack_typed(kind: int, value: Any) -> bytes:
    if isinstance(value, list):
        return struct.pack("<IIQ", ARRAY, kind,
                           len(value)) + b"".join(_pack_plain(kind, item) for item in value)
    return struct.pack("<I", kind) + _pack_plain(kind, value)


def _pack_plain(kind: int, value: Any) -> bytes:
    return _pack_text(value) if kind == STRING else struct.pack(_FORMATS[kind], value)


def _padded(data: bytes | bytearray) -> bytes:
    return bytes(data) + bytes(-len(data) % ALIGNMENT)
