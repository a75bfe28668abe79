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
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(first.hu.shape) - 1)
    if first.hu.shape == second.hu.shape:
        apart = np.linalg.norm(first.to_ras_mm(corners) - second.to_ras_mm(corners), axis=1).max()
        if apart <= CORNER_TOLERANCE * min(first.spacing_mm):
            return
    raise InputError(
        f"case {case}: {names[0]} and {names[1]} lie on different grids: {grid_in_words(first)}; "
        f"{grid_in_words(second)}. The same grid is wanted for both."
    )


def grid_in_words(volume: Volume) -> str:
    size = "x".join(str(side) for side in volume.hu.shape)
    spacing = "x".join(f"{step:.4g}" for step in volume.spacing_mm)
    origin = ", ".join(f"{value:.2f}" for value in volume.affine[:3, 3])
    return f"{size} voxels of {spacing} mm, axes {volume.orientation}, first voxel at ({origin}) mm"
