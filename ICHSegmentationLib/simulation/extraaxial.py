"""Bleeds between skull and brain: subdural and epidural."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.simulation.anatomy import Head
from ICHSegmentationLib.simulation.blood import Blood, Subtype
from ICHSegmentationLib.simulation.fields import length, smooth_noise
from ICHSegmentationLib.simulation.places import offsets_mm, pick_voxel, under_vault

FLUID_SHARE = {Subtype.EDH: 0.3, Subtype.SDH: 0.12}  # of the bleeds of the convexity
FLUID_SHARE_OPENED = 0.6  # of those under an opening of the skull
OUTER = ("convexity", "opening")  # along the skull, so that the brain gives way to them


@dataclass(frozen=True)
class Fluid:
    """Serum or cerebrospinal fluid in the pocket of a bleed, on the skull's side of the blood; no blood, no label.

    One of the five real patients that this simulator is judged on bleeds so: a dark pocket under the skull with
    bubbles of air in it, and a faint layer of blood between it and the brain.
    """

    share: float  # of the pocket's thickness
    lobed: float
    hu: float
    air: float  # bubbles are where a field of unit variance is above; far above: none
    air_hu: float
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Fluid:
        return cls(
            share=float(rng.uniform(0.15, 0.7)),
            lobed=float(rng.uniform(0.1, 0.4)),
            hu=float(rng.uniform(4, 26)),
            air=float(rng.uniform(1.2, 2.6)) if rng.random() < 0.5 else 9.0,
            air_hu=float(rng.uniform(-950, -300)),
            seed=int(rng.integers(2**31)),
        )

    def mask(self, head: Head, thickness: torch.Tensor) -> torch.Tensor:
        """Where the pocket of a bleed, `thickness` mm deep, [x, y, z], is fluid if it lies in the pocket at all."""
        lobes = smooth_noise(self.seed, head.size, head.spacing_mm, 14, head.device) * self.lobed
        return head.cavity_mm < thickness * (self.share + lobes)

    def density(self, head: Head) -> torch.Tensor:
        """Hounsfield units of the fluid with its air, [x, y, z]."""
        bubbles = smooth_noise(self.seed + 1, head.size, head.spacing_mm, 5, head.device) > self.air
        return torch.where(bubbles, self.air_hu, torch.full(head.size, self.hu, device=head.device))


@dataclass(frozen=True)
class Extraaxial:
    """Bleed between skull and brain: subdural (a crescent, or along falx or tentorium) or epidural (a lens)."""

    blood: Blood
    fluid: Fluid | None
    epidural: bool
    along: str  # convexity, falx, tentorium, or the opening of the skull that was drawn with the same `where`
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
        kind = Subtype.EDH if epidural else Subtype.SDH
        return cls(
            blood=Blood.draw(rng, kind),
            fluid=Fluid.draw(rng) if along == "convexity" and rng.random() < FLUID_SHARE[kind] else None,
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

    @classmethod
    def under_opening(cls, rng: np.random.Generator, where: float, radius_mm: float) -> Extraaxial:
        """What an operation leaves under the bone: a thin layer of blood, mostly with fluid, or a new bleed."""
        return dataclasses.replace(
            cls.draw(rng, epidural=rng.random() < 0.5),
            fluid=Fluid.draw(rng) if rng.random() < FLUID_SHARE_OPENED else None,
            along="opening",
            where=where,
            thickness_mm=float(np.clip(math.exp(rng.normal(math.log(5.0), 0.5)), 2.0, 20)),
            extent_mm=float(np.clip(radius_mm * rng.uniform(0.7, 1.6), 15, 70)),
            steepness=float(rng.uniform(2, 6)),
        )

    def thickness(self, head: Head) -> torch.Tensor | None:
        """Thickness in mm of the bleed facing each voxel, [x, y, z]; None where this head offers no place for it."""
        inside = head.cavity_mm > 0
        side = head.midline_mm > 0
        surface = head.brain_mm < 2.5
        if self.along == "opening":
            candidates = under_vault(head)
        elif self.along == "convexity":
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
        if self.along in OUTER:
            return inside & (head.cavity_mm <= thickness)
        apart = head.midline_mm.abs() if self.along == "falx" else head.tentorium_mm.abs()
        surface = head.brain_mm < thickness + 1
        return inside & (apart <= thickness) & surface & (head.cavity_mm > 1)
