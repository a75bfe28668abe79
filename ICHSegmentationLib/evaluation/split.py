"""Which cases of an nnU-Net raw data set systems are trained on, and which they are judged on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ICHSegmentationLib.data.nnunet import CHANNEL, RawCase, RawDataset, files_of, read_description, read_raw
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.staging import write_json


@dataclass(frozen=True)
class HeldOut:
    """A case to judge on."""

    case: str
    image: Path
    reference: Path


@dataclass(frozen=True)
class Split:
    """One comparison's cases.

    Attributes:
        training_data: nnU-Net raw folder whose training cases are the ones to train on.
        training: their names.
        tests: the cases to judge on.
        ignored: label of voxels that count for nothing, if the data set has one.
    """

    training_data: Path
    training: tuple[str, ...]
    tests: tuple[HeldOut, ...]
    ignored: int | None


def split_of(data: Path, out: Path, test_share: float, seed: int) -> Split:
    """The data set's own test cases where labelsTs is there; else a share of its cases, drawn by the seed.

    In the second case the rest becomes a data set of its own in `out/training_data`, of links to the files.

    Raises:
        InputError: the data set cannot be used, or leaves nothing to train or to judge on.
    """
    dataset = read_raw(data)
    names = [case.name for case in dataset.cases]
    if (data / "labelsTs").is_dir():
        return Split(data, tuple(names), own_tests(data), dataset.ignored)
    count = round(test_share * len(names))
    if not 1 <= count < len(names):
        raise InputError(
            f"{data} has {len(names)} cases and no labelsTs; a test share of {test_share:g} leaves {count} to judge on "
            f"and {len(names) - count} to train on, and one of each is wanted."
        )
    drawn = set(np.random.default_rng(seed).permutation(len(names))[:count].tolist())
    tests = tuple(
        HeldOut(case.name, case.image, case.label) for index, case in enumerate(dataset.cases) if index in drawn
    )
    training = [case for index, case in enumerate(dataset.cases) if index not in drawn]
    subset = link_cases(dataset, training, out / "training_data")
    return Split(subset, tuple(case.name for case in training), tests, dataset.ignored)


def own_tests(data: Path) -> tuple[HeldOut, ...]:
    """The cases of imagesTs and labelsTs."""
    ending = read_description(data)["file_ending"]
    images, labels = files_of(data / "imagesTs", ending), files_of(data / "labelsTs", ending)
    if not labels:
        raise InputError(f"{data}/labelsTs holds no labels to judge by.")
    if missing := sorted(name for name in labels if name + CHANNEL not in images):
        raise InputError(
            f"{missing[0]} has a label in {data}/labelsTs but no {missing[0]}{CHANNEL}{ending} in imagesTs."
        )
    return tuple(HeldOut(name, images[name + CHANNEL], labels[name]) for name in sorted(labels))


def link_cases(dataset: RawDataset, cases: Sequence[RawCase], folder: Path) -> Path:
    """A raw data set of some of the cases, whose files are links (copies where links cannot be made); its folder.

    Raises:
        InputError: the folder holds other cases.
    """
    names = sorted(case.name for case in cases)
    if (folder / "dataset.json").exists():
        if [case.name for case in read_raw(folder).cases] != names:
            raise InputError(f"{folder} holds other cases than are wanted now; remove it or name another folder.")
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    for case in cases:
        for file in (case.image, case.label):
            link = folder / file.parent.name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(file.resolve(), link)
    description = json.loads((dataset.folder / "dataset.json").read_text())
    write_json(folder / "dataset.json", {**description, "numTraining": len(cases)})
    return folder


def link_or_copy(file: Path, link: Path) -> None:
    try:
        os.symlink(file, link)
    except OSError:  # Windows asks for a privilege
        shutil.copyfile(file, link)
