"""The pose: how a head lies in the scanner and differs from the one it was made of; drawn, then applied."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.simulation.anatomy import BRAIN, CEREBRUM, STEPS_PER_MM, Anatomy, Head, Tissue, is_tissue
from ICHSegmentationLib.simulation.fields import Spacing, blur, resize
from ICHSegmentationLib.simulation.sampling import (
    as_column,
    node_voxels,
    sampled_distances,
    sampled_labels,
    sampling_grid,
)

TILTED = 0.05  # of cases: converted without their tilt, which is seen in public data now and then
STEPPED = 0.04  # sedated or held patients rarely move by as much as is seen between slices


@dataclass(frozen=True)
class Step:
    """The patient moves between two slices: what lies above is shifted and turned in the plane. JSON values only."""

    height: float  # of the field, 0 bottom, 1 top
    shift_mm: tuple[float, float]  # x, y
    turn_deg: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Step:
        x, y = rng.normal(0, 2.5, 2).tolist()
        return cls(float(rng.uniform(0.2, 0.8)), (x, y), float(rng.normal(0, 2)))


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
    # of a scan whose slices were stored as if they were not tilted (else its reader sets them right): a shear
    gantry_tilt_deg: float = 0.0
    step: Step | None = None

    def undisturbed(self) -> Pose:
        """The same upright in the gantry, and still."""
        return dataclasses.replace(self, gantry_tilt_deg=0.0, step=None)

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
            gantry_tilt_deg=float(rng.uniform(5, 25) * rng.choice((-1, 1))) if rng.random() < TILTED else 0.0,
            step=Step.draw(rng) if rng.random() < STEPPED else None,
        )


def pose_head(
    anatomy: Anatomy, pose: Pose, size: tuple[int, int, int], spacing_mm: Spacing, device: torch.device
) -> Head:
    """Samples an anatomy in its pose on a grid of `size` voxels; the grid is centred on the brain plus the offset."""
    source_size = anatomy.tissue.shape
    brain = np.nonzero(np.isin(anatomy.tissue[::4, ::4, ::4], BRAIN))
    centre = [4 * (axis.min() + axis.max()) / 2 for axis in brain]

    displacement = warp_field(pose, size, spacing_mm, device)
    matrix = torch.tensor(pose_matrix(pose), dtype=torch.float32, device=device)
    middle = as_column(np.array(pose.offset_mm) / anatomy.spacing_mm + centre, device)

    stored = torch.from_numpy(anatomy.distances).to(device).float().div_(STEPS_PER_MM)
    labels = torch.from_numpy(anatomy.tissue).to(device)

    def posed(place_mm: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances [5, x, y, z] and tissue for scanner coordinates on the nodes of the warp, [3, x, y, z]."""
        places = torch.einsum("ij,jxyz->ixyz", matrix, place_mm) + displacement
        places = places / anatomy.spacing_mm + middle
        tissue = sampled_labels(labels, sampling_grid(places, size, source_size), beyond="zeros")
        return sampled_distances(stored, places, size, spacing_mm), tissue

    from_middle = node_voxels(size, displacement.shape[1:], device) - as_column((np.array(size) - 1) / 2, device)
    place_mm = from_middle * as_column(spacing_mm, device)
    distances, tissue = posed(place_mm)
    if pose.step is not None:
        above = slice(int(pose.step.height * (size[2] - 1)) + 1, None)
        for volume, moved in zip((distances, tissue), posed(stepped(place_mm, pose.step)), strict=True):
            volume[..., above] = moved[..., above]
    cavity, brain_mm, ventricle, midline, tentorium = distances
    head = Head(tissue, cavity, brain_mm, ventricle, midline, tentorium, spacing_mm)
    age(head, pose)
    return head


def stepped(place_mm: torch.Tensor, step: Step) -> torch.Tensor:
    """Where what is seen at these coordinates (mm, [3, ...]) above the step would be, had the patient lain still."""
    angle = math.radians(step.turn_deg)
    x, y = place_mm[0] - step.shift_mm[0], place_mm[1] - step.shift_mm[1]
    return torch.stack(
        [math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x, place_mm[2]]
    )


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
    tilt = math.radians(pose.gantry_tilt_deg)
    leaning = np.eye(3)  # rows of a slice lean, slices are stacked upright; no volume changes
    leaning[1, 1], leaning[2, 1], leaning[2, 2] = math.cos(tilt), math.sin(tilt), 1 / math.cos(tilt)
    return matrix @ leaning


def warp_field(pose: Pose, size: tuple[int, int, int], spacing_mm: Spacing, device: torch.device) -> torch.Tensor:
    """Smooth displacement in mm on a grid of nodes a centimetre apart, [3, x, y, z]."""
    coarse = tuple(max(3, math.ceil(n * step / 20)) + 2 for n, step in zip(size, spacing_mm, strict=True))
    drawn = np.random.default_rng(pose.warp_seed).standard_normal((3, *coarse), dtype=np.float32)
    field = torch.from_numpy(drawn).to(device)
    field = torch.stack([resize(blur(part, (1.0, 1.0, 1.0)), tuple(2 * n for n in coarse)) for part in field])
    field = field / field.std() * pose.warp_mm
    return torch.stack([blur(part, (0.8, 0.8, 0.8)) for part in field])


def age(head: Head, pose: Pose) -> None:
    """Grows or shrinks brain and ventricles in place: the surface moves, what it leaves behind is fluid."""
    tissue = head.tissue
    surface = head.brain_mm + pose.brain_growth_mm
    inside = head.cavity_mm > 0
    tissue.masked_fill_((tissue == Tissue.CSF) & inside & (surface > 0), Tissue.CORTEX)
    tissue.masked_fill_(is_tissue(tissue, BRAIN) & (surface < 0), Tissue.CSF)
    wall = head.ventricle_mm + pose.ventricle_growth_mm
    deep = is_tissue(tissue, CEREBRUM)
    tissue.masked_fill_(deep & (wall > 0) & (head.brain_mm > 4), Tissue.VENTRICLE)
    tissue.masked_fill_((tissue == Tissue.VENTRICLE) & (wall < 0), Tissue.WHITE)
    head.brain_mm = surface
    head.growth_mm = pose.brain_growth_mm
    head.ventricle_mm = wall
