"""Trained systems and cases to ask them about, as the experiments on finished runs want them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ICHSegmentationLib.baselines.system import Predictor
from ICHSegmentationLib.data.nnunet import LabelledScan, labels_of, read_description
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.child import CATALOGUE, find_system
from ICHSegmentationLib.evaluation.pairs import find_pairs, read_labels
from ICHSegmentationLib.image_files import read_image_file

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


def trained_systems(runs: Path, names: list[str], device: torch.device) -> dict[str, Predictor]:
    """The predictors in a folder of `ich compare` (SYSTEM/run) or of runs (SYSTEM), by name.

    Args:
        runs: the folder.
        names: of the systems; empty: all that are there.
        device: to run on.

    Raises:
        InputError: a system has no trained run there.
    """
    there = {folder.name: begun_run(folder) for folder in sorted(runs.iterdir()) if folder.is_dir()}
    there = {name: run for name, run in there.items() if run is not None}
    if missing := [name for name in names if name not in there]:
        raise InputError(f"{runs} holds no run of {missing[0]}; it holds {', '.join(there) or 'none'}.")
    if not there:
        raise InputError(f"{runs} holds no runs; a folder of `ich compare` is wanted.")
    return {name: load(runs / name, run, device) for name, run in there.items() if run and name in (names or there)}


def begun_run(folder: Path) -> Path | None:
    for run in (folder / "run", folder):
        if (run / "run.json").exists():
            return run
    return None


def load(folder: Path, run: Path, device: torch.device) -> Predictor:
    job = folder / "prediction_job.json"
    values: dict[str, Any] = (
        json.loads(job.read_text()) if job.exists() else {"system": folder.name, "catalogue": CATALOGUE}
    )
    return find_system(values["catalogue"], values["system"], values.get("settings", {})).load(run, device)


def held_out_scans(data: Path, count: int | None) -> list[LabelledScan]:
    """The cases of imagesTs and labelsTs, or where there are none those of imagesTr and labelsTr; the first `count`.

    Voxels with the data set's ignore label count as no bleed here.
    """
    _, ignored = labels_of(read_description(data), data)
    part = "Ts" if (data / "labelsTs").is_dir() else "Tr"
    if part == "Tr":
        logger.warning("%s has no labelsTs: what was trained on its cases is judged on them too, and too well", data)
    scans = []
    for pair in find_pairs(data / f"labels{part}", data / f"labels{part}", data / f"images{part}")[:count]:
        assert pair.image is not None
        labels, _ = read_labels(pair.reference, ignored)
        if (labels == ignored).any():
            logger.warning("%s: voxels with the ignore label count as no bleed", pair.case)
        bleed = np.where(labels == ignored, 0, labels).astype(np.uint8)
        scans.append(LabelledScan(pair.case, read_image_file(pair.image), bleed))
    return scans
