"""Trained systems and cases to ask them about, as the experiments on finished runs want them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ICHSegmentationLib.baselines.system import Predictor
from ICHSegmentationLib.data.grids import check_same_grid
from ICHSegmentationLib.data.nnunet import LabelledScan
from ICHSegmentationLib.errors import InputError, require_at_least
from ICHSegmentationLib.evaluation.child import CATALOGUE, find_system
from ICHSegmentationLib.evaluation.pairs import Pair, find_pairs, labels_in, read_labels
from ICHSegmentationLib.image_files import read_image_file

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

PREDICTION_JOB = "prediction_job.json"


def prediction_jobs(runs: Path, names: Iterable[str]) -> list[Path]:
    """Where `ich compare` notes on which cases it judged each system."""
    return [runs / name / PREDICTION_JOB for name in names]


def trained_systems(runs: Path, names: list[str], device: torch.device) -> dict[str, Predictor]:
    """The predictors in a folder of `ich compare` (SYSTEM/run) or of runs (SYSTEM), by name.

    Args:
        runs: the folder.
        names: of the systems; empty: all that are there.
        device: to run on.

    Raises:
        InputError: a system has no trained run there.
    """
    if not runs.is_dir():
        raise InputError(f"there is no folder {runs}; one of `ich compare` is wanted.")
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
    job = folder / PREDICTION_JOB
    values: dict[str, Any] = (
        json.loads(job.read_text()) if job.exists() else {"system": folder.name, "catalogue": CATALOGUE}
    )
    return find_system(values["catalogue"], values["system"], values.get("settings", {})).load(run, device)


def labelled_pairs(data: Path) -> list[Pair]:
    """The cases of imagesTs and labelsTs, where they are there, else all of imagesTr and labelsTr.

    Of a pair the reference stands for the prediction, too.
    """
    part = "Ts" if (data / "labelsTs").is_dir() else "Tr"
    return find_pairs(data / f"labels{part}", data / f"labels{part}", data / f"images{part}")


def held_out_pairs(data: Path, jobs: Sequence[Path]) -> list[Pair]:
    """The labelled cases that none of some systems was trained on.

    Those of labelsTs; where there is none, those of labelsTr that a comparison held out, as its jobs say.

    Args:
        data: nnU-Net raw folder.
        jobs: the systems' `prediction_job.json`, which need not be there.

    Raises:
        InputError: nothing tells which cases were held out.
    """
    pairs = labelled_pairs(data)
    if (data / "labelsTs").is_dir():
        return pairs
    if not jobs or not all(job.exists() for job in jobs):
        raise InputError(
            f"{data} has no labelsTs, and nothing tells which of its cases the systems were not trained on; a data set "
            "with labelsTs, or a folder of `ich compare` on this one, is wanted."
        )
    held_out = set.intersection(*(set(json.loads(job.read_text())["scans"]) for job in jobs))
    if not (chosen := [pair for pair in pairs if pair.case in held_out]):
        raise InputError(
            f"{jobs[0].parents[1]} held none of the cases in {data}/labelsTr out of all its trainings; the data set "
            "that was compared on is wanted."
        )
    return chosen


def scans_of(data: Path, pairs: Sequence[Pair], count: int | None) -> list[LabelledScan]:
    """Reads the first `count` pairs (None: all); voxels with the data set's ignore label count as no bleed.

    Raises:
        InputError: a file cannot be used, or the count is less than 1.
    """
    if count is not None:
        require_at_least(1, {"--cases": count})
    labels = labels_in(data)
    scans = []
    for pair in pairs[:count]:
        assert pair.image is not None
        marked, grid = read_labels(pair.reference, labels.in_reference)
        volume = read_image_file(pair.image)
        check_same_grid(pair.case, volume, grid, ("the scan", "the reference"))
        if (marked == labels.ignored).any():
            logger.warning("%s: voxels with the ignore label count as no bleed", pair.case)
        bleed = np.where(marked == labels.ignored, 0, marked).astype(np.uint8)
        scans.append(LabelledScan(pair.case, volume, bleed))
    return scans
