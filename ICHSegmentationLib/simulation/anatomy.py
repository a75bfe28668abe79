"""Heads: a label map with the distance fields that every later step asks for, and its pose in the scanner.

A label map is an integer volume of FreeSurfer codes with the codes 500 to 530 for what lies outside the brain
(see `TISSUE_OF_LABEL`); other people's maps work if they are given in these codes. Arrays are [x, y, z] with x to
the right, y to the front and z to the top (RAS).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

from ICHSegmentationLib.simulation.fields import Spacing, axis_coordinates_mm, blur, resize
from ICHSegmentationLib.staging import whole_or_not_at_all


class Tissue(IntEnum):
    """What a voxel of a head is made of."""

    AIR = 0
    SKIN = 1
    SOFT = 2  # fat and muscle outside the skull
    MUSCLE = 3
    CORTICAL_BONE = 4
    CANCELLOUS_BONE = 5
    CSF = 6  # outside the brain
    VENTRICLE = 7
    CORTEX = 8
    WHITE = 9
    DEEP_GREY = 10
    CEREBELLUM_GREY = 11
    CEREBELLUM_WHITE = 12
    BRAINSTEM = 13
    SINUS = 14
    ARTERY = 15
    EYE = 16
    MUCOSA = 17
    CORD = 18


LABELS_OF_TISSUE = {
    Tissue.AIR: (0,),
    Tissue.SKIN: (511,),
    Tissue.SOFT: (507,),
    Tissue.MUSCLE: (508, 530),
    Tissue.CORTICAL_BONE: (515,),
    Tissue.CANCELLOUS_BONE: (516,),
    Tissue.CSF: (24, 30, 62),
    Tissue.VENTRICLE: (4, 43, 5, 44, 14, 15, 72),
    Tissue.CORTEX: (3, 42, 17, 53, 18, 54),
    Tissue.WHITE: (2, 41, 25, 57, 85),
    Tissue.DEEP_GREY: (10, 49, 11, 50, 12, 51, 13, 52, 26, 58, 136, 137, 163, 164),
    Tissue.CEREBELLUM_GREY: (8, 47),
    Tissue.CEREBELLUM_WHITE: (7, 46),
    Tissue.BRAINSTEM: (16, 28, 60),
    Tissue.SINUS: (514,),
    Tissue.ARTERY: (502,),
    Tissue.EYE: (506,),
    Tissue.MUCOSA: (509,),
    Tissue.CORD: (512,),
}
LEFT_CEREBRUM, RIGHT_CEREBRUM = (2, 3, 10, 11, 12, 13, 17, 18, 26), (41, 42, 49, 50, 51, 52, 53, 54, 58)

CEREBRUM = (Tissue.CORTEX, Tissue.WHITE, Tissue.DEEP_GREY)
CEREBELLUM = (Tissue.CEREBELLUM_GREY, Tissue.CEREBELLUM_WHITE)
BRAIN = (*CEREBRUM, *CEREBELLUM, Tissue.BRAINSTEM)
BONE = (Tissue.CORTICAL_BONE, Tissue.CANCELLOUS_BONE)

FIELDS = ("cavity", "brain", "ventricle", "midline", "tentorium")
STEPS_PER_MM = 4  # distances are kept as int8 quarters of a millimetre, so up to 31.75 mm
REACH_MM = 127 / STEPS_PER_MM


def is_tissue(tissue: torch.Tensor, which: tuple[Tissue, ...]) -> torch.Tensor:
    """Where a uint8 tissue volume holds one of these."""
    low, high = min(which), max(which)
    if len(set(which)) == high - low + 1:
        return (tissue - low) <= high - low  # below `low` the difference wraps round to large numbers
    table = torch.zeros(len(Tissue), dtype=torch.bool, device=tissue.device)
    table[list(which)] = True
    return table[tissue.int()]


@dataclass(frozen=True)
class Anatomy:
    """A head at rest.

    Attributes:
        tissue: [x, y, z] uint8 of `Tissue`.
        distances: [5, x, y, z] int8, quarters of a millimetre, positive inside: the cranial cavity, the brain (its
            ventricles filled), the ventricles; then left of the midline, and above the tentorium.
        spacing_mm: voxel size, the same along x, y, z.
    """

    tissue: np.ndarray
    distances: np.ndarray
    spacing_mm: float

    def save(self, path: Path) -> None:
        """Writes the file whole or not at all; raises OutputError."""
        with whole_or_not_at_all(path) as partial:
            np.savez_compressed(partial, tissue=self.tissue, distances=self.distances, spacing_mm=self.spacing_mm)

    @classmethod
    def load(cls, path: Path) -> Anatomy:
        with np.load(path) as stored:
            return cls(stored["tissue"], stored["distances"], float(stored["spacing_mm"]))


def anatomy_from_labels(labels: np.ndarray, spacing_mm: float) -> Anatomy:
    """Mends a label map [x, y, z] and measures its distance fields (seconds to a minute: do it once, then save)."""
    table = np.zeros(max(600, int(labels.max()) + 1), np.uint8)
    for kind, codes in LABELS_OF_TISSUE.items():
        table[list(codes)] = kind
    labels = labels.astype(np.int64)
    tissue = table[labels]
    head = ndimage.find_objects((tissue > 0).astype(np.uint8))[0]
    margin = math.ceil(8 / spacing_mm)
    box = tuple(slice(max(0, side.start - margin), side.stop + margin) for side in head)
    labels, tissue = labels[box], tissue[box]

    cavity = cranial_cavity(tissue, spacing_mm)
    tissue = mended(tissue, cavity, spacing_mm)
    ventricle = tissue == Tissue.VENTRICLE
    brain = np.isin(tissue, BRAIN) | ventricle

    def outside_mm(mask: np.ndarray) -> np.ndarray:
        if not mask.any():
            return np.full(mask.shape, REACH_MM)
        return ndimage.distance_transform_edt(~mask) * spacing_mm

    def inside_mm(mask: np.ndarray) -> np.ndarray:
        return outside_mm(~mask) - outside_mm(mask) + np.where(mask, -0.5, 0.5) * spacing_mm

    fields = [
        inside_mm(cavity),
        inside_mm(brain),
        inside_mm(ventricle),
        outside_mm(np.isin(labels, RIGHT_CEREBRUM)) - outside_mm(np.isin(labels, LEFT_CEREBRUM)),
        outside_mm(np.isin(tissue, CEREBELLUM)) - outside_mm(np.isin(tissue, CEREBRUM)),
    ]
    distances = np.stack([np.clip(np.rint(f * STEPS_PER_MM), -127, 127).astype(np.int8) for f in fields])
    return Anatomy(tissue, distances, spacing_mm)


def cranial_cavity(tissue: np.ndarray, spacing_mm: float) -> np.ndarray:
    """What lies within the inner table: brain and fluid, without the stray voxels outside, holes filled."""
    content = np.isin(tissue, [*BRAIN, Tissue.CSF, Tissue.VENTRICLE, Tissue.SINUS])
    reach = max(1, round(2 / spacing_mm))
    core = ndimage.binary_opening(content, iterations=reach)
    parts, _ = ndimage.label(core)
    core = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    cavity = content & ndimage.binary_dilation(core, iterations=reach)
    cavity = ndimage.binary_closing(cavity, iterations=reach) | cavity
    for z in range(cavity.shape[2]):
        cavity[:, :, z] = ndimage.binary_fill_holes(cavity[:, :, z])
    cavity &= ~np.isin(tissue, BONE)
    return ndimage.gaussian_filter(cavity.astype(np.float32), 1.2 / spacing_mm) > 0.5


def mended(tissue: np.ndarray, cavity: np.ndarray, spacing_mm: float) -> np.ndarray:
    """Stray voxels within the cavity become fluid; pinholes in the skull and gaps behind its inner table bone."""
    content = [*BRAIN, Tissue.CSF, Tissue.VENTRICLE, Tissue.SINUS, Tissue.ARTERY]
    tissue = np.where(cavity & ~np.isin(tissue, content), np.uint8(Tissue.CSF), tissue)
    bone = np.isin(tissue, BONE)
    pinholes = ndimage.binary_closing(bone, iterations=1) & ~bone & ~cavity
    tissue = np.where(pinholes, np.uint8(Tissue.CANCELLOUS_BONE), tissue)
    reach = max(1, round(2 / spacing_mm))
    shell = (
        ndimage.binary_dilation(cavity, iterations=reach) & ~cavity & ndimage.binary_dilation(bone, iterations=reach)
    )
    return np.where(shell & ~bone, np.uint8(Tissue.CORTICAL_BONE), tissue)


@dataclass(frozen=True)
class Pose:
    """How a head lies in the scanner and differs from the one it was made of. JSON values only."""

    rotation_deg: tuple[float, float, float]  # about x, y, z
    scale: tuple[float, float, float]
    shear: tuple[float, float, float]  # xy, xz, yz
    mirrored: bool
    offset_mm: tuple[float, float, float]
    warp_seed: int
    warp_mm: float  # standard deviation of the smooth deformation
    brain_growth_mm: float  # the brain's surface moved outwards (youth, swelling) or inwards (atrophy)
    ventricle_growth_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Pose:
        tilt = rng.uniform(-15, 15) if rng.random() < 0.5 else 0.0
        rotation = rng.uniform((-12, -8, -12), (12, 8, 12)) + np.array([tilt, 0.0, 0.0])
        scale = rng.uniform(0.9, 1.1, 3) * rng.uniform(0.95, 1.05)
        atrophy = rng.uniform(0, 1)
        return cls(
            rotation_deg=tuple(rotation.tolist()),
            scale=tuple(scale.tolist()),
            shear=tuple(rng.uniform(-0.04, 0.04, 3).tolist()),
            mirrored=bool(rng.random() < 0.5),
            offset_mm=tuple(rng.uniform(-8, 8, 3).tolist()),
            warp_seed=int(rng.integers(2**31)),
            warp_mm=float(rng.uniform(0.5, 3.0)),
            brain_growth_mm=float(4.6 - 4.4 * atrophy**1.3 + rng.uniform(-0.5, 0.5)),
            ventricle_growth_mm=float(-2.0 + 4.5 * atrophy**1.5 + rng.uniform(-1.0, 1.0)),
        )


@dataclass
class Head:
    """A head in the scanner, on the fine grid that it is painted on. All volumes [x, y, z]."""

    tissue: torch.Tensor
    cavity_mm: torch.Tensor
    brain_mm: torch.Tensor
    ventricle_mm: torch.Tensor
    midline_mm: torch.Tensor
    tentorium_mm: torch.Tensor
    spacing_mm: Spacing
    growth_mm: float = 0.0  # by which the brain's surface has moved outwards

    @property
    def size(self) -> tuple[int, int, int]:
        x, y, z = self.tissue.shape
        return x, y, z

    @property
    def device(self) -> torch.device:
        return self.tissue.device

    @property
    def voxel_ml(self) -> float:
        return math.prod(self.spacing_mm) / 1000


def pose_head(
    anatomy: Anatomy, pose: Pose, size: tuple[int, int, int], spacing_mm: Spacing, device: torch.device
) -> Head:
    """Samples an anatomy in its pose on a grid of `size` voxels; the grid is centred on the brain plus the offset."""
    source_size = anatomy.tissue.shape
    brain = np.nonzero(np.isin(anatomy.tissue[::4, ::4, ::4], BRAIN))
    centre = [4 * (axis.min() + axis.max()) / 2 for axis in brain]

    matrix = torch.tensor(pose_matrix(pose), dtype=torch.float32, device=device)
    displacement = warp_field(pose, size, spacing_mm, device)
    coordinates = axis_coordinates_mm(size, spacing_mm, device)
    grid = torch.empty(*size, 3, device=device)
    for axis in range(3):
        position = displacement[axis]
        for other, coordinate in enumerate(coordinates):
            position = position + matrix[axis, other] * coordinate
        voxel = (position + pose.offset_mm[axis]) / anatomy.spacing_mm + centre[axis]
        # torch's grid_sample wants -1..1 across the voxels' outer edges, last axis first
        grid[..., 2 - axis] = (2 * voxel + 1) / source_size[axis] - 1
    fields = torch.from_numpy(anatomy.distances).to(device).float() / STEPS_PER_MM
    tissue = torch.from_numpy(anatomy.tissue).to(device).float()
    distances = functional.grid_sample(
        fields[None], grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )[0]
    sampled = functional.grid_sample(
        tissue[None, None], grid[None], mode="nearest", padding_mode="zeros", align_corners=False
    )[0, 0]
    cavity, brain_mm, ventricle, midline, tentorium = distances
    head = Head(sampled.round().to(torch.uint8), cavity, brain_mm, ventricle, midline, tentorium, spacing_mm)
    age(head, pose)
    return head


def pose_matrix(pose: Pose) -> np.ndarray:
    """Scanner mm -> anatomy mm, [3, 3]."""
    matrix = np.eye(3)
    for axis, degrees in enumerate(pose.rotation_deg):
        turn, angle = np.eye(3), math.radians(degrees)
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        turn[i, i] = turn[j, j] = math.cos(angle)
        turn[i, j], turn[j, i] = -math.sin(angle), math.sin(angle)
        matrix = matrix @ turn
    shear = np.eye(3)
    shear[0, 1], shear[0, 2], shear[1, 2] = pose.shear
    matrix = matrix @ shear @ np.diag(1 / np.array(pose.scale))
    if pose.mirrored:
        matrix[0] *= -1
    return matrix


def warp_field(pose: Pose, size: tuple[int, int, int], spacing_mm: Spacing, device: torch.device) -> torch.Tensor:
    """Smooth displacement in mm, [3, x, y, z]."""
    coarse = tuple(max(3, math.ceil(n * step / 20)) + 2 for n, step in zip(size, spacing_mm, strict=True))
    drawn = np.random.default_rng(pose.warp_seed).standard_normal((3, *coarse), dtype=np.float32)
    field = torch.from_numpy(drawn).to(device)
    field = torch.stack([resize(blur(part, (1.0, 1.0, 1.0)), tuple(2 * n for n in coarse)) for part in field])
    field = field / field.std() * pose.warp_mm
    return torch.stack([resize(blur(part, (0.8, 0.8, 0.8)), size) for part in field])


def age(head: Head, pose: Pose) -> None:
    """Grows or shrinks brain and ventricles in place: the surface moves, what it leaves behind is fluid."""
    tissue = head.tissue
    surface = head.brain_mm + pose.brain_growth_mm
    inside = head.cavity_mm > 0
    tissue[(tissue == Tissue.CSF) & inside & (surface > 0)] = Tissue.CORTEX
    tissue[is_tissue(tissue, BRAIN) & (surface < 0)] = Tissue.CSF
    wall = head.ventricle_mm + pose.ventricle_growth_mm
    deep = is_tissue(tissue, CEREBRUM)
    tissue[deep & (wall > 0) & (head.brain_mm > 4)] = Tissue.VENTRICLE
    tissue[(tissue == Tissue.VENTRICLE) & (wall < 0)] = Tissue.WHITE
    head.brain_mm = surface
    head.growth_mm = pose.brain_growth_mm
    head.ventricle_mm = wall
