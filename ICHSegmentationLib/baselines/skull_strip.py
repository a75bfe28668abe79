"""The brain in a head CT, by morphology (Abramova et al., INSTANCE 2022, section 2.2).

Coil removal, then the tissue inside the skull without its border, its largest piece, and a pass over the slices from
the one of largest area: above it the largest piece of each, below it only what lies under the slice before. The
paper gives no densities or sizes; they stand here as constants.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

AIR_HU = -300.0  # darker is air
BRAIN_HU = (-10.0, 110.0)  # cerebrospinal fluid, brain and blood
BONE_HU = 150.0
THIN_MM = 4.0  # table, clothing and wires are thinner
NECK_MM = 5.0  # tissue that leaves the skull through narrower holes is cut off
GAP_MM = 8.0  # holes and folds in the brain up to this width are closed


def brain_mask(hu: np.ndarray, spacing_mm: tuple[float, float, float], z_is_up: bool) -> np.ndarray:
    """Which voxels of a head CT are brain (with its fluid and its bleeds).

    Args:
        hu: [x, y, z] on a regular grid, slices along z.
        spacing_mm: of the voxels.
        z_is_up: whether the last slice is the topmost.

    Returns:
        bool, [x, y, z]; nothing but False where there is no head.
    """
    head = head_mask(hu, spacing_mm)
    smooth = ndimage.gaussian_filter(np.where(head, hu, -1000.0), [0.7 / spacing_mm[0], 0.7 / spacing_mm[1], 0])
    inside = head & (smooth > BRAIN_HU[0]) & (smooth < BRAIN_HU[1])
    inside &= enclosed_by_bone(hu, head, spacing_mm)
    core = eroded(inside, NECK_MM / 2, spacing_mm)
    core = largest_piece(core)
    core = follow_slices(core, z_is_up)
    brain = dilated(core, NECK_MM / 2 + max(spacing_mm[:2]), spacing_mm) & inside
    return filled(closed(brain, GAP_MM / 2, spacing_mm) & (hu < BONE_HU) & head)


def head_mask(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """The largest piece of tissue, filled, without table and coil, [x, y, z]."""
    tissue = hu > AIR_HU
    thick = dilated(eroded(tissue, THIN_MM / 2, spacing_mm), THIN_MM / 2, spacing_mm)
    return filled(largest_piece(thick & tissue))


def enclosed_by_bone(hu: np.ndarray, head: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """What lies in the plane inside a ring of bone, gaps of the ring closed, [x, y, z]."""
    bone = closed((hu > BONE_HU) & head, GAP_MM / 2, spacing_mm)
    return filled(bone) & ~(hu > BONE_HU)


def follow_slices(brain: np.ndarray, z_is_up: bool) -> np.ndarray:
    """The paper's pass over the slices, from the one with the most brain."""
    upward = brain if z_is_up else brain[:, :, ::-1]
    followed = np.zeros_like(upward)
    largest = int(upward.sum(axis=(0, 1)).argmax())
    for z in range(largest, upward.shape[2]):
        followed[:, :, z] = largest_piece(upward[:, :, z])
    for z in range(largest - 1, -1, -1):
        followed[:, :, z] = upward[:, :, z] & followed[:, :, z + 1]
    return followed if z_is_up else followed[:, :, ::-1]


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """The largest connected piece of a mask of any dimension; the mask itself where it is empty."""
    pieces, count = ndimage.label(mask)
    if count == 0:
        return mask
    return pieces == np.bincount(pieces.ravel())[1:].argmax() + 1


def filled(mask: np.ndarray) -> np.ndarray:
    """A mask [x, y, z] with the holes of each slice filled."""
    return np.stack([ndimage.binary_fill_holes(mask[:, :, z]) for z in range(mask.shape[2])], axis=2)


def dilated(mask: np.ndarray, radius_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """A mask [x, y, z] grown in the plane."""
    return distance_mm(~mask, spacing_mm) <= radius_mm


def eroded(mask: np.ndarray, radius_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """A mask [x, y, z] shrunk in the plane."""
    return distance_mm(mask, spacing_mm) > radius_mm


def closed(mask: np.ndarray, radius_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """A mask [x, y, z] without its in-plane gaps up to twice the radius."""
    edge = [int(radius_mm / step) + 2 for step in spacing_mm[:2]]
    padded = np.pad(mask, ((edge[0], edge[0]), (edge[1], edge[1]), (0, 0)))
    return eroded(dilated(padded, radius_mm, spacing_mm), radius_mm, spacing_mm)[edge[0] : -edge[0], edge[1] : -edge[1]]


def distance_mm(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """In its plane, from each voxel of a mask [x, y, z] to the nearest outside of it; 0 outside."""
    distance = np.full(mask.shape, np.inf, np.float32)
    for z in range(mask.shape[2]):
        if not mask[:, :, z].all():
            distance[:, :, z] = ndimage.distance_transform_edt(mask[:, :, z], sampling=spacing_mm[:2])
    return distance
