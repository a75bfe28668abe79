"""Tensors in a file of the safetensors format, read and written here in a few lines of Python.

Apart from the package of that name, because lent GPU machines may lack it and training must run there. The format
(https://huggingface.co/docs/safetensors): 8 bytes with the length of the header, little endian; the header, JSON
that gives each tensor's type, shape and place and a `__metadata__` of strings; the tensors' bytes, little endian.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import torch

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.staging import whole_or_not_at_all

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
METADATA = "__metadata__"


def save_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Writes named tensors and strings, whole or not at all."""
    header: dict[str, Any] = {METADATA: metadata}
    parts: list[bytes] = []
    place = 0
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        content = plain.flatten().view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": NAMES[plain.dtype],
            "shape": list(plain.shape),
            "data_offsets": [place, place + len(content)],
        }
        place += len(content)
        parts.append(content)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors start at a multiple of 8, for readers that map the file
    with whole_or_not_at_all(path) as partial, open(partial, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())  # a machine that loses power keeps the old file or has the new one


def load_tensors(path: Path, device: torch.device | str = "cpu") -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the metadata of a file.

    Raises:
        InputError: the file is cut off, damaged or of another format.
    """
    content = bytearray(path.read_bytes())
    try:
        start = 8 + int.from_bytes(content[:8], "little")
        header = json.loads(content[8:start])
        metadata = header.pop(METADATA, {})
        tensors = {name: tensor_of(content, start, entry).to(device) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError):
        raise InputError(f"{path} is damaged, or no safetensors file.") from None
    return tensors, metadata


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a file, whose tensors are not read.

    Raises:
        InputError: the file is cut off, damaged or of another format.
    """
    try:
        with open(path, "rb") as file:
            return json.loads(file.read(int.from_bytes(file.read(8), "little")))[METADATA]
    except (ValueError, KeyError, TypeError, OverflowError, MemoryError):
        raise InputError(f"{path} is damaged, or no safetensors file.") from None


def tensor_of(content: bytearray, start: int, entry: dict[str, Any]) -> torch.Tensor:
    dtype, shape = DTYPES[entry["dtype"]], entry["shape"]
    first, end = entry["data_offsets"]
    if end - first != math.prod(shape) * dtype.itemsize or start + end > len(content):
        raise ValueError("the tensor does not lie within the file")
    if first == end:
        return torch.empty(shape, dtype=dtype)
    # through a copy of its own, so that the file's whole content does not stay in memory with each tensor
    return torch.frombuffer(bytearray(content[start + first : start + end]), dtype=dtype).reshape(shape)
