"""Patients turned in the scanner: the voxels of a scan turned, or a simulated head turned and then scanned.

What a turn must not be blamed for is kept alike in all views. The part of the patient that is seen: where angles lie
between quarter turns, every view of a scan in a plane, that at 0 degrees too, shows the disc in that plane that stays
in the field at all angles, and air around it; simulated heads lie in a round field. Sharpness and noise: quarter turns
move voxels and change none; other turns take for each voxel the nearest one, because interpolation would leave less
noise and softer rims.

Scans of thick slices are brought to cubic voxels first. Else a turn out of the slices' plane would turn the slices
with it: what stacks a scan along its thickest axis would turn it back, and nothing else is comparable between planes.
"""

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from ICHSegmentationLib.data.nnunet import LabelledScan
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.small_set import SmallSet, number_of, scanned, simulated_head
from ICHSegmentationLib.geometry import PADDING_HU, Volume

PLANES = {"axial": (0, 1), "coronal": (0, 2), "sagittal": (1, 2)}  # the array axes that turn, in a scan along RAS

CUBIC = 1.001  # ratio of a voxel's sides up to which it counts as a cube


@dataclass(frozen=True)
class Patient(ABC):
    """Whom a system can be asked about, turned.

    Attributes:
        scan: of the patient as he lies.
    """

    scan: LabelledScan

    @property
    def name(self) -> str:
        return self.scan.name

    @property
    def cube_side_mm(self) -> float:
        """Side of the voxels of all views."""
        return cube_side_mm(self.scan.volume)

    @abstractmethod
    def views(self, axes: tuple[int, int], angles_deg: Sequence[float]) -> Iterator[LabelledScan]:
        """One for each angle, turned from the first of the two array axes towards the second."""

    def digest(self) -> str:
        """Of all that the views depend on."""
        return hashlib.sha256(self.scan.volume.hu.tobytes() + self.scan.label.tobytes()).hexdigest()


@dataclass(frozen=True)
class TurnedScan(Patient):
    """A patient of whom there is a scan: its voxels are turned. Nearest voxels are up to half a voxel off."""

    @cached_property
    def cubes(self) -> LabelledScan:
        return in_cubes(self.scan)

    def views(self, axes: tuple[int, int], angles_deg: Sequence[float]) -> Iterator[LabelledScan]:
        between = any(is_between_quarters(angle) for angle in angles_deg)
        seen = in_disc(self.cubes, axes) if between else self.cubes
        for angle in angles_deg:
            yield rotated(seen, axes, angle)


@dataclass(frozen=True)
class TurnedHead(Patient):
    """A head of the small set: it is turned, and then scanned as before, with the same noise at the same voxels.

    Here a turn does to the scan what it would do in a scanner. The nearest voxels are those of the simulation, which
    are smaller, free of noise and averaged afterwards.

    Attributes:
        wanted: the set that the head is of.
    """

    wanted: SmallSet

    @cached_property
    def head(self) -> LabelledScan:
        """Simulated again.

        Raises:
            InputError: by another version than that of the scan.
        """
        head = simulated_head(self.wanted, number_of(self.scan))
        if not np.array_equal(self.scanned(head).volume.hu, self.scan.volume.hu):
            raise InputError(
                f"{self.name} is not the head that this version simulates, so it cannot be scanned again; data that "
                "`ich compare --simulate` of this version made is wanted."
            )
        return head

    def scanned(self, head: LabelledScan) -> LabelledScan:
        return scanned(self.wanted, number_of(self.scan), head)

    def views(self, axes: tuple[int, int], angles_deg: Sequence[float]) -> Iterator[LabelledScan]:
        for angle in angles_deg:
            yield self.scanned(rotated(self.head, axes, angle))

    def digest(self) -> str:
        return f"scanned again: {super().digest()}"


def is_between_quarters(angle_deg: float) -> bool:
    return angle_deg % 90 != 0


def in_disc(scan: LabelledScan, axes: tuple[int, int]) -> LabelledScan:
    """The scan with air, and no label, where a turn in this plane would bring other parts of the patient into view."""
    volume = scan.volume
    sides_mm = [volume.hu.shape[axis] * volume.spacing_mm[axis] for axis in axes]
    distance = np.zeros(1)
    for axis in axes:
        from_middle = (np.arange(volume.hu.shape[axis]) - (volume.hu.shape[axis] - 1) / 2) * volume.spacing_mm[axis]
        distance = distance + from_middle.reshape([-1 if other == axis else 1 for other in range(3)]) ** 2
    seen = distance <= (min(sides_mm) / 2) ** 2
    hu = np.where(seen, volume.hu, np.float32(PADDING_HU))
    return LabelledScan(scan.name, dataclasses.replace(volume, hu=hu), np.where(seen, scan.label, 0).astype(np.uint8))


def cube_side_mm(volume: Volume) -> float:
    """Side of a cube as large as a voxel: cubic voxels of it are as many as the scan's."""
    return float(np.prod(volume.spacing_mm) ** (1 / 3))


def in_cubes(scan: LabelledScan) -> LabelledScan:
    """The scan and its reference in cubic voxels, as many as before, about the same middle; as it is if it has them.

    Averaged along an axis whose voxels grow, linear along one whose voxels shrink; bleed where it fills half of one.
    """
    volume, side_mm = scan.volume, cube_side_mm(scan.volume)
    if max(volume.spacing_mm) < CUBIC * min(volume.spacing_mm):
        return scan
    hu, bleed = volume.hu, (scan.label > 0).astype(np.float32)
    for axis, step_mm in enumerate(volume.spacing_mm):
        weights = resampling_weights(hu.shape[axis], step_mm, side_mm)
        hu, bleed = (np.moveaxis(np.tensordot(weights, each, (1, axis)), 0, axis) for each in (hu, bleed))
    affine = volume.affine.copy()
    affine[:3, :3] *= side_mm / np.linalg.norm(affine[:3, :3], axis=0)
    middles = [(np.array(array.shape) - 1) / 2 for array in (volume.hu, hu)]
    affine[:3, 3] += volume.affine[:3, :3] @ middles[0] - affine[:3, :3] @ middles[1]
    cubes = Volume(np.asfortranarray(hu, np.float32), affine, info=volume.info)
    return LabelledScan(scan.name, cubes, (bleed >= 0.5).astype(np.uint8))


def resampling_weights(count: int, step_mm: float, new_step_mm: float) -> np.ndarray:
    """What each of `count` voxels gives to each new one over the same extent, [new, old] float32; rows add up to 1."""
    size = max(1, round(count * step_mm / new_step_mm))
    new, old = ((np.arange(n) - (n - 1) / 2) * step for n, step in ((size, new_step_mm), (count, step_mm)))
    apart = np.abs(new[:, None] - old)
    if new_step_mm < step_mm:
        weights = np.clip(1 - apart / step_mm, 0, None)
    else:
        weights = np.clip((new_step_mm + step_mm) / 2 - apart, 0, step_mm)  # how far the two overlap
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def rotated(scan: LabelledScan, axes: tuple[int, int], angle_deg: float) -> LabelledScan:
    """The scan with what it shows turned about its middle, from the first of the two array axes towards the second."""
    quarters, rest = divmod(angle_deg, 90)
    if rest == 0:
        return quarter_turned(scan, axes, int(quarters) % 4)
    return nearest(scan, *backwards(scan.volume, axes, angle_deg))


def nearest(scan: LabelledScan, matrix: np.ndarray, offset: np.ndarray) -> LabelledScan:
    """The scan on its own grid with, at each index, the voxel nearest to `matrix @ index + offset`."""
    volume = scan.volume
    hu = ndimage.affine_transform(volume.hu, matrix, offset, order=0, cval=PADDING_HU)
    bleed = ndimage.affine_transform((scan.label > 0).astype(np.uint8), matrix, offset, order=0)
    return LabelledScan(scan.name, dataclasses.replace(volume, hu=hu), bleed)


def backwards(volume: Volume, axes: tuple[int, int], angle_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Voxel index after the turn -> voxel index before it, as matrix and offset."""
    turn = np.eye(3)
    first, second = axes
    cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    turn[[first, second], [first, second]] = cosine
    turn[first, second], turn[second, first] = sine, -sine
    spacing = np.array(volume.spacing_mm)
    matrix = turn * spacing / spacing[:, None]
    middle = (np.array(volume.hu.shape) - 1) / 2
    return matrix, middle - matrix @ middle


def quarter_turned(scan: LabelledScan, axes: tuple[int, int], quarters: int) -> LabelledScan:
    """The scan turned by multiples of 90 degrees: its voxels move, and their sides with them."""
    volume = scan.volume
    hu, label = (np.asfortranarray(np.rot90(array, quarters, axes)) for array in (volume.hu, scan.label))
    steps = volume.affine[:3, :3]
    lengths = np.linalg.norm(steps, axis=0)
    order = [0, 1, 2]
    if quarters % 2:
        order[axes[0]], order[axes[1]] = axes[1], axes[0]
    affine = volume.affine.copy()
    affine[:3, :3] = steps / lengths * lengths[order]
    middles = [(np.array(array.shape) - 1) / 2 for array in (volume.hu, hu)]
    affine[:3, 3] += steps @ middles[0] - affine[:3, :3] @ middles[1]
    return LabelledScan(scan.name, Volume(hu, affine, info=volume.info), label)
