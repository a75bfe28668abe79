"""Replay: a simulated case again, from what was drawn for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.simulation.case import EDITION, CaseParameters, simulate
from ICHSegmentationLib.simulation.label_maps import label_map_files, load_anatomy
from ICHSegmentationLib.training.pool import POOL, read_case, write_case


def replay(case_json: Path, label_maps: Path, out: Path) -> Path:
    """Simulates the case again into a folder of its name in `out`; returns the folder.

    Raises:
        InputError: the file describes no simulated case, or one of another version or of other label maps, or the
            folder is there already.
    """
    parameters = read_parameters(case_json)
    files = label_map_files(label_maps)
    check_label_maps(case_json, [file.name for file in files])
    if not 0 <= parameters.anatomy < len(files):
        raise InputError(
            f"{case_json} is of head number {parameters.anatomy}, counted from 0; {label_maps} holds {len(files)} "
            "label maps. The folder that it was simulated from is wanted."
        )
    folder = out / case_json.resolve().parent.name
    if folder.exists():
        raise InputError(f"{folder} is there already; name another folder for the replay.")
    anatomy = load_anatomy(files[parameters.anatomy], cache=out / "anatomies")
    with torch.inference_mode():
        case = simulate(parameters, anatomy)
    write_case(case, folder)
    return folder


def read_parameters(case_json: Path) -> CaseParameters:
    """What was drawn for a simulated case.

    Raises:
        InputError: the file is no `case.json` of a simulated case, or of another version.
    """
    try:
        values = json.loads(case_json.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{case_json} cannot be read as the case.json of a simulated case: {error}.") from None
    if not isinstance(values, dict) or "parameters" not in values:
        raise InputError(f"{case_json} has no entry 'parameters'; the case.json of a case of `ich simulate` is wanted.")
    edition = values.get("simulator_edition", "an earlier one")
    if edition != EDITION:
        raise InputError(
            f"{case_json} was simulated by another edition of the simulator ({edition}; this is {EDITION}), which "
            "makes other voxels of the same parameters; the version that simulated it is wanted."
        )
    return CaseParameters.from_json(values["parameters"])


def check_label_maps(case_json: Path, names: list[str]) -> None:
    """Raises if the pool that the case lies in was simulated from other label maps."""
    pool = case_json.resolve().parent.parent / POOL
    if not pool.exists():
        return
    told = json.loads(pool.read_text()).get("label maps")
    if told is not None and told != names:
        raise InputError(f"{case_json} was simulated from the label maps {', '.join(told)}; found {', '.join(names)}.")


def equals(case: Path, other: Path) -> bool:
    """Whether two stored cases have the same voxels."""
    one, two = read_case(case), read_case(other)
    return np.array_equal(one.hu, two.hu) and np.array_equal(one.label, two.label)
