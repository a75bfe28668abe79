"""Mining: what a trained network misses and what it wrongly calls bleed on the cases that it was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ICHSegmentationLib.ensemble import Ensemble
from ICHSegmentationLib.inference import segment
from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.training.bundling import bundle_info
from ICHSegmentationLib.training.hard_places import CasePlaces
from ICHSegmentationLib.training.pool import StoredCase
from ICHSegmentationLib.training.sources import Source
from ICHSegmentationLib.volume import as_volume

MISSED_BELOW, FALSE_FROM = 0.4, 0.5  # probability
KEPT = 80  # places of a case and a kind, at most


def as_ensemble(sources: Sequence[Source]) -> Ensemble:
    """The networks of runs or of a bundle, to segment with.

    Raises:
        InputError: they are of different networks.
    """
    info = bundle_info(sources, "mined", "", FALSE_FROM, {})
    return Ensemble(info, "", [source.built() for source in sources])


def places_of(case: StoredCase, probability: np.ndarray, rng: np.random.Generator) -> CasePlaces:
    """Where a probability [x, y, z] is wrong on a case."""
    label = np.asarray(case.label)
    missed = np.flatnonzero((label > 0) & (label != IGNORED) & (probability < MISSED_BELOW))
    false = np.flatnonzero((label == 0) & (probability >= FALSE_FROM))
    voxel_ml = float(np.prod(case.spacing_mm)) / 1000
    kept = [
        tuple(rng.choice(found, min(KEPT, len(found)), replace=False).tolist()) if len(found) else ()
        for found in (missed, false)
    ]
    return CasePlaces(len(missed) * voxel_ml, len(false) * voxel_ml, kept[0], kept[1])


def mine(
    cases: Iterable[StoredCase], ensemble: Ensemble, quality: str = "fast", device: str = "auto"
) -> Iterator[tuple[str, CasePlaces]]:
    """Name and errors of each case, one after the other."""
    for number, case in enumerate(cases):
        volume = as_volume(np.asarray(case.hu, np.float32), case.spacing_mm)
        probability = segment(volume, ensemble, quality, device).probability
        yield case.name, places_of(case, probability, np.random.default_rng(number))
