"""A head made from nothing but formulas: for the demo and the tests, and as one more head to train on.

It is no atlas: ellipsoids for skin, skull, brain, cerebellum, brain stem and nuclei, bent tubes for the ventricles,
noise for gyri and for the outlines. What it shares with a real head is what the measurement rests on: the layers,
their densities, the sizes.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ICHSegmentationLib.simulation.anatomy import Anatomy, anatomy_from_labels
from ICHSegmentationLib.simulation.fields import axis_coordinates_mm, length, smooth_noise

SIZE_MM = (180.0, 220.0, 230.0)


def procedural_labels(seed: int, spacing_mm: float) -> np.ndarray:
    """A label map [x, y, z] (RAS) in the codes of `anatomy.LABELS_OF_TISSUE`."""
    rng = np.random.default_rng(seed)
    size = tuple(math.ceil(side / spacing_mm) for side in SIZE_MM)
    spacing = (spacing_mm, spacing_mm, spacing_mm)
    cpu = torch.device("cpu")
    x, y, z = axis_coordinates_mm(size, spacing, cpu)
    z = z - 15  # the cranial vault lies in the upper part; below it neck and face
    seeds = iter(rng.integers(2**31, size=16).tolist())
    bumps = smooth_noise(next(seeds), size, spacing, 45, cpu) * 0.012

    def ellipsoid(centre: tuple[float, float, float], half_axes: tuple[float, float, float]) -> torch.Tensor:
        """1 on the surface, less inside."""
        return length(((x - centre[0]) / half_axes[0], (y - centre[1]) / half_axes[1], (z - centre[2]) / half_axes[2]))

    head = ellipsoid((0, 0, 0), (76, 95, 82)) + bumps
    neck = torch.maximum(ellipsoid((0, -20, z.min().item()), (58, 62, 110)), (z > -20).float() * 9)
    face = ellipsoid((0, 45, -62), (55, 45, 60))
    outside = torch.minimum(torch.minimum(head, neck), face)

    labels = torch.zeros(size, dtype=torch.int16)

    def put(where: torch.Tensor, label: int) -> None:
        labels[where.expand(size)] = label

    put(outside < 1.0, 511)
    put(outside < 0.965, 507)
    vault = ellipsoid((0, 0, 2), (70, 88, 75)) + bumps
    put((vault < 1.0) & (z > -66), 515)
    put((vault < 0.975) & (vault > 0.945) & (z > -10), 516)
    inner = vault < 0.915
    base = z > -62 + 14 * ((y + 30) / 60).clamp(-1, 1.5) + 6 * torch.cos(x / 14) * (y > 0)  # fossae, front higher
    cavity = inner & base
    put(cavity, 24)

    folds = smooth_noise(next(seeds), size, spacing, 11, cpu)
    brain = ellipsoid((0, 0, 4), (62, 79, 66)) + bumps
    sulcus = (folds.abs() < 0.22) & (brain > 0.76)
    temporal = torch.minimum(ellipsoid((-33, 8, -38), (25, 42, 24)), ellipsoid((33, 8, -38), (25, 42, 24)))
    cerebrum = (brain < 0.985) & (z > -30 + 8 * (y < -25).float()) | (temporal < 1)
    cerebrum = cerebrum & cavity & (x.abs() > 1.2)
    cerebellum = (ellipsoid((0, -48, -42), (48, 32, 22)) < 1) & cavity & (z < -25)
    stem = (ellipsoid((0, -18, -48), (13, 13, 34)) < 1) & inner
    left, right = x < 0, x >= 0
    cortex_depth = brain + 0.02 * smooth_noise(next(seeds), size, spacing, 14, cpu)
    for side, cortex, white in ((left, 3, 2), (right, 42, 41)):
        put(cerebrum & side, white)
        put(cerebrum & side & ((cortex_depth > 0.90) | ((folds.abs() < 0.55) & (brain > 0.72))), cortex)
    put(cerebrum & sulcus, 24)
    for side, grey, white in ((left, 8, 7), (right, 47, 46)):
        put(cerebellum & side, grey)
        put(cerebellum & side & (ellipsoid((0, -46, -42), (34, 18, 10)) < 1), white)
    put(stem, 16)
    for sign, thalamus, putamen, caudate, lateral in ((-1, 10, 12, 11, 4), (1, 49, 51, 50, 43)):
        put(ellipsoid((sign * 11, -12, 4), (8, 14, 9)) < 1, thalamus)
        put(ellipsoid((sign * 26, 6, 2), (6, 16, 11)) < 1, putamen)
        put(ellipsoid((sign * 14, 22, 8), (5, 10, 10)) < 1, caudate)
        bend = 6 + 0.004 * (y - 10) ** 2  # the horns part towards front and back
        tube = ((x - sign * bend) / 5.5) ** 2 + ((z - 19 + 0.0035 * (y + 5) ** 2) / 7.5) ** 2
        put((tube < 1) & (y > -48) & (y < 40) & cerebrum, lateral)
    put((x.abs() < 2.6) & (ellipsoid((0, -8, 2), (4, 14, 11)) < 1), 14)
    put(ellipsoid((0, -34, -42), (6, 5, 9)) < 1, 15)
    put(inner & (x.abs() < 2.6) & (vault > 0.86) & ((z > 5) | (y < -60)), 514)  # superior sagittal sinus
    for sign in (-1, 1):
        put(ellipsoid((sign * 31, 72, -44), (13, 13, 13)) < 1, 506)
    put((ellipsoid((0, 62, -58), (14, 24, 22)) < 1) & (folds > -0.2), 0)
    return labels.numpy()


def procedural_anatomy(seed: int = 0, spacing_mm: float = 1.5) -> Anatomy:
    """The head of `procedural_labels`, mended and measured; a few seconds at 1.5 mm."""
    return anatomy_from_labels(procedural_labels(seed, spacing_mm), spacing_mm)
