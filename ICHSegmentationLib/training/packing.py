"""Label maps in one small file, to be carried to a machine that has no reader of medical images.

A numpy archive: for each head its labels, cropped, as 8-bit numbers into a table of codes. About half a megabyte a
head of 1 mm, a hundredth of what its distance fields would take; those are measured where the file is unpacked.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.simulation.anatomy import anatomy_from_labels
from ICHSegmentationLib.staging import whole_or_not_at_all


@dataclass(frozen=True)
class LabelledHead:
    """A head as a label map: [x, y, z] in RAS, in the codes of `anatomy.LABELS_OF_TISSUE`."""

    name: str
    labels: np.ndarray
    spacing_mm: float


def pack_heads(heads: Iterable[LabelledHead], file: Path) -> int:
    """Writes heads to one file, whole or not at all; returns its size in bytes."""
    arrays: dict[str, Any] = {}
    names: list[str] = []
    spacings: list[float] = []
    for head in heads:
        filled = [np.flatnonzero(head.labels.any(axis=tuple(set(range(3)) - {axis}))) for axis in range(3)]
        if not all(len(where) for where in filled):
            raise InputError(f"the label map {head.name} is empty.")
        box = tuple(slice(where[0], where[-1] + 1) for where in filled)
        codes, numbers = np.unique(head.labels[box], return_inverse=True)
        if len(codes) > 256:
            raise InputError(f"the label map {head.name} holds {len(codes)} labels; at most 256 are wanted.")
        arrays[f"codes_{len(names)}"] = codes.astype(np.int32)
        arrays[f"labels_{len(names)}"] = numbers.astype(np.uint8).reshape(head.labels[box].shape)
        names.append(head.name)
        spacings.append(head.spacing_mm)
    if not names:
        raise InputError("there are no label maps to pack.")
    with whole_or_not_at_all(file) as partial, open(partial, "wb") as opened:
        np.savez_compressed(opened, names=np.array(names), spacings_mm=np.array(spacings), **arrays)
    return file.stat().st_size


def unpack_heads(file: Path) -> list[LabelledHead]:
    """The heads of a file.

    Raises:
        InputError: it is no such file.
    """
    try:
        with np.load(file, allow_pickle=False) as stored:
            return [
                LabelledHead(str(name), stored[f"codes_{index}"][stored[f"labels_{index}"]], float(spacing))
                for index, (name, spacing) in enumerate(zip(stored["names"], stored["spacings_mm"], strict=True))
            ]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        raise InputError(f"{file} holds no packed heads; a file of `ich pack` is wanted.") from None


def measure(head: LabelledHead, file: Path) -> None:
    """Measures a head and keeps the result."""
    anatomy_from_labels(head.labels, head.spacing_mm).save(file)


def measured_heads(heads: list[LabelledHead], folder: Path, processes: int) -> list[Path]:
    """The files of the heads' anatomies, measured by several processes at once (each head takes about 20 s)."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{head.name}.npz" for head in heads]
    left = [(head, file) for head, file in zip(heads, files, strict=True) if not file.exists()]
    if left:
        with ProcessPoolExecutor(min(processes, len(left)), get_context("spawn")) as pool:
            list(pool.map(measure, *zip(*left, strict=True)))
    return files
