"""Bleeds: drawn from the statistics of real ones, then placed in a head.

Volumes and densities follow the whole-lesion statistics of real hemorrhages (InSilicoICH, CC0), widened at both
ends. Chronic blood that is no denser than brain is out of scope: it is not simulated, and not found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.simulation.anatomy import Head, Tissue
from ICHSegmentationLib.simulation.extraaxial import OUTER, Extraaxial
from ICHSegmentationLib.simulation.fields import Box, bounding_box, smooth_noise
from ICHSegmentationLib.simulation.fluid_bleeds import Intraventricular, Subarachnoid
from ICHSegmentationLib.simulation.mass_effect import coarse_size, give_way, push_from, push_inwards
from ICHSegmentationLib.simulation.parenchymal import Parenchymal

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
    fluid_hu: torch.Tensor | None = None  # of fluid that shares a pocket with blood, NaN elsewhere; None: no such

    @classmethod
    def none(cls, head: Head) -> Bleeding:
        zeros = torch.zeros(head.size, device=head.device)
        return cls(zeros.to(torch.uint8), zeros, zeros.clone())

    def part(self, box: Box) -> Bleeding:
        """What lies in a box, without a copy."""
        fluid = None if self.fluid_hu is None else self.fluid_hu[box]
        return Bleeding(self.subtype[box], self.hu[box], self.edema_hu[box], fluid)


def place_bleeds(head: Head, bleeds: list[AnyBleed]) -> tuple[Head, Bleeding]:
    """Puts bleeds into a head: those that need room first (tissue gives way), then those that fill fluid."""
    bleeding = Bleeding.none(head)
    box = head.cavity_box  # all of it happens within the skull
    if not bleeds or box is None:
        return head, bleeding
    if any(isinstance(bleed, Extraaxial) and bleed.fluid is not None for bleed in bleeds):
        bleeding.fluid_hu = torch.full(head.size, torch.nan, device=head.device)
    before = head.part(box)
    after = bleed_into(before, bleeding.part(box), bleeds)
    return head if after is before else head.with_part(box, after), bleeding


def bleed_into(head: Head, bleeding: Bleeding, bleeds: list[AnyBleed]) -> Head:
    """Adds bleeds to a bleeding, in place, and gives the head as they leave it."""
    push = torch.zeros(3, *coarse_size(head), device=head.device)
    inside = (head.cavity_mm > 0.5) & (head.tissue != Tissue.AIR)
    for bleed in bleeds:
        if isinstance(bleed, Parenchymal):
            centre = bleed.centre(head)
            if centre is None:
                continue
            distance = bleed.distance(head, centre)
            rim = ((1 + bleed.edema_width - distance) / bleed.edema_width).clamp(0, 1) * (distance >= 1)
            bleeding.edema_hu[:] = torch.maximum(bleeding.edema_hu, rim * bleed.edema_hu)
            fill(bleeding, (distance < 1) & inside & (head.brain_mm > -1.5), bleed)
            push += push_from(head, centre, bleed.radius_mm, bleed.push)
        elif isinstance(bleed, Extraaxial):
            thickness = bleed.thickness(head)
            if thickness is None:
                continue
            pocket = bleed.mask(head, thickness)
            if bleed.fluid is not None and bleeding.fluid_hu is not None:
                fluid = pocket & bleed.fluid.mask(head, thickness) & (bleeding.subtype == 0)
                bleeding.fluid_hu[:] = torch.where(fluid, bleed.fluid.density(head), bleeding.fluid_hu)
                pocket &= ~fluid
            fill(bleeding, pocket, bleed)
            if bleed.along in OUTER:
                push += push_inwards(head, thickness * bleed.push)
    if bool(push.abs().max() > 0.3):
        head = give_way(head, push)
    for bleed in bleeds:
        if isinstance(bleed, Subarachnoid | Intraventricular):
            mask = bleed.mask(head)
            if mask is not None:
                fill(bleeding, mask & (bleeding.subtype == 0), bleed)
    return head


def fill(bleeding: Bleeding, mask: torch.Tensor, bleed: AnyBleed) -> None:
    """Marks and paints one bleed where `mask` is set, but for fluid that is there already."""
    if bleeding.fluid_hu is not None:
        mask = mask & bleeding.fluid_hu.isnan()
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
