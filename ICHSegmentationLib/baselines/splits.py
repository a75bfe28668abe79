"""Which cases a network is trained on, and which it is validated on."""

from __future__ import annotations

import numpy as np

FOLDS = 999  # tells the seed of the folds from those of members

Split = tuple[list[int], list[int]]  # trained on, validated on


def random_subset(cases: int, member: int, seed: int, share: float) -> Split:
    """A share of the cases of each member's own, rounded; the others to validate on."""
    order = np.random.default_rng((seed, member)).permutation(cases)
    count = min(cases - 1, max(1, round(share * cases)))
    return sorted(order[:count].tolist()), sorted(order[count:].tolist())


def fold(cases: int, member: int, seed: int, folds: int) -> Split:
    """Fold `member` of a cross-validation: every case is validated on in one fold. As many folds as cases at most."""
    order = np.random.default_rng((seed, FOLDS)).permutation(cases)
    held_out = order[member % min(folds, cases) :: min(folds, cases)]
    return sorted(set(range(cases)) - set(held_out.tolist())), sorted(held_out.tolist())
