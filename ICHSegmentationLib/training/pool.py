"""A folder of cases to train from, read patch by patch without loading whole volumes.

Each case is a folder with `hu.npy` (int16, [x, y, z]), `label.npy` (uint8: 0 background, 1-5 subtypes, 6 bleed of a
subtype that is not told, 255 ignored) and `case.json` (spacing, group, and where it is from). A case appears under
its name only when complete, so several processes may write and read one pool. `pool.json` says what the pool is of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.simulation.anatomy import Anatomy
from ICHSegmentationLib.simulation.case import EDITION, Case, CaseParameters, simulate
from ICHSegmentationLib.staging import whole_folder, write_json

UNTOLD = 6  # label of bleed whose subtype nobody told
POOL = "pool.json"


@dataclass(frozen=True)
class StoredCase:
    """A case on disk, its volumes memory-mapped."""

    hu: np.ndarray  # [x, y, z] int16
    label: np.ndarray  # [x, y, z] uint8
    spacing_mm: tuple[float, float, float]
    name: str


def store(folder: Path, hu: np.ndarray, label: np.ndarray, description: dict[str, Any]) -> None:
    """Writes a case; `folder` exists afterwards with all of it, from here or from another process."""
    with whole_folder(folder) as partial:
        np.save(partial / "hu.npy", np.ascontiguousarray(hu, np.int16))
        np.save(partial / "label.npy", np.ascontiguousarray(label, np.uint8))  # so bleed is quickly found in it
        (partial / "case.json").write_text(json.dumps(description))


def write_case(case: Case, folder: Path) -> None:
    """Writes a simulated case."""
    description = {
        "spacing_mm": case.spacing_mm,
        "group": anatomy_group(case.parameters.anatomy),
        "volume_ml": case.volume_ml,
        "simulator_edition": EDITION,
        "parameters": case.parameters.to_json(),
    }
    store(folder, case.hu.cpu().numpy(), case.subtype.cpu().numpy(), description)


def read_case(folder: Path) -> StoredCase:
    description = json.loads((folder / "case.json").read_text())
    x, y, z = description["spacing_mm"]
    hu, label = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("hu", "label"))
    return StoredCase(hu, label, (x, y, z), folder.name)


def case_folders(pool: Path) -> list[Path]:
    """Complete cases of a pool, in order."""
    return sorted(path.parent for path in pool.glob("*/case.json") if not path.parent.name.startswith("."))


def group_of(folder: Path) -> str:
    """Which head a case is of; cases of one head are never parted between training and validation."""
    description = json.loads((folder / "case.json").read_text())
    if "group" not in description and "parameters" in description:  # pools of earlier versions
        return anatomy_group(description["parameters"]["anatomy"])
    return str(description.get("group", folder.name))


def anatomy_group(anatomy: int) -> str:
    return f"anatomy {anatomy}"


def claim(pool: Path, origin: dict[str, Any]) -> None:
    """Notes what a pool is of, or makes sure that it is of that.

    Raises:
        InputError: the pool is of something else.
    """
    path = pool / POOL
    origin = json.loads(json.dumps(origin))
    if path.exists():
        found = json.loads(path.read_text())
        if found != origin:
            raise InputError(
                f"the pool {pool} is of {words(found)}; this one is of {words(origin)}: name another pool."
            )
        return
    pool.mkdir(parents=True, exist_ok=True)
    write_json(path, origin)


def words(origin: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in origin.items())


def parameters_of(seed: int, number: int, anatomies: int) -> CaseParameters:
    """What is drawn for case `number`: the same whoever simulates it."""
    return CaseParameters.draw(np.random.default_rng((seed, number)), anatomies)


def case_folder(pool: Path, number: int) -> Path:
    return pool / f"case_{number:06d}"


def simulate_pool(
    anatomies: list[Anatomy], pool: Path, cases: range, seed: int, device: torch.device | str = "cpu"
) -> Iterator[Path]:
    """Simulates the cases that are not there yet; case k of a seed is the same whoever writes it."""
    for number in cases:
        folder = case_folder(pool, number)
        if folder.exists():
            continue
        parameters = parameters_of(seed, number, len(anatomies))
        with torch.inference_mode():
            case = simulate(parameters, anatomies[parameters.anatomy], device)
        write_case(case, folder)
        yield folder
