"""Which cases a network is trained on, and which it is validated on; cases of one head are never parted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

FOLDS = 999  # tells the seed of the folds from those of members

Split = tuple[list[int], list[int]]  # indices of the cases that are trained on, and of those validated on


def random_subset(groups: Sequence[str], member: int, seed: int, share: float) -> Split:
    """A share of the groups of each member's own, rounded; the others to validate on.

    Args:
        groups: the group of each case.
        member, seed: decide which.
        share: of the groups.
    """
    names = list(dict.fromkeys(groups))
    order = np.random.default_rng((seed, member)).permutation(len(names))
    count = min(len(names) - 1, max(1, round(share * len(names))))
    return parted(groups, {names[index] for index in order[count:]})


def fold(groups: Sequence[str], member: int, seed: int, folds: int) -> Split:
    """Fold `member` of a cross-validation: every group is validated on in one of the folds.

    There are as many folds as groups at most; members beyond their number take them over again.
    """
    names = list(dict.fromkeys(groups))
    order = np.random.default_rng((seed, FOLDS)).permutation(len(names))
    count = min(folds, len(names))
    return parted(groups, {names[index] for index in order[member % folds % count :: count]})


def parted(groups: Sequence[str], held_out: set[str]) -> Split:
    seen = [index for index, group in enumerate(groups) if group not in held_out]
    return seen, [index for index, group in enumerate(groups) if group in held_out]
