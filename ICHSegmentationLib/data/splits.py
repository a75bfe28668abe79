"""Who trains on what: each member its own share of the cases, and validation on the rest of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ICHSegmentationLib.errors import InputError


@dataclass(frozen=True)
class Split:
    """Names of cases: those to train on, and those that are only looked at."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def member_split(group_of: Mapping[str, str], share: float, seed: int, member: int) -> Split:
    """A random share of the groups for training (Geiger et al. 2022: 80 of 100 cases), the others for validation.

    Args:
        group_of: name of a case -> its group; cases of one head are never parted.
        share: of the groups, above 0 and at most 1 (then nothing is left to validate on).
        seed, member: decide which.
    """
    if not 0 < share <= 1:
        raise InputError(f"the share of cases a member sees must lie above 0 and be at most 1; found {share}.")
    groups = sorted(set(group_of.values()))
    order = np.random.default_rng((seed, member)).permutation(len(groups))
    chosen = {groups[index] for index in order[: max(1, round(share * len(groups)))]}
    names = sorted(group_of)
    return Split(
        tuple(name for name in names if group_of[name] in chosen),
        tuple(name for name in names if group_of[name] not in chosen),
    )


def split_of_file(path: Path, group_of: Mapping[str, str], fold: int) -> Split:
    """A fold of nnU-Net's `splits_final.json`, a list of {"train": [case, ...], "val": [case, ...]}.

    Args:
        path: of the file.
        group_of: name of every case -> its group; a fold that parts a group is refused.
        fold: its number, from 0.

    Raises:
        InputError: it is no such list, has no such fold, names cases that are not there or on both sides, or has
            cases of one group on both.
    """
    try:
        folds = json.loads(path.read_text())
        chosen = [(tuple(map(str, one["train"])), tuple(map(str, one["val"]))) for one in folds]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(
            f'{path} is no splits_final.json: a list of {{"train": [...], "val": [...]}} is wanted.'
        ) from None
    if not 0 <= fold < len(chosen):
        raise InputError(f"{path} has {len(chosen)} folds, 0 to {len(chosen) - 1}; fold {fold} is not among them.")
    training, validation = chosen[fold]
    if not training:
        raise InputError(f"fold {fold} of {path} has no cases to train on.")
    if unknown := sorted((set(training) | set(validation)) - set(group_of)):
        raise InputError(f"fold {fold} of {path} names {unknown[0]}, which is no case of the data set.")
    if both := sorted(set(training) & set(validation)):
        raise InputError(f"fold {fold} of {path} has {both[0]} both to train on and to validate on.")
    seen = {group_of[name]: name for name in training}
    if parted := [name for name in validation if group_of[name] in seen]:
        raise InputError(
            f"fold {fold} of {path} trains on {seen[group_of[parted[0]]]} and validates on {parted[0]}, which are of "
            f"one head ({group_of[parted[0]]}); cases of a head must lie on one side."
        )
    return Split(training, validation)
