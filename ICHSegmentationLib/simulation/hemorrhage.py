"""Bleeds: drawn from the statistics of real ones, then placed in a head.

Volumes and densities follow the whole-lesion statistics of real hemorrhages (InSilicoICH, CC0), widened at both
ends. Chronic blood that is no denser than brain is out of scope: it is not simulated, and not found.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch.nn import functional

from ICHSegmentationLib.simulation.anatomy import BRAIN, CEREBELLUM, CEREBRUM, Head, Tissue, is_tissue
from ICHSegmentationLib.simulation.fields import blur, length, resize, smooth_noise


class Subtype(IntEnum):
    """Kinds of intracranial hemorrhage; the labels of a simulated case."""

    IPH = 1  # intraparenchymal, contusions included
    IVH = 2  # intraventricular
    SAH = 3  # subarachnoid
    SDH = 4  # subdural
    EDH = 5  # epidural


@dataclass(frozen=True)
class Blood:
    """Density of one bleed."""

    hu: float
    texture_hu: float
    unclotted_hu: float  # darker swirls
    level: float  # share of the bleed, from the front, that has settled out and is darker; 0: none
    level_hu: float
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator, low: float, high: float) -> Blood:
        return cls(
            hu=float(rng.uniform(low, high)),
            texture_hu=float(rng.uniform(0, 5)),
            unclotted_hu=float(rng.uniform(8, 25)) if rng.random() < 0.2 else 0.0,
            level=float(rng.uniform(0.2, 0.7)) if rng.random() < 0.1 else 0.0,
            level_hu=float(rng.uniform(8, 25)),
            seed=int(rng.integers(2**31)),
        )


@dataclass(frozen=True)
class Parenchymal:
    """Bleed within the brain: a rough ellipsoid, or several small ones near the surface (contusions)."""

    blood: Blood
    region: str  # deep, lobar, cerebellum, brainstem or cortex
    where: float  # 0..1: which voxel of the region
    volume_ml: float
    stretch: tuple[float, float, float]  # relative half axes
    turn_seed: int
    roughness: float
    fine_roughness: float
    edema_width: float  # of the half axis
    edema_hu: float
    push: float  # displacement at the rim, share of the radius

    subtype = Subtype.IPH

    @classmethod
    def draw(cls, rng: np.random.Generator, contusion: bool) -> Parenchymal:
        if contusion:
            region, volume_ml = "cortex", math.exp(rng.normal(math.log(0.8), 1.2))
        else:
            region = str(rng.choice(["deep", "lobar", "cerebellum", "brainstem"], p=[0.5, 0.34, 0.11, 0.05]))
            volume_ml = math.exp(rng.normal(math.log(7.0), 1.5))
        stretch = np.exp(rng.normal(0, 0.3, 3))
        stretch /= stretch.prod() ** (1 / 3)
        return cls(
            blood=Blood.draw(rng, 48, 82),
            region=region,
            where=float(rng.random()),
            volume_ml=float(np.clip(volume_ml, 0.05, 120)),
            stretch=(float(stretch[0]), float(stretch[1]), float(stretch[2])),
            turn_seed=int(rng.integers(2**31)),
            roughness=float(rng.uniform(0.05, 0.28)),
            fine_roughness=float(rng.uniform(0, 0.12)),
            edema_width=float(rng.uniform(0.1, 0.6)),
            edema_hu=float(rng.uniform(0, 14)),
            push=float(rng.uniform(0.1, 0.6)),
        )

    @property
    def radius_mm(self) -> float:
        return (self.volume_ml * 1000 * 3 / 4 / math.pi) ** (1 / 3)

    def distance(self, head: Head, centre: torch.Tensor) -> torch.Tensor:
        """Distance from the centre in half axes with a rough rim: the bleed is where it is below 1."""
        rng = np.random.default_rng(self.turn_seed)
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0] / (self.radius_mm * np.array(self.stretch))
        offsets = offsets_mm(head, centre)
        total = torch.zeros(head.size, device=head.device)
        for column in turn.T:
            total += sum(float(c) * offset for c, offset in zip(column, offsets, strict=True)) ** 2
        seeds = rng.integers(2**31, size=2)
        grid = (head.size, head.spacing_mm)
        rough = smooth_noise(int(seeds[0]), *grid, max(4.0, self.radius_mm * 0.9), head.device) * self.roughness
        fine = smooth_noise(int(seeds[1]), *grid, 4.0, head.device) * self.fine_roughness
        return total.sqrt_().add_(rough).add_(fine)

    def centre(self, head: Head) -> torch.Tensor | None:
        regions = {
            "deep": lambda: head.tissue == Tissue.DEEP_GREY,
            "lobar": lambda: is_tissue(head.tissue, CEREBRUM) & (head.cavity_mm > 8),
            "cerebellum": lambda: is_tissue(head.tissue, CEREBELLUM),
            "brainstem": lambda: head.tissue == Tissue.BRAINSTEM,
            "cortex": lambda: (head.tissue == Tissue.CORTEX) & (head.cavity_mm > 0) & (head.cavity_mm < 12),
        }
        return pick_voxel(regions[self.region](), self.where)


@dataclass(frozen=True)
class Extraaxial:
    """Bleed between skull and brain: subdural (a crescent, or along falx or tentorium) or epidural (a lens)."""

    blood: Blood
    epidural: bool
    along: str  # convexity, falx or tentorium
    where: float
    thickness_mm: float
    extent_mm: float
    steepness: float  # of the edge
    roughness: float
    push: float  # share of its thickness by which the brain gives way
    seed: int

    @property
    def subtype(self) -> Subtype:
        return Subtype.EDH if self.epidural else Subtype.SDH

    @classmethod
    def draw(cls, rng: np.random.Generator, epidural: bool) -> Extraaxial:
        if epidural:
            along = "convexity"
            thickness = float(np.clip(math.exp(rng.normal(math.log(7.5), 0.65)), 2.0, 35))
            extent = float(np.clip(thickness * rng.uniform(1.4, 3.2) + 8, 12, 60))
            steepness = rng.uniform(1.6, 2.6)
        else:
            along = str(rng.choice(["convexity", "falx", "tentorium"], p=[0.76, 0.16, 0.08]))
            thickness = float(np.clip(math.exp(rng.normal(math.log(5.5), 0.6)), 1.5, 26))
            extent = float(rng.uniform(20, 95))
            steepness = rng.uniform(2.5, 7)
        if along != "convexity":
            thickness = float(rng.uniform(1.5, 7))
        return cls(
            blood=Blood.draw(rng, 44, 80),
            epidural=epidural,
            along=along,
            where=float(rng.random()),
            thickness_mm=thickness,
            extent_mm=extent,
            steepness=float(steepness),
            roughness=float(rng.uniform(0, 0.25)),
            push=float(rng.uniform(0.5, 1.0)),
            seed=int(rng.integers(2**31)),
        )

    def thickness(self, head: Head) -> torch.Tensor | None:
        """Thickness in mm of the bleed facing each voxel, [x, y, z]; None where this head offers no place for it."""
        inside = head.cavity_mm > 0
        side = head.midline_mm > 0
        surface = head.brain_mm < 2.5
        if self.along == "convexity":
            candidates = inside & (head.cavity_mm <= 2.5) & (head.midline_mm.abs() > 12)
        elif self.along == "falx":
            candidates = inside & (head.midline_mm.abs() < 2) & surface & (head.tentorium_mm > 6)
        else:
            candidates = inside & (head.tentorium_mm.abs() < 2) & surface
        centre = pick_voxel(candidates, self.where)
        if centre is None:
            return None
        distance = length(offsets_mm(head, centre)) / self.extent_mm
        grid = (head.size, head.spacing_mm)
        distance = distance + smooth_noise(self.seed, *grid, 40, head.device) * (0.25 * self.roughness)
        profile = self.thickness_mm * (1 - distance.clamp(0, 3) ** self.steepness).clamp_min(0)
        profile = profile * (1 + smooth_noise(self.seed + 1, *grid, 25, head.device) * self.roughness).clamp_min(0)
        here = side[tuple(centre)]
        return torch.where((side == here) | (head.midline_mm.abs() < 1), profile, 0)

    def mask(self, head: Head, thickness: torch.Tensor) -> torch.Tensor:
        inside = (head.cavity_mm > 0) & (thickness > 0)
        if self.along == "convexity":
            return inside & (head.cavity_mm <= thickness)
        apart = head.midline_mm.abs() if self.along == "falx" else head.tentorium_mm.abs()
        surface = head.brain_mm < thickness + 1
        return inside & (apart <= thickness) & surface & (head.cavity_mm > 1)


@dataclass(frozen=True)
class Subarachnoid:
    """Blood in the fluid outside the brain: around the basal cisterns, or in sulci of the convexity."""

    blood: Blood
    basal: bool
    where: float
    radius_mm: float
    patchiness: float
    dilution: float  # of the blood in fluid
    opening_mm: float  # by which it parts the brain's surfaces
    seed: int

    subtype = Subtype.SAH

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Subarachnoid:
        basal = bool(rng.random() < 0.55)
        return cls(
            blood=Blood.draw(rng, 44, 74),
            basal=basal,
            where=float(rng.random()),
            radius_mm=float(math.exp(rng.uniform(math.log(6), math.log(45)))),
            patchiness=float(rng.uniform(0.1, 0.5)),
            dilution=float(rng.uniform(0.8, 1.0)),
            opening_mm=float(rng.uniform(0, 2.5 if basal else 1.2)),
            seed=int(rng.integers(2**31)),
        )

    def mask(self, head: Head) -> torch.Tensor | None:
        # what was fluid before the brain grew into it, and a little more
        parted = (head.brain_mm < max(0.0, head.growth_mm) + self.opening_mm) & (head.cavity_mm > 1)
        fluid = (parted & is_tissue(head.tissue, BRAIN)) | ((head.tissue == Tissue.CSF) & (head.cavity_mm > 0))
        if self.basal:
            stem = (head.tissue == Tissue.BRAINSTEM).nonzero()
            if len(stem) == 0:
                return None
            middle = stem.float().mean(0).round().long()
            near = length(offsets_mm(head, middle)) < 45
            candidates = fluid & near & (head.cavity_mm > 4)
        else:
            candidates = fluid & (head.cavity_mm < 25) & (head.cavity_mm > 1.5) & (head.tentorium_mm > 5)
        centre = pick_voxel(candidates, self.where)
        if centre is None:
            return None
        distance = length(offsets_mm(head, centre)) / self.radius_mm
        distance = distance + smooth_noise(self.seed, head.size, head.spacing_mm, 12, head.device) * self.patchiness
        return (distance < 1) & fluid


@dataclass(frozen=True)
class Intraventricular:
    """Blood in the ventricles: settled by gravity (to the back), in clots, a cast, or in third and fourth."""

    blood: Blood
    form: str
    level: float  # how far up the settled blood reaches, quantile of the ventricles' depth
    patchiness: float
    seed: int

    subtype = Subtype.IVH

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Intraventricular:
        return cls(
            blood=Blood.draw(rng, 42, 78),
            form=str(rng.choice(["settled", "clots", "cast"], p=[0.5, 0.35, 0.15])),
            level=float(rng.uniform(0.01, 0.35)),
            patchiness=float(rng.uniform(-0.8, 0.9)),
            seed=int(rng.integers(2**31)),
        )

    def mask(self, head: Head) -> torch.Tensor | None:
        ventricle = head.tissue == Tissue.VENTRICLE
        depth = ventricle.nonzero()[:, 1]
        if len(depth) < 50:
            return None
        if self.form == "cast":
            return ventricle
        if self.form == "settled":
            y = torch.arange(head.size[1], device=head.device)[None, :, None]
            surface = float(np.quantile(depth.cpu().numpy(), self.level))
            return ventricle & (y <= surface)
        return ventricle & (smooth_noise(self.seed, head.size, head.spacing_mm, 18, head.device) > self.patchiness)


AnyBleed = Parenchymal | Extraaxial | Subarachnoid | Intraventricular


def draw_bleeds(rng: np.random.Generator) -> list[AnyBleed]:
    """A quarter of heads have none; the others one to three kinds, contusions in clusters."""
    if rng.random() < 0.25:
        return []
    kinds = ["IPH", "IVH", "SDH", "EDH", "SAH", "contusion"]
    count = int(rng.choice([1, 2, 3], p=[0.55, 0.3, 0.15]))
    bleeds: list[AnyBleed] = []
    for kind in rng.choice(kinds, size=count, replace=False, p=[0.24, 0.15, 0.21, 0.15, 0.17, 0.08]):
        if kind == "IPH":
            bleeds.append(Parenchymal.draw(rng, contusion=False))
            if rng.random() < 0.3:
                bleeds.append(Intraventricular.draw(rng))
        elif kind == "contusion":
            bleeds += [Parenchymal.draw(rng, contusion=True) for _ in range(int(rng.integers(1, 6)))]
        elif kind in ("SDH", "EDH"):
            bleeds.append(Extraaxial.draw(rng, epidural=kind == "EDH"))
        elif kind == "SAH":
            bleeds.append(Subarachnoid.draw(rng))
        else:
            bleeds.append(Intraventricular.draw(rng))
    return bleeds


@dataclass
class Bleeding:
    """What the bleeds of one head do to it, on the head's fine grid."""

    subtype: torch.Tensor  # [x, y, z] uint8, 0 where there is no blood
    hu: torch.Tensor  # density of the blood, where there is some
    edema_hu: torch.Tensor  # taken off the tissue around


def place_bleeds(head: Head, bleeds: list[AnyBleed]) -> tuple[Head, Bleeding]:
    """Puts bleeds into a head: those that need room first (tissue gives way), then those that fill fluid."""
    subtype = torch.zeros(head.size, dtype=torch.uint8, device=head.device)
    hu = torch.zeros(head.size, device=head.device)
    edema = torch.zeros(head.size, device=head.device)
    push = torch.zeros(3, *coarse_size(head), device=head.device)
    inside = (head.cavity_mm > 0.5) & (head.tissue != Tissue.AIR)
    bleeding = Bleeding(subtype, hu, edema)
    for bleed in bleeds:
        if isinstance(bleed, Parenchymal):
            centre = bleed.centre(head)
            if centre is None:
                continue
            distance = bleed.distance(head, centre)
            rim = ((1 + bleed.edema_width - distance) / bleed.edema_width).clamp(0, 1) * (distance >= 1)
            torch.maximum(edema, rim * bleed.edema_hu, out=edema)
            fill(bleeding, (distance < 1) & inside & (head.brain_mm > -1.5), bleed)
            push += push_from(head, centre, bleed.radius_mm, bleed.push)
        elif isinstance(bleed, Extraaxial):
            thickness = bleed.thickness(head)
            if thickness is None:
                continue
            fill(bleeding, bleed.mask(head, thickness), bleed)
            if bleed.along == "convexity":
                push += push_inwards(head, thickness * bleed.push)
    if bool(push.abs().max() > 0.3):
        head = give_way(head, push, bleeding.subtype == Subtype.EDH)
    for bleed in bleeds:
        if isinstance(bleed, Subarachnoid | Intraventricular):
            mask = bleed.mask(head)
            if mask is not None:
                fill(bleeding, mask & (subtype == 0), bleed)
    return head, bleeding


def fill(bleeding: Bleeding, mask: torch.Tensor, bleed: AnyBleed) -> None:
    """Marks and paints one bleed where `mask` is set."""
    if not bool(mask.any()):
        return
    box = bounding_box(mask)
    mask = mask[box]
    size, unit = tuple(mask.shape), (1.0, 1.0, 1.0)
    blood = bleed.blood
    density = blood.hu + smooth_noise(blood.seed, size, unit, 8, mask.device) * blood.texture_hu
    if blood.unclotted_hu:
        swirl = (smooth_noise(blood.seed + 1, size, unit, 9, mask.device) - 0.4).clamp(0, 1)
        density = density - swirl * blood.unclotted_hu
    if blood.level:
        front = torch.arange(size[1], device=mask.device)[None, :, None] > blood.level * size[1]
        density = torch.where(front, density - blood.level_hu, density)
    if isinstance(bleed, Subarachnoid):
        density = density * bleed.dilution
    bleeding.subtype[box][mask] = int(bleed.subtype)
    bleeding.hu[box][mask] = density[mask]


def pick_voxel(candidates: torch.Tensor, where: float) -> torch.Tensor | None:
    """The candidate voxel at the quantile `where`, [3]; None if there is none."""
    found = candidates.nonzero()
    if len(found) == 0:
        return None
    return found[min(len(found) - 1, int(where * len(found)))]


def offsets_mm(head: Head, centre: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distance along x, y, z from a voxel, broadcastable over [x, y, z]."""
    x, y, z = (
        (torch.arange(n, device=head.device) - middle) * step
        for n, middle, step in zip(head.size, centre, head.spacing_mm, strict=True)
    )
    return x[:, None, None], y[None, :, None], z[None, None, :]


def bounding_box(mask: torch.Tensor) -> tuple[slice, slice, slice]:
    x, y, z = (
        slice(int(used[0]), int(used[-1]) + 1)
        for used in (mask.any(2).any(1).nonzero(), mask.any(2).any(0).nonzero(), mask.any(1).any(0).nonzero())
    )
    return x, y, z


COARSE_MM = 4.0  # displacements are smooth: they are worked out on a grid this coarse


def coarse_size(head: Head) -> tuple[int, int, int]:
    x, y, z = (max(4, math.ceil(n * s / COARSE_MM)) for n, s in zip(head.size, head.spacing_mm, strict=True))
    return x, y, z


def push_from(head: Head, centre: torch.Tensor, radius_mm: float, share: float) -> torch.Tensor:
    """Displacement away from a bleed in the brain, fading with distance and towards the skull, in mm [3, coarse]."""
    size = coarse_size(head)
    steps = [n * s / c for n, s, c in zip(head.size, head.spacing_mm, size, strict=True)]
    offsets = []
    for axis, (count, step) in enumerate(zip(size, steps, strict=True)):
        position = (torch.arange(count, device=head.device) + 0.5) * step
        here = (float(centre[axis]) + 0.5) * head.spacing_mm[axis]
        offsets.append((position - here).view([-1 if other == axis else 1 for other in range(3)]))
    distance = length((offsets[0], offsets[1], offsets[2])).clamp_min(1.0)
    room = resize(head.cavity_mm, size).div(12).clamp(0, 1)
    strength = share * radius_mm * torch.exp(-((distance / (6 * share * radius_mm + 10)) ** 2)) * room
    return torch.stack([offset / distance * strength for offset in offsets])


def push_inwards(head: Head, thickness: torch.Tensor) -> torch.Tensor:
    """Displacement away from the skull under an extra-axial bleed, fading with depth, in mm [3, coarse]."""
    size = coarse_size(head)
    depth = resize(head.cavity_mm, size)
    strength = resize(thickness, size) * torch.exp(-depth.clamp_min(0) / 35)
    inwards = torch.stack(torch.gradient(blur(depth, (1.2, 1.2, 1.2))))
    return inwards / inwards.norm(dim=0).clamp_min(1e-3) * strength


def give_way(head: Head, push: torch.Tensor, epidural: torch.Tensor) -> Head:
    """The head with its content moved by `push` (mm, on the coarse grid); the skull stays."""
    grid = torch.empty(*head.size, 3, device=head.device)
    for axis, (count, step) in enumerate(zip(head.size, head.spacing_mm, strict=True)):
        voxel = torch.arange(count, device=head.device).view([-1 if other == axis else 1 for other in range(3)])
        moved = voxel - resize(push[axis], head.size) / step
        grid[..., 2 - axis] = (2 * moved + 1) / count - 1
    stack = torch.stack([head.brain_mm, head.ventricle_mm, head.midline_mm, head.tentorium_mm])
    moved_fields = functional.grid_sample(stack[None], grid[None], padding_mode="border", align_corners=False)[0]
    moved_tissue = functional.grid_sample(
        head.tissue[None, None].float(), grid[None], mode="nearest", padding_mode="border", align_corners=False
    )[0, 0].to(torch.uint8)
    content = (head.cavity_mm > 0) & is_tissue(
        moved_tissue, (*BRAIN, Tissue.CSF, Tissue.VENTRICLE, Tissue.SINUS, Tissue.ARTERY)
    )
    tissue = torch.where(content, moved_tissue, head.tissue)
    brain, ventricle, midline, tentorium = moved_fields
    return dataclasses.replace(
        head, tissue=tissue, brain_mm=brain, ventricle_mm=ventricle, midline_mm=midline, tentorium_mm=tentorium
    )
