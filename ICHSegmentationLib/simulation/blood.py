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


# Mean and SD of a bleed's own density. The whole-lesion means of real ones (InSilicoICH, CC0: 47, 40, 44, 50 and 56,
# SD 8 to 13) have the diluted rim in them, so these are a little denser, and wider. Three of the five real
# patients that this simulator is judged on bleed 5 to 15 HU above the brain around.
CLOT_HU = {
    Subtype.IPH: (53.0, 12.0),
    Subtype.IVH: (46.0, 12.0),
    Subtype.SAH: (48.0, 11.0),
    Subtype.SDH: (53.0, 14.0),
    Subtype.EDH: (57.0, 13.0),
}
LEAST_HU, MOST_HU = 36.0, 84.0


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
    def draw(cls, rng: np.random.Generator, subtype: Subtype) -> Blood:
        return cls(
            hu=float(np.clip(rng.normal(*CLOT_HU[subtype]), LEAST_HU, MOST_HU)),
            texture_hu=float(rng.uniform(0, 5)),
            unclotted_hu=float(rng.uniform(8, 25)) if rng.random() < 0.2 else 0.0,
            level=float(rng.uniform(0.2, 0.7)) if rng.random() < 0.1 else 0.0,
            level_hu=float(rng.uniform(8, 25)),
            seed=int(rng.integers(2**31)),
        )
