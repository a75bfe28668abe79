"""From a scan's own slices to the right-angled grid a network sees, and back.

The network's kernels are defined in millimetres on a regular right-angled grid. A scan may be stored in any axis
order and direction, lean (gantry tilt) and have uneven gaps. The way there:

1. Axes are permuted and flipped so that slices are stacked along z and the grid is right-handed. No value changes.
2. Tilt: each slice is shifted in its plane to where it lies in the patient, by whole pixels. The error is at most
   half a pixel, far below the slice thickness, and no value is mixed with another (interpolation next to bone would
   make the very rim that looks like a thin subdural bleed).
3. Uneven gaps: values between slices are interpolated linearly, on a grid with the smallest gap that recurs, so
   that what only thin slices show is seen.

The way back takes each original slice's plane out of the network's answer (linearly between its slices), shifts it
back and undoes the permutation, so that a mask lies on the very voxels of the scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ICHSegmentationLib.geometry import PADDING_HU, Volume, others

FINE_GAP_PERCENTILE = 10.0  # of the gaps: a smaller one is an accident


@dataclass(frozen=True)
class RegularGrid:
    """The regular grid of one scan, with the way there and back."""

    volume: Volume

    @cached_property
    def axes(self) -> tuple[int, int, int]:
        """Which array axes become x, y, z."""
        first, second = others(self.volume.stack_axis)
        return first, second, self.volume.stack_axis

    @cached_property
    def mirrored(self) -> bool:
        """Whether x must be reversed to make the grid right-handed."""
        return bool(np.linalg.det(self.volume.affine[:3, :3][:, list(self.axes)]) < 0)

    @cached_property
    def shifts(self) -> np.ndarray:
        """Whole pixels by which each slice moves along x and y, [slices, 2], 0 or more."""
        volume = self.volume
        steps = volume.affine[:3, list(self.axes[:2])]
        lengths = np.linalg.norm(steps, axis=0)
        aside = volume.origins_mm @ (steps / lengths) / lengths
        if self.mirrored:
            aside[:, 0] *= -1
        if volume.is_straight:
            return np.zeros((len(aside), 2), int)
        return np.rint(aside - aside.min(axis=0)).astype(int)

    @cached_property
    def positions_mm(self) -> np.ndarray:
        """Height of each slice above the first, [slices]."""
        return self.volume.slice_positions_mm - self.volume.slice_positions_mm[0]

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing of the regular grid along x, y, z."""
        x, y = self.volume.in_plane_spacing_mm
        if self.volume.is_evenly_spaced:
            return x, y, float(self.volume.slice_extents_mm.mean())
        return x, y, float(np.percentile(np.diff(self.positions_mm), FINE_GAP_PERCENTILE, method="lower"))

    @cached_property
    def heights(self) -> np.ndarray:
        """Height of each original slice in slices of the regular grid, [slices]."""
        if self.volume.is_evenly_spaced:
            return np.arange(len(self.positions_mm), dtype=float)
        return self.positions_mm / self.spacing_mm[2]

    @cached_property
    def size(self) -> tuple[int, int, int]:
        width, depth, slices = (self.volume.hu.shape[axis] for axis in self.axes)
        right, front = self.shifts.max(axis=0)
        if not self.volume.is_evenly_spaced:
            slices = int(np.ceil(self.heights[-1] - 1e-6)) + 1
        return width + int(right), depth + int(front), slices

    @cached_property
    def affine(self) -> np.ndarray:
        """Voxel index of the regular grid -> RAS mm, [4, 4]."""
        step_x, step_y = self.volume.affine[:3, list(self.axes[:2])].T
        origin = self.volume.origins_mm[0]
        if self.mirrored:
            origin = origin + (self.volume.hu.shape[self.axes[0]] - 1) * step_x
            step_x = -step_x
        affine = np.eye(4)
        right, front = self.shifts[0]
        start = origin - right * step_x - front * step_y
        affine[:3] = np.column_stack([step_x, step_y, self.volume.normal * self.spacing_mm[2], start])
        return affine

    def ordered(self, array: np.ndarray) -> np.ndarray:
        """The scan's array with its axes in the order and direction of the regular grid; a view."""
        array = array.transpose(self.axes)
        return array[::-1] if self.mirrored else array

    def forward(self, array: np.ndarray, outside: float = PADDING_HU) -> np.ndarray:
        """Values on the scan's own voxels -> on the regular grid, [x, y, z] float32; `outside` where no slice lies."""
        ordered = self.ordered(array)
        width, depth, slices = ordered.shape
        placed = np.full((*self.size[:2], slices), outside, np.float32, order="F")
        for index, (right, front) in enumerate(self.shifts):
            placed[right : right + width, front : front + depth, index] = ordered[:, :, index]
        if self.volume.is_evenly_spaced:
            return placed
        return interpolated(placed, self.heights, np.arange(self.size[2], dtype=float))

    def back(self, array: np.ndarray) -> np.ndarray:
        """Values on the regular grid -> on the scan's own voxels, [x, y, z] float32."""
        if not self.volume.is_evenly_spaced:
            array = interpolated(array, np.arange(self.size[2], dtype=float), self.heights)
        width, depth = (self.volume.hu.shape[axis] for axis in self.axes[:2])
        placed = np.empty(self.volume.hu.shape, np.float32, order="F")
        ordered = self.ordered(placed)
        for index, (right, front) in enumerate(self.shifts):
            ordered[:, :, index] = array[right : right + width, front : front + depth, index]
        return placed


def interpolated(array: np.ndarray, known: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Slices at heights `at`, linearly between the slices [x, y, z] at ascending heights `known`, constant beyond."""
    result = np.empty((*array.shape[:2], len(at)), np.float32, order="F")
    for index, height in enumerate(at):
        upper = int(np.clip(np.searchsorted(known, height), 1, len(known) - 1))
        share = float(np.clip((height - known[upper - 1]) / (known[upper] - known[upper - 1]), 0, 1))
        result[:, :, index] = (1 - share) * array[:, :, upper - 1] + share * array[:, :, upper]
    return result
