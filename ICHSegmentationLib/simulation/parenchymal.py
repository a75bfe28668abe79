"""Bleeds within the brain: hematomas and contusions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.simulation.anatomy import CEREBELLUM, CEREBRUM, Head, Tissue, is_tissue
from ICHSegmentationLib.simulation.blood import Blood, Subtype
from ICHSegmentationLib.simulation.fields import smooth_noise
from ICHSegmentationLib.simulation.places import offsets_mm, pick_voxel, rough_ball


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
    satellites: int  # small bleeds beside it

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
            blood=Blood.draw(rng, Subtype.IPH),
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
            satellites=int(rng.integers(1, 5)) if not contusion and rng.random() < 0.25 else 0,
        )

    @classmethod
    def draw_plain(
        cls,
        rng: np.random.Generator,
        regions: Sequence[str],
        volume_ml: tuple[float, float],
        blood_hu: tuple[float, float],
    ) -> Parenchymal:
        """One that is sure to be there to see: in one of the regions, of a volume and a density between two."""
        bleed = cls.draw(rng, contusion=False)
        return dataclasses.replace(
            bleed,
            blood=dataclasses.replace(bleed.blood, hu=float(rng.uniform(*blood_hu))),
            region=str(rng.choice(regions)),
            volume_ml=float(rng.uniform(*volume_ml)),
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
        total = total.sqrt_().add_(rough).add_(fine)
        for _ in range(self.satellites):
            self.add_satellite(total, head, centre, rng)
        return total

    def add_satellite(self, distance: torch.Tensor, head: Head, centre: torch.Tensor, rng: np.random.Generator) -> None:
        """Lowers the distance below 1 in a small ball that lies free of the bleed, but near."""
        towards = rng.standard_normal(3)
        radius_mm = max(1.2, self.radius_mm * rng.uniform(0.1, 0.3))
        apart_mm = self.radius_mm * max(self.stretch) * (1 + self.roughness) + radius_mm + rng.uniform(1, 8)
        away = torch.from_numpy(towards / np.linalg.norm(towards) * apart_mm / np.array(head.spacing_mm))
        middle = (centre + away.to(centre.device).float()).round().long()
        seed = int(rng.integers(2**31))
        if not all(0 <= place < side for place, side in zip(middle.tolist(), head.size, strict=True)):
            return  # beyond the slices of a slab
        box, apart = rough_ball(head, middle, radius_mm, 0.15, seed)
        torch.minimum(distance[box], apart, out=distance[box])

    def centre(self, head: Head) -> torch.Tensor | None:
        regions = {
            "deep": lambda: head.tissue == Tissue.DEEP_GREY,
            "lobar": lambda: is_tissue(head.tissue, CEREBRUM) & (head.cavity_mm > 8),
            "cerebellum": lambda: is_tissue(head.tissue, CEREBELLUM),
            "brainstem": lambda: head.tissue == Tissue.BRAINSTEM,
            "cortex": lambda: (head.tissue == Tissue.CORTEX) & (head.cavity_mm > 0) & (head.cavity_mm < 12),
        }
        return pick_voxel(regions[self.region](), self.where)
