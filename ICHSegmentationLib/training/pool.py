"""A folder of cases to train from: written by the simulator, read patch by patch without loading whole volumes.

Each case is a folder with `hu.npy` (int16, [x, y, z]), `label.npy` (uint8: 0 background, 1-5 subtypes, 255 ignored)
and `case.json` (spacing, volumes, every drawn parameter). A case appears under its name only when complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ICHSegmentationLib.simulation.anatomy import Anatomy
from ICHSegmentationLib.simulation.case import Case, CaseParameters, simulate


@dataclass(frozen=True)
class StoredCase:
    """A case on disk, its volumes memory-mapped."""

    hu: np.ndarray  # [x, y, z] int16
    label: np.ndarray  # [x, y, z] uint8
    spacing_mm: tuple[float, float, float]
    name: str


def write_case(case: Case, folder: Path) -> None:
    """Writes a case; `folder` exists afterwards only if all of it was written."""
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    np.save(partial / "hu.npy", case.hu.cpu().numpy().astype(np.int16))
    np.save(partial / "label.npy", case.subtype.cpu().numpy())
    description = {
        "spacing_mm": case.spacing_mm,
        "volume_ml": case.volume_ml,
        "parameters": case.parameters.to_json(),
    }
    (partial / "case.json").write_text(json.dumps(description))
    partial.rename(folder)


def read_case(folder: Path) -> StoredCase:
    description = json.loads((folder / "case.json").read_text())
    x, y, z = description["spacing_mm"]
    hu, label = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("hu", "label"))
    return StoredCase(hu, label, (x, y, z), folder.name)


def case_folders(pool: Path) -> list[Path]:
    """Complete cases of a pool, in order."""
    return sorted(path.parent for path in pool.glob("case_*/case.json") if not path.parent.name.endswith(".partial"))


def simulate_pool(
    anatomies: list[Anatomy], pool: Path, cases: range, seed: int, device: torch.device | str = "cpu"
) -> Iterator[Path]:
    """Simulates the cases that are not there yet; case k of a seed is the same whoever writes it."""
    for number in cases:
        folder = pool / f"case_{number:06d}"
        if folder.exists():
            continue
        rng = np.random.default_rng((seed, number))
        parameters = CaseParameters.draw(rng, len(anatomies))
        with torch.inference_mode():
            case = simulate(parameters, anatomies[parameters.anatomy], device)
        write_case(case, folder)
        yield folder
