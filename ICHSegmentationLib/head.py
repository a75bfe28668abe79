"""Where in a scan the head and its cranial cavity lie. Plain morphology on Hounsfield units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

TISSUE_HU = -300.0  # darker is air
BONE_HU = 250.0
COARSE_MM = 2.0  # in-plane voxel size at which the head is looked for
SUTURE_MM = 6.0  # gaps in bone up to this width are closed


@dataclass(frozen=True)
class Head:
    """The head on a regular grid.

    Attributes:
        box: slices of x, y, z that hold it, with a margin in the plane.
        cavity_cm2: area of each slice that bone encloses, an estimate of the cranial cavity (too low at the base).
        cavity_ml: its volume.
    """

    box: tuple[slice, slice, slice]
    cavity_cm2: np.ndarray
    cavity_ml: float


def find_head(hu: np.ndarray, spacing_mm: tuple[float, float, float], margin_mm: float = 4.0) -> Head:
    """Finds the largest piece of tissue in hu [x, y, z] and the cavity its bone encloses."""
    step_x, step_y = (max(1, round(COARSE_MM / step)) for step in spacing_mm[:2])
    coarse = hu[step_x // 2 :: step_x, step_y // 2 :: step_y]
    spacing = (spacing_mm[0] * step_x, spacing_mm[1] * step_y, spacing_mm[2])
    whole = (slice(0, hu.shape[0]), slice(0, hu.shape[1]), slice(0, hu.shape[2]))

    tissue = coarse > TISSUE_HU
    in_plane = ndimage.generate_binary_structure(2, 1)[:, :, None]
    tissue = ndimage.binary_opening(tissue, in_plane, iterations=2)  # table and clothing are thin
    parts, count = ndimage.label(tissue)
    if count == 0:
        return Head(whole, np.zeros(hu.shape[2]), 0.0)
    head = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    box = []
    for axis, (step, size) in enumerate(zip((step_x, step_y, 1), hu.shape, strict=True)):
        used = np.flatnonzero(head.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = 0 if axis == 2 else int(np.ceil(margin_mm / spacing_mm[axis])) + 2 * step
        low, high = int(used[0]) * step - margin, (int(used[-1]) + 1) * step + margin
        box.append(slice(max(0, low), min(size, high)))
    box[2] = slice(0, hu.shape[2])

    bone = (coarse > BONE_HU) & ndimage.binary_dilation(head, in_plane, iterations=3)
    reach = max(1, round(SUTURE_MM / 2 / spacing[0]))
    pad = ((reach + 1, reach + 1), (reach + 1, reach + 1), (0, 0))
    closed = ndimage.binary_closing(np.pad(bone, pad), in_plane, iterations=reach)
    enclosed = np.stack([ndimage.binary_fill_holes(closed[:, :, z]) for z in range(closed.shape[2])], axis=-1)
    cavity = (enclosed & ~closed)[reach + 1 : -reach - 1, reach + 1 : -reach - 1]
    cavity = ndimage.binary_opening(cavity & (coarse > -50), in_plane, iterations=2)  # not orbits and sinuses
    parts, count = ndimage.label(cavity)
    area_cm2 = np.zeros(hu.shape[2])
    if count:
        cavity = parts == np.bincount(parts.ravel())[1:].argmax() + 1
        area_cm2 = cavity.sum(axis=(0, 1)) * spacing[0] * spacing[1] / 100
    x, y, z = box
    return Head((x, y, z), area_cm2, float(area_cm2.sum() * spacing[2] / 10))
