"""What a network sees of a scan, and the way back from its answer to the scan's own voxels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.convolution import Spacing
from ICHSegmentationLib.geometry import PADDING_HU, Volume
from ICHSegmentationLib.inference import resample
from ICHSegmentationLib.quality import mended_values
from ICHSegmentationLib.regular import RegularGrid


@dataclass(frozen=True)
class Prepared:
    """A scan as a system's networks see it.

    Attributes:
        inputs: [channel, x, y, z], float32 or int16, on the scan's regular grid or a resampling of it.
        inside: [x, y, z] bool: where bleed may be; networks are not asked elsewhere.
        spacing_mm: of the voxels.
        outside: what a voxel beyond the edge would hold.
    """

    inputs: np.ndarray
    inside: np.ndarray
    spacing_mm: Spacing
    outside: float


def densities(volume: Volume) -> Prepared:
    """Hounsfield units on the regular grid, one channel; bleed may be where a voxel is soft."""
    volume = mended_values(volume)
    grid = RegularGrid(volume)
    hu = grid.forward(volume.hu)
    rounded = np.rint(hu.clip(-32000, 32000)).astype(np.int16)
    return Prepared(rounded[None], (hu > 0) & (hu < 100), grid.spacing_mm, PADDING_HU)


def label_for(label: np.ndarray, volume: Volume, size: tuple[int, ...]) -> np.ndarray:
    """A label [x, y, z] of whole numbers on the scan's own voxels, on the grid of `Prepared` of that size.

    By nearest neighbour, so that no label arises that was not there.
    """
    grid = RegularGrid(volume)
    values = np.unique(label)
    whole = np.zeros(grid.size, label.dtype)
    share = np.full(grid.size, 0.5, np.float32)
    for value in values[values != 0]:
        here = grid.forward((label == value).astype(np.float32), outside=0.0)
        whole[here >= share] = value
        share = np.maximum(share, here)
    if whole.shape == tuple(size):
        return whole
    indices = [nearest(old, new) for old, new in zip(whole.shape, size, strict=True)]
    return whole[np.ix_(*indices)]


def nearest(old: int, new: int) -> np.ndarray:
    """Of each of `new` voxels, the index of the one of `old` over the same extent that holds its centre."""
    return ((np.arange(new) + 0.5) * old / new).astype(int)


def restored(answer: np.ndarray, volume: Volume) -> np.ndarray:
    """Probabilities [x, y, z] on the grid of `Prepared` -> on the scan's own voxels, float32."""
    grid = RegularGrid(volume)
    if answer.shape != grid.size:
        answer = resample(torch.from_numpy(np.ascontiguousarray(answer, np.float32)), grid.size).numpy()
    return grid.back(answer)
