"""Hardware: things of metal and plastic in and on a head. None of it is bleed, and metal spoils what lies around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.simulation.anatomy import BONE, Head, Tissue, is_tissue
from ICHSegmentationLib.simulation.artefacts import METAL_HU
from ICHSegmentationLib.simulation.places import box_around, offsets_mm, pick_voxel

Point = np.ndarray  # mm along x, y, z from the first voxel


@dataclass(frozen=True)
class Device:
    """One thing: a rod, a ball (a rod without length) or a tube. JSON values only."""

    kind: str
    where: float  # which voxel of those where its kind may lie
    length_mm: float
    radius_mm: float
    wall_mm: float  # of a tube; 0: it is solid
    hu: float
    seed: int  # of its direction


KINDS = {
    # kind: (probability, most of them, length mm, radius mm, wall mm, HU)
    "clip": (0.04, 3, (10, 40), (0.5, 1.0), (0, 0), (4000, METAL_HU)),  # in the hair; leads and pins of monitors too
    "tooth": (0.06, 5, (0, 0), (1.5, 4), (0, 0), (4000, METAL_HU)),  # fillings; teeth are rarely in view
    "coil": (0.015, 1, (0, 4), (1.5, 5), (0, 0), (5000, METAL_HU)),  # in or on an aneurysm
    "drain": (0.05, 1, (0, 0), (1.0, 1.7), (0, 0), (120, 400)),  # through the skull into a ventricle
    "tube": (0.08, 2, (40, 120), (3, 6), (1.0, 1.6), (80, 350)),  # of those who breathe through one
}


def draw_devices(rng: np.random.Generator) -> tuple[Device, ...]:
    devices = []
    for kind, (probability, most, length, radius, wall, hu) in KINDS.items():
        if rng.random() < probability:
            for _ in range(int(rng.integers(1, most + 1))):
                where = float(rng.random())
                length_mm, radius_mm, wall_mm, drawn_hu = (float(rng.uniform(*s)) for s in (length, radius, wall, hu))
                seed = int(rng.integers(2**31))
                devices.append(Device(kind, where, length_mm, radius_mm, wall_mm, drawn_hu, seed))
    return tuple(devices)


def insert_device(hu: torch.Tensor, head: Head, device: Device) -> None:
    """Paints a thing into a painted head, if the place for its kind is in view."""
    ends = ends_mm(head, device)
    if ends is None:
        return
    box, distance = from_segment_mm(head, *ends, reach_mm=device.radius_mm + 2)
    edge = min(head.spacing_mm)
    solid = ((device.radius_mm - distance) / edge + 0.5).clamp(0, 1)  # share of each voxel that it fills
    part = hu[box]
    part = part + (device.hu - part) * solid
    if device.wall_mm:
        hollow = ((device.radius_mm - device.wall_mm - distance) / edge + 0.5).clamp(0, 1)
        part = part + (-1000 - part) * hollow
    hu[box] = part


def ends_mm(head: Head, device: Device) -> tuple[Point, Point] | None:
    """Where the thing begins and ends; None if this head offers no place for it."""
    candidates = {
        "clip": lambda: (head.tissue == Tissue.SKIN) & (head.tentorium_mm > 0),
        "tooth": lambda: teeth(head),
        "coil": lambda: cisterns(head),
        "drain": lambda: entries(head),
        "tube": lambda: airway(head),
    }
    centre = pick_voxel(candidates[device.kind](), device.where)
    if centre is None:
        return None
    start = point_mm(head, centre)
    if device.kind == "drain":
        chamber = ((head.tissue == Tissue.VENTRICLE) & (head.midline_mm.abs() > 3)).nonzero()
        if len(chamber) == 0:
            return None
        near = (chamber - centre).float().norm(dim=1).argmin()
        target = point_mm(head, chamber[near])
        onward = (target - start) / max(1.0, float(np.linalg.norm(target - start)))
        return start - 10 * onward, target + 8 * onward  # from outside the bone to well within the ventricle
    rng = np.random.default_rng(device.seed)
    towards = rng.standard_normal(3)
    if device.kind == "clip":  # flat on the scalp
        outwards = start - np.array(head.size) * np.array(head.spacing_mm) / 2
        outwards /= max(1.0, float(np.linalg.norm(outwards)))
        towards -= towards @ outwards * outwards
    elif device.kind == "tube":  # downwards, a little to any side
        towards = np.array([0, 0, 1]) + 0.2 * towards
    half = towards / max(1e-6, float(np.linalg.norm(towards))) * device.length_mm / 2
    return start - half, start + half


def point_mm(head: Head, voxel: torch.Tensor) -> Point:
    return voxel.cpu().numpy() * np.array(head.spacing_mm)


def teeth(head: Head) -> torch.Tensor:
    """Bone in the front, well below the skull: where the jaws are, if they are in view."""
    bone = is_tissue(head.tissue, BONE) & (head.cavity_mm < -28)
    brain = (head.brain_mm > 0).nonzero()
    if len(brain) == 0:
        return torch.zeros_like(bone)
    _, y, z = brain.float().mean(0).tolist()
    below = torch.arange(head.size[2], device=head.device) * head.spacing_mm[2] < z * head.spacing_mm[2] - 65
    front = torch.arange(head.size[1], device=head.device) > y
    return bone & below[None, None, :] & front[None, :, None]


def cisterns(head: Head) -> torch.Tensor:
    """Fluid near the brain stem, where most aneurysms are."""
    stem = (head.tissue == Tissue.BRAINSTEM).nonzero()
    if len(stem) == 0:
        return torch.zeros_like(head.cavity_mm, dtype=torch.bool)
    x, y, z = offsets_mm(head, stem.float().mean(0).round().long())
    near = (x**2 + y**2 + z**2 < 40**2) & (y > 0)
    return (head.tissue == Tissue.CSF) & (head.cavity_mm > 5) & near


def entries(head: Head) -> torch.Tensor:
    """The inner table over the front of the brain, a few centimetres beside the midline."""
    ventricle = (head.tissue == Tissue.VENTRICLE).nonzero()
    inner = (head.cavity_mm > -2) & (head.cavity_mm < 0) & (head.tentorium_mm > 15)
    if len(ventricle) == 0:
        return torch.zeros_like(inner)
    _, y, z = ventricle.float().mean(0).tolist()
    front = torch.arange(head.size[1], device=head.device) * head.spacing_mm[1] > y * head.spacing_mm[1] + 20
    above = torch.arange(head.size[2], device=head.device) * head.spacing_mm[2] > z * head.spacing_mm[2] + 25
    aside = (head.midline_mm.abs() > 15) & (head.midline_mm.abs() < 31)
    return inner & aside & front[None, :, None] & above[None, None, :]


def airway(head: Head) -> torch.Tensor:
    """Air in the midst of the lower head: nose and throat."""
    brain = (head.brain_mm > 0).nonzero()
    air = (head.tissue == Tissue.AIR) & (head.cavity_mm < -8)
    if len(brain) == 0:
        return torch.zeros_like(air)
    x, y, z = offsets_mm(head, brain.float().mean(0).round().long())
    return air & (x.abs() < 12) & (y > -10) & (y < 85) & (z < -55)


def from_segment_mm(
    head: Head, start: Point, end: Point, reach_mm: float
) -> tuple[tuple[slice, slice, slice], torch.Tensor]:
    """A box around the straight line between two points, and in it the distance from it in mm."""
    spacing = np.array(head.spacing_mm)
    middle, half = (start + end) / 2, float(np.linalg.norm(end - start)) / 2
    box = box_around(head, (middle / spacing).tolist(), reach_mm + half)
    axis = (end - start) / max(1e-6, 2 * half)
    offsets = [
        ((torch.arange(side.start, side.stop, device=head.device) * step) - origin).view(
            [-1 if other == number else 1 for other in range(3)]
        )
        for number, (side, step, origin) in enumerate(zip(box, head.spacing_mm, middle.tolist(), strict=True))
    ]
    along = sum(float(a) * offset for a, offset in zip(axis, offsets, strict=True))
    beside = torch.as_tensor(along).clamp(-half, half)
    squares = [(offset - float(a) * beside) ** 2 for a, offset in zip(axis, offsets, strict=True)]
    return box, (squares[0] + squares[1] + squares[2]).sqrt()
