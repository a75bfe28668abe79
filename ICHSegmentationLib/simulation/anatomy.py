"""Heads: a label map with the distance fields that every later step asks for.

A label map is an integer volume of FreeSurfer codes with the codes 500 to 530 for what lies outside the brain
(see `TISSUE_OF_LABEL`); other people's maps work if they are given in these codes. Arrays are [x, y, z] with x to
the right, y to the front and z to the top (RAS).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from ICHSegmentationLib.simulation.fields import Box, Spacing, bounding_box
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

    @cached_property
    def cavity_box(self) -> Box | None:
        """The part of the grid that the cranial cavity lies in; None where none of it is in view. It never changes."""
        cavity = self.cavity_mm > 0
        return bounding_box(cavity) if bool(cavity.any()) else None

    def part(self, box: Box) -> Head:
        """What lies in a box, without a copy."""
        return dataclasses.replace(self, **{name: getattr(self, name)[box] for name in VOLUMES})

    def with_part(self, box: Box, part: Head) -> Head:
        """A copy with another content of a box."""
        volumes = {name: getattr(self, name).clone() for name in VOLUMES}
        for name, volume in volumes.items():
            volume[box] = getattr(part, name)
        return dataclasses.replace(self, **volumes)


VOLUMES = ("tissue", "cavity_mm", "brain_mm", "ventricle_mm", "midline_mm", "tentorium_mm")
