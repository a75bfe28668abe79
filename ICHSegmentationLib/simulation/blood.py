"""Blood: the kinds of hemorrhage, and how dense one is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np


class Subtype(IntEnum):
    """Kinds of intracranial hemorrhage; the labels of a simulated case."""

    IPH = 1  # intraparenchymal, contusions included
    IVH = 2  # intraventricular
    SAH = 3  # subarachnoid
    SDH = 4  # subdural
    EDH = 5  # epidural


@dataclass(frozen=True)
class Blood:
    """Density of one bleed."""

    hu: float
    texture_hu: float
    unclotted_hu: float  # darker swirls
    level: float  # share of the bleed, from the front, that has settled out and is darker; 0: none
    level_hu: float
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator, low: float, high: float) -> Blood:
        return cls(
            hu=float(rng.uniform(low, high)),
            texture_hu=float(rng.uniform(0, 5)),
            unclotted_hu=float(rng.uniform(8, 25)) if rng.random() < 0.2 else 0.0,
            level=float(rng.uniform(0.2, 0.7)) if rng.random() < 0.1 else 0.0,
            level_hu=float(rng.uniform(8, 25)),
            seed=int(rng.integers(2**31)),
        )
