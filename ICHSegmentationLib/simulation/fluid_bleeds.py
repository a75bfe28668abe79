"""Bleeds that fill fluid: subarachnoid and intraventricular."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.simulation.anatomy import BRAIN, Head, Tissue, is_tissue
from ICHSegmentationLib.simulation.blood import Blood, Subtype
from ICHSegmentationLib.simulation.fields import length, smooth_noise
from ICHSegmentationLib.simulation.places import offsets_mm, pick_voxel


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
            blood=Blood.draw(rng, Subtype.SAH),
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
            blood=Blood.draw(rng, Subtype.IVH),
            form=str(rng.choice(["settled", "clots", "cast"], p=[0.5, 0.35, 0.15])),
            level=float(math.exp(rng.uniform(math.log(0.01), math.log(0.35)))),  # often a thin layer
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
