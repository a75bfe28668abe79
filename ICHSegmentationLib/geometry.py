"""Where each slice of a scan lies in the patient. (Axis order and directions: see volume.py.)

A scan is a stack of parallel slices. Each slice has its own origin, so that a gantry tilt (slices shifted against
each other) and uneven gaps are held as they are. A slice stands for the part of the stack that is nearer to it than
to its neighbours: that extent, not the nominal slice thickness, makes volumes right where slices overlap or lie
apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ICHSegmentationLib.errors import InputError

EVEN_GAP_TOLERANCE = 0.02  # of the mean gap
RIGHT_ANGLE_TOLERANCE_DEG = 0.1
PADDING_HU = -1024.0  # what lies outside the scanned circle, and anything darker than air


@dataclass(frozen=True)
class ScanInfo:
    """What the file says about the scan. Holds nothing that names the patient."""

    format: str
    description: str = ""
    modality: str = ""
    kernel: str = ""
    contrast_agent: str = ""
    slice_thickness_mm: float | None = None
    notes: tuple[str, ...] = ()  # sentences for the user about how the scan was read


@dataclass(frozen=True)
class Volume:
    """A CT scan.

    Attributes:
        hu: [x, y, z] float32, Hounsfield units, Fortran order.
        affine: [4, 4] voxel index -> RAS mm; the best linear description of the grid.
        slice_origins_mm: [z, 3] RAS mm of voxel (0, 0, k), where each slice says for itself where it lies (DICOM).
        info: what the file said.
    """

    hu: np.ndarray
    affine: np.ndarray
    slice_origins_mm: np.ndarray | None = None
    info: ScanInfo = field(default_factory=lambda: ScanInfo("array"))

    def __post_init__(self) -> None:
        if self.hu.ndim != 3 or 0 in self.hu.shape:
            raise InputError(f"a scan must have three dimensions, none empty; found {list(self.hu.shape)}.")
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise InputError("the scan's geometry must be a finite 4 x 4 matrix.")
        steps = self.affine[:3, :3]
        lengths = np.linalg.norm(steps, axis=0)
        if lengths.min() < 1e-4 or abs(np.linalg.det(steps / lengths)) < 0.1:
            raise InputError(
                "the scan's axes do not span a volume (a direction is missing or two are parallel); "
                "a right-handed or left-handed grid of voxels is wanted."
            )

    @cached_property
    def stack_axis(self) -> int:
        """The array axis along which slices are stacked: the only one that may lean, else the coarsest (2 if equal)."""
        if self.slice_origins_mm is not None:
            return 2
        steps = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        lean = np.abs(steps.T @ steps - np.eye(3)) > np.sin(np.deg2rad(RIGHT_ANGLE_TOLERANCE_DEG))
        flat = [axis for axis in range(3) if not lean[np.ix_(others(axis), others(axis))].any()]
        if not flat:
            raise InputError(
                "the scan's grid leans in more than one direction; slices with rows and columns at right angles are "
                "wanted."
            )
        lengths = np.linalg.norm(self.affine[:3, :3], axis=0)
        return max(flat, key=lambda axis: (round(lengths[axis], 3), axis == 2))

    @cached_property
    def origins_mm(self) -> np.ndarray:
        """RAS mm of the first voxel of each slice along the stack axis, [slices, 3]."""
        if self.slice_origins_mm is not None:
            return self.slice_origins_mm
        count = self.hu.shape[self.stack_axis]
        return self.affine[:3, 3] + np.arange(count)[:, None] * self.affine[:3, self.stack_axis]

    @cached_property
    def normal(self) -> np.ndarray:
        """Unit vector at right angles to the slices, along the stack, [3] RAS."""
        first, second = others(self.stack_axis)
        normal = np.cross(self.affine[:3, first], self.affine[:3, second])
        normal = normal / np.linalg.norm(normal)
        return normal * (np.sign(normal @ self.affine[:3, self.stack_axis]) or 1.0)

    @cached_property
    def slice_positions_mm(self) -> np.ndarray:
        """Position of each slice along the normal, [slices]."""
        return self.origins_mm @ self.normal

    @cached_property
    def slice_extents_mm(self) -> np.ndarray:
        """How much of the stack each slice stands for: half the gap to each neighbour, [slices].

        An end slice has a neighbour on one side only and is taken to reach as far on the other, as on a regular
        grid; a single slice reaches over its nominal thickness.
        """
        positions = self.slice_positions_mm
        if len(positions) == 1:
            nominal = self.info.slice_thickness_mm
            return np.array([nominal or np.linalg.norm(self.affine[:3, self.stack_axis])])
        gaps = np.diff(positions)
        return (np.concatenate([gaps[:1], gaps]) + np.concatenate([gaps, gaps[-1:]])) / 2

    @cached_property
    def in_plane_spacing_mm(self) -> tuple[float, float]:
        first, second = (float(np.linalg.norm(self.affine[:3, axis])) for axis in others(self.stack_axis))
        return first, second

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing along x, y, z of the array; along the stack the mean distance between slices."""
        spacing = [0.0, 0.0, 0.0]
        for axis, step in zip(others(self.stack_axis), self.in_plane_spacing_mm, strict=True):
            spacing[axis] = step
        spacing[self.stack_axis] = float(self.slice_extents_mm.mean())
        return spacing[0], spacing[1], spacing[2]

    @cached_property
    def voxel_volumes_ml(self) -> np.ndarray:
        """Volume of one voxel of each slice, broadcastable over [x, y, z]."""
        first, second = self.in_plane_spacing_mm
        shape = [1, 1, 1]
        shape[self.stack_axis] = -1
        return (first * second * self.slice_extents_mm / 1000).reshape(shape)

    @cached_property
    def tilt_deg(self) -> float:
        """Angle by which the stack leans: 0 where each slice lies straight above the one below."""
        if len(self.origins_mm) == 1:
            return 0.0
        height = abs(self.slice_positions_mm[-1] - self.slice_positions_mm[0])
        return float(np.rad2deg(np.arctan2(self.sideways_mm[-1], height)))

    @cached_property
    def sideways_mm(self) -> np.ndarray:
        """How far each slice lies aside of where it would lie straight above the first, [slices]."""
        along = self.origins_mm - self.origins_mm[0]
        return np.linalg.norm(along - (along @ self.normal)[:, None] * self.normal, axis=1)

    @cached_property
    def is_straight(self) -> bool:
        """Whether every slice lies straight above the one below: no tilt, no jump of table or patient."""
        height = self.slice_positions_mm[-1] - self.slice_positions_mm[0]
        return bool(self.sideways_mm.max() <= abs(height) * np.tan(np.deg2rad(RIGHT_ANGLE_TOLERANCE_DEG)))

    @cached_property
    def is_evenly_spaced(self) -> bool:
        gaps = np.diff(self.slice_positions_mm)
        return len(gaps) == 0 or bool(np.abs(gaps - gaps.mean()).max() <= EVEN_GAP_TOLERANCE * gaps.mean())

    @cached_property
    def is_regular(self) -> bool:
        """Whether the voxels form one right-angled, evenly spaced grid."""
        return self.is_evenly_spaced and self.is_straight

    @cached_property
    def orientation(self) -> str:
        """Where the array's x, y and z axes point, e.g. `LPS`."""
        codes = []
        for axis in range(3):
            direction = self.affine[:3, axis]
            largest = int(np.abs(direction).argmax())
            codes.append(("RL", "AP", "SI")[largest][int(direction[largest] < 0)])
        return "".join(codes)

    def to_ras_mm(self, index: np.ndarray) -> np.ndarray:
        """RAS mm of voxel indices [n, 3], which may be fractional along the slices but not across uneven ones."""
        index = np.asarray(index, float)
        if self.slice_origins_mm is None:
            return index @ self.affine[:3, :3].T + self.affine[:3, 3]
        slices = np.arange(len(self.slice_origins_mm))
        origins = np.stack([np.interp(index[:, 2], slices, column) for column in self.slice_origins_mm.T], axis=1)
        return origins + index[:, :2] @ self.affine[:3, :2].T


def others(axis: int) -> tuple[int, int]:
    """The two array axes beside one."""
    first, second = (other for other in range(3) if other != axis)
    return first, second
