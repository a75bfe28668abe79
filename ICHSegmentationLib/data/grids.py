"""Whether two volumes lie on the same grid, and grids in words."""

from __future__ import annotations

import numpy as np

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume

CORNER_TOLERANCE = 0.02  # of the smallest voxel side; files round their geometry


def check_same_grid(case: str, first: Volume, second: Volume, names: tuple[str, str]) -> None:
    """Whether two volumes have the same voxels in the same places.

    Raises:
        InputError: they do not; the sentence quotes both.
    """
    allowed_mm = CORNER_TOLERANCE * min(first.spacing_mm)
    if first.hu.shape == second.hu.shape and corners_apart_mm(first, second) <= allowed_mm:
        return
    raise InputError(
        f"case {case}: {names[0]} and {names[1]} lie on different grids: {grid_in_words(first)}; "
        f"{grid_in_words(second)}. The same grid is wanted for both."
    )


def corners_apart_mm(one: Volume, other: Volume) -> float:
    """The furthest that two grids of the same shape lie apart."""
    ends = [(0, side - 1) for side in one.hu.shape]
    corners = np.array(np.meshgrid(*ends)).reshape(3, -1).T
    return float(np.linalg.norm(one.to_ras_mm(corners) - other.to_ras_mm(corners), axis=1).max())


def grid_in_words(volume: Volume) -> str:
    size = "x".join(str(side) for side in volume.hu.shape)
    spacing = "x".join(f"{step:.4g}" for step in volume.spacing_mm)
    origin = ", ".join(f"{value:.2f}" for value in volume.affine[:3, 3])
    return f"{size} voxels of {spacing} mm, axes {volume.orientation}, first voxel at ({origin}) mm"
