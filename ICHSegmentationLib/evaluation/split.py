"""Which cases of an nnU-Net raw data set systems are trained on, and which they are judged on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ICHSegmentationLib.data.nnunet import (
    CHANNEL,
    GROUPS,
    RawCase,
    RawDataset,
    files_of,
    groups_of,
    read_description,
    read_raw,
)
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.pairs import LabelNames, labels_in
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
        labels: what the labels of the references mean.
    """

    training_data: Path
    training: tuple[str, ...]
    tests: tuple[HeldOut, ...]
    labels: LabelNames


def split_of(data: Path, out: Path, test_share: float, seed: int) -> Split:
    """The data set's own test cases where labelsTs is there; else a share of its cases, drawn by the seed.

    In the second case the rest becomes a data set of its own in `out/training_data`, of links to the files. Cases of
    one group (`groups.json`) are drawn together.

    Raises:
        InputError: the data set cannot be used, leaves nothing to train or to judge on, or its own test cases are of
            heads that are trained on.
    """
    dataset, labels = read_raw(data), labels_in(data)
    if (data / "labelsTs").is_dir():
        tests = own_tests(data)
        refuse_parted_groups(dataset, tests)
        return Split(data, tuple(case.name for case in dataset.cases), tests, labels)
    drawn = drawn_groups(dataset, test_share, seed)
    tests = tuple(HeldOut(case.name, case.image, case.label) for case in dataset.cases if case.group in drawn)
    training = [case for case in dataset.cases if case.group not in drawn]
    if not tests or not training:
        heads = len({case.group for case in dataset.cases})
        raise InputError(
            f"{data} has {len(dataset.cases)} cases and no labelsTs; a test share of {test_share:g} leaves "
            f"{len(tests)} to judge on and {len(training)} to train on, and one of each is wanted (heads: {heads})."
        )
    subset = link_cases(dataset, training, out / "training_data")
    return Split(subset, tuple(case.name for case in training), tests, labels)


def drawn_groups(dataset: RawDataset, test_share: float, seed: int) -> set[str]:
    """Groups drawn one after the other until they hold the share of the cases.

    Raises:
        InputError: the share is no number from 0 to 1.
    """
    if not 0 <= test_share <= 1:
        raise InputError(f"the share of the cases to judge on must lie between 0 and 1; found {test_share:g}.")
    groups = sorted({case.group for case in dataset.cases})
    wanted, held, drawn = round(test_share * len(dataset.cases)), 0, set()
    for index in np.random.default_rng(seed).permutation(len(groups)).tolist():
        if held >= wanted:
            break
        drawn.add(groups[index])
        held += sum(case.group == groups[index] for case in dataset.cases)
    return drawn


def refuse_parted_groups(dataset: RawDataset, tests: Sequence[HeldOut]) -> None:
    """Raises an InputError if a case to judge on is of the same head as one to train on."""
    groups = groups_of(dataset.folder)
    for test in tests:
        group = groups.get(test.case, test.case)
        same_head = [case.name for case in dataset.cases if case.group == group]
        if same_head and (test.case in groups or same_head != [test.case]):  # equal names alone may be of two heads
            raise InputError(
                f"{test.case} in {dataset.folder}/labelsTs and {same_head[0]} in labelsTr are of one head ({group}); "
                "cases of a head must lie on one side."
            )


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

    Its `groups.json` tells which cases are of one head, as that of the whole data set does.

    Raises:
        InputError: the folder holds other cases, or other groups of them.
    """
    wanted = sorted((case.name, case.group) for case in cases)
    if (folder / "dataset.json").exists():
        if [(case.name, case.group) for case in read_raw(folder).cases] != wanted:
            raise InputError(
                f"{folder} holds other cases than are wanted now, or other groups; remove it or name another one."
            )
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    for case in cases:
        for file in (case.image, case.label):
            link = folder / file.parent.name / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(file.resolve(), link)
    if groups := {case.name: case.group for case in cases if case.group != case.name}:
        write_json(folder / GROUPS, groups)
    description = json.loads((dataset.folder / "dataset.json").read_text())
    write_json(folder / "dataset.json", {**description, "numTraining": len(cases)})
    return folder


def link_or_copy(file: Path, link: Path) -> None:
    try:
        os.symlink(file, link)
    except OSError:  # Windows asks for a privilege
        shutil.copyfile(file, link)
