"""nnU-Net v2's own folders within a run: raw data on the regular grid, plans, preprocessed cases.

nnU-Net is an optional package (`make nnunet`). It takes its folders from the environment and talks to standard
output; here it gets both for the time of a call only.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ICHSegmentationLib.baselines.cases import TrainingCase
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.staging import write_json
from ICHSegmentationLib.training.processes import started_together

logger = logging.getLogger(__name__)

DATASET = "Dataset001_ICH"
PLANS = "nnUNetPlans"
CONFIGURATION = "3d_fullres"
IGNORE_LABEL = 2


def require_nnunet() -> None:
    """Raises an InputError where nnU-Net is not installed, or several processes would train it."""
    try:
        import nnunetv2  # noqa: F401
    except ImportError:
        raise InputError(
            "this system needs the package nnunetv2, which is not installed; `make nnunet` installs it without CUDA."
        ) from None
    if started_together() > 1:
        count = started_together()
        raise InputError(f"torchrun started {count} processes; nnU-Net is trained by one here: leave torchrun away.")


@contextlib.contextmanager
def nnunet_folders(folder: Path, drawing_processes: int = 1) -> Iterator[None]:
    """nnU-Net's environment, with its three folders in one; what it prints goes to the log."""
    wanted = {
        "nnUNet_raw": str(folder / "raw"),
        "nnUNet_preprocessed": str(folder / "preprocessed"),
        "nnUNet_results": str(folder / "results"),
        "nnUNet_n_proc_DA": str(drawing_processes),
        "nnUNet_compile": "false",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        logger.debug("nnU-Net: %s", printed.getvalue())


@dataclass(frozen=True)
class PlanSettings:
    """How nnU-Net plans its network. JSON values only; the defaults are nnU-Net's own.

    Attributes:
        memory_gb: of the GPU that batch and patch are made for.
        features: of the top level; doubled at each.
        most_features: of the lower levels.
    """

    memory_gb: float = 8.0
    features: int = 32
    most_features: int = 320


@dataclass(frozen=True)
class Plans:
    """What a network of nnU-Net is made from: its plans, and its description of the data."""

    plans: dict[str, Any]
    dataset: dict[str, Any]


def prepare_nnunet(
    cases: Sequence[TrainingCase],
    channels: Sequence[Path],
    folds: Sequence[tuple[list[int], list[int]]],
    folder: Path,
    settings: PlanSettings,
) -> Plans:
    """Writes the cases as nnU-Net's raw data, then plans and preprocesses; what is done already is left.

    It is done anew where an image, a label or a further channel has changed since.

    Args:
        cases: with densities as their one input channel.
        channels: folders with a further channel each, `CASE.npy` [x, y, z], which is not normalised.
        folds: of each, which cases to train and to validate on.
        folder: nnU-Net's three folders come to lie here.
        settings: of the plan.
    """
    require_nnunet()
    done = folder / "prepared.json"
    names = [case.name for case in cases]
    stamp = stamp_of(cases, channels)
    if done.exists() and json.loads(done.read_text()) == stamp:
        return read_plans(folder)
    shutil.rmtree(folder, ignore_errors=True)
    raw = folder / "raw" / DATASET
    for part in ("imagesTr", "labelsTr"):
        (raw / part).mkdir(parents=True)
    for case in cases:
        further = [np.load(channel / f"{case.name}.npy") for channel in channels]
        write_raw_case(case, further, raw)
    labels = {"background": 0, "bleed": 1}
    if any(bool((np.asarray(case.label) == IGNORED).any()) for case in cases):
        labels["ignore"] = IGNORE_LABEL
    description = {
        "channel_names": {"0": "CT"} | {str(index): "noNorm" for index in range(1, 1 + len(channels))},
        "labels": labels,
        "numTraining": len(cases),
        "file_ending": ".nii.gz",
    }
    write_json(raw / "dataset.json", description)
    splits = [
        {"train": [names[index] for index in seen], "val": [names[index] for index in validated]}
        for seen, validated in folds
    ]
    write_json(folder / "preprocessed" / DATASET / "splits_final.json", splits)
    plan_and_preprocess(folder, settings)
    write_json(done, stamp)
    return read_plans(folder)


def stamp_of(cases: Sequence[TrainingCase], channels: Sequence[Path]) -> dict[str, Any]:
    """What changes when the cases do: size and time of their files, contents of their further channels."""
    sums = [
        hashlib.sha256((channel / f"{case.name}.npy").read_bytes()).hexdigest()
        for case in cases
        for channel in channels
    ]
    return {"cases": [[case.name, case.group, case.source] for case in cases], "channels": sums}


def write_raw_case(case: TrainingCase, further: list[np.ndarray], raw: Path) -> None:
    affine = np.diag([*case.spacing_mm, 1.0])
    for index, channel in enumerate([np.asarray(case.inputs[0]), *further]):
        write_image_file(raw / "imagesTr" / f"{case.name}_{index:04d}.nii.gz", channel, affine, {})
    label = np.asarray(case.label)
    label = np.where(label == IGNORED, np.uint8(IGNORE_LABEL), label)
    write_image_file(raw / "labelsTr" / f"{case.name}.nii.gz", label, affine, {})


def plan_and_preprocess(folder: Path, settings: PlanSettings) -> None:
    """nnU-Net's fingerprint, plan and preprocessing of the 3D network at full resolution."""
    with nnunet_folders(folder):
        from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
        from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprint_dataset
        from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

        processes = max(1, min(8, (os.cpu_count() or 1) // 2))
        extract_fingerprint_dataset(1, num_processes=processes, verbose=False, show_progress_bar=False)
        planner = ExperimentPlanner(1, gpu_memory_target_in_gb=settings.memory_gb)
        planner.UNet_base_num_features = settings.features
        planner.UNet_max_features_3d = settings.most_features
        plans = PlansManager(planner.plan_experiment())
        preprocessor = plans.get_configuration(CONFIGURATION).preprocessor_class(verbose=False)
        preprocessor.show_progress_bar = False
        preprocessor.run(1, CONFIGURATION, PLANS, num_processes=processes)


def read_plans(folder: Path) -> Plans:
    """The plans that `prepare_nnunet` made.

    Raises:
        InputError: it did not.
    """
    prepared = folder / "preprocessed" / DATASET
    try:
        plans, dataset = (json.loads((prepared / name).read_text()) for name in (f"{PLANS}.json", "dataset.json"))
    except OSError:
        raise InputError(f"{folder} holds no plans of nnU-Net; train the system first.") from None
    return Plans(plans, dataset)
