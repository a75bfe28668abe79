"""Which cases a member trains on and which it is validated on; cases that are still being simulated included."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ICHSegmentationLib.data.splits import Split, member_split, split_of_file
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.hard_places import HardPlaces
from ICHSegmentationLib.training.pool import (
    StoredCase,
    anatomy_group,
    case_folder,
    group_of,
    parameters_of,
    read_case,
)

FIRST_CASES = 8  # of a pool that is being simulated: so many are trained on from the start,
BATCHES_PER_NEW_CASE = 25  # and one more after so many batches


def nothing() -> None:
    """Nobody is at work whose failure would matter."""


@dataclass(frozen=True)
class TrainingCases:
    """The cases of one member.

    Attributes:
        training, validation: folders of cases.
        growing: the cases are being simulated. Then the first few are drawn from, and one more after every so many
            batches, however fast or slow they come: a seed gives the same result on any machine. A case that is
            drawn before it is there is waited for.
        check: called while waiting; raises if nobody is at work on the cases any more.
        hard: places in the training cases where an earlier network was wrong; None: nobody looked.
    """

    training: tuple[Path, ...]
    validation: tuple[Path, ...] = ()
    growing: bool = False
    check: Callable[[], None] = nothing
    hard: HardPlaces | None = None

    def drawn(self, number: int, rng: np.random.Generator) -> StoredCase:
        """The case that batch `number` is taken from."""
        count = len(self.training)
        if self.growing:
            count = min(count, FIRST_CASES + number // BATCHES_PER_NEW_CASE)
        return self.read(self.training[int(rng.integers(count))])

    def drawn_hard(self, rng: np.random.Generator) -> tuple[StoredCase, tuple[int, ...]]:
        """A case and places in it where an earlier network was wrong; there must be `hard` ones."""
        assert self.hard is not None
        name, places = self.hard.drawn(rng)
        return self.read(self.folders[name]), places

    @cached_property
    def folders(self) -> dict[str, Path]:
        return {folder.name: folder for folder in self.training}

    def with_hard(self, hard: HardPlaces) -> TrainingCases:
        """The same, with the places that lie in the training cases.

        Raises:
            InputError: none does.
        """
        own = hard.among(self.folders)
        if not own.cases:
            raise InputError("the hard places are of none of the cases that this member is trained on.")
        return dataclasses.replace(self, hard=own)

    def read(self, folder: Path) -> StoredCase:
        """A case, once it is there."""
        while not (folder / "case.json").exists():
            self.check()
            time.sleep(0.05)
        return read_case(folder)


def cases_of(folders: list[Path], share: float, seed: int, member: int) -> TrainingCases:
    """A member's random share of the heads; it is validated on the others."""
    named = {folder.name: folder for folder in folders}
    return picked(named, member_split({name: group_of(path) for name, path in named.items()}, share, seed, member))


def cases_of_fold(folders: list[Path], splits: Path, fold: int) -> TrainingCases:
    """The two sides of a fold of nnU-Net's `splits_final.json`."""
    named = {folder.name: folder for folder in folders}
    return picked(named, split_of_file(splits, {name: group_of(path) for name, path in named.items()}, fold))


def picked(folders: dict[str, Path], split: Split) -> TrainingCases:
    return TrainingCases(
        tuple(folders[name] for name in split.training), tuple(folders[name] for name in split.validation)
    )


def cases_to_come(
    pool: Path, count: int, simulation_seed: int, anatomies: int, share: float, seed: int, member: int
) -> TrainingCases:
    """The same of a pool of `count` cases that is being simulated, from what the simulator will draw for each."""
    folders = [case_folder(pool, number) for number in range(count)]
    drawn = [anatomy_group(parameters_of(simulation_seed, number, anatomies).anatomy) for number in range(count)]
    group = {folder.name: anatomy for folder, anatomy in zip(folders, drawn, strict=True)}
    cases = picked({folder.name: folder for folder in folders}, member_split(group, share, seed, member))
    return TrainingCases(cases.training, cases.validation, growing=True)
