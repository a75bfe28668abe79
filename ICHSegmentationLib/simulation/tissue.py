"""Densities: the head painted in Hounsfield units on its fine grid, with all that looks like blood and is none."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.simulation.anatomy import BONE, BRAIN, CEREBRUM, Head, Tissue, is_tissue
from ICHSegmentationLib.simulation.fields import length, smooth_noise
from ICHSegmentationLib.simulation.hemorrhage import Bleeding
from ICHSegmentationLib.simulation.places import offsets_mm, pick_voxel


@dataclass(frozen=True)
class Spot:
    """A rough ball of one density: calcification, infarct, flap, air, scalp swelling."""

    kind: str
    where: float
    radius_mm: float
    roughness: float
    hu: float
    strength: float  # 1 replaces the tissue, less blends
    seed: int


SPOTS = {
    # kind: (probability, most of them, radius mm, hu, strength)
    "choroid": (0.6, 2, (1.2, 4.5), (60, 400), (0.8, 1)),
    "pineal": (0.6, 1, (1.2, 4), (70, 400), (0.8, 1)),
    "basal ganglia": (0.2, 2, (1, 4), (50, 180), (0.5, 1)),
    "falx": (0.25, 2, (1, 4), (80, 700), (0.8, 1)),
    "infarct": (0.3, 3, (3, 32), (8, 24), (0.4, 1)),
    "skull": (0.1, 1, (4, 45), (10, 55), (1, 1)),
    "air": (0.06, 2, (2, 12), (-950, -300), (1, 1)),
    "scalp": (0.35, 2, (10, 45), (35, 75), (1, 1)),
}


@dataclass(frozen=True)
class Densities:
    """Everything the paint is mixed from. Hounsfield units; JSON values only."""

    white: float
    grey_above_white: float
    ventricle: float
    csf_above_ventricle: float
    sinus: float
    dura: float
    falx_mm: float
    tentorium_mm: float
    rim_mm: float  # dura and collapsed cortex under the skull
    rim: float
    muscle: float
    fat: float
    muscle_share: float
    cortical: float
    cancellous: float
    slow_texture: float
    fine_texture: float
    leukoaraiosis: float
    seed: int
    spots: tuple[Spot, ...]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Densities:
        spots = []
        for kind, (probability, most, radius, hu, strength) in SPOTS.items():
            if rng.random() < probability:
                for _ in range(int(rng.integers(1, most + 1))):
                    spots.append(
                        Spot(
                            kind,
                            float(rng.random()),
                            float(math.exp(rng.uniform(math.log(radius[0]), math.log(radius[1])))),
                            float(rng.uniform(0.1, 0.35)),
                            float(rng.uniform(*hu)),
                            float(rng.uniform(*strength)),
                            int(rng.integers(2**31)),
                        )
                    )
        ventricle = rng.uniform(0, 14)
        return cls(
            white=float(rng.uniform(23, 35)),
            grey_above_white=float(rng.uniform(4, 12)),
            ventricle=float(ventricle),
            csf_above_ventricle=float(rng.uniform(0, 12)),
            sinus=float(rng.uniform(38, 70)),
            dura=float(rng.uniform(34, 70)),
            falx_mm=float(rng.uniform(0.4, 1.6)),
            tentorium_mm=float(rng.uniform(0.4, 1.4)),
            rim_mm=float(rng.uniform(0.3, 1.6)),
            rim=float(rng.uniform(30, 58)),
            muscle=float(rng.uniform(40, 68)),
            fat=float(rng.uniform(-115, -60)),
            muscle_share=float(rng.uniform(-0.6, 1.0)),
            cortical=float(rng.uniform(800, 1900)),
            cancellous=float(rng.uniform(250, 900)),
            slow_texture=float(rng.uniform(0.3, 1.6)),
            fine_texture=float(rng.uniform(0.3, 1.5)),
            leukoaraiosis=float(rng.uniform(2, 9)) if rng.random() < 0.4 else 0.0,
            seed=int(rng.integers(2**31)),
            spots=tuple(spots),
        )


def paint(head: Head, densities: Densities, bleeding: Bleeding) -> tuple[torch.Tensor, torch.Tensor]:
    """Hounsfield units [x, y, z] of the head with its bleeds, and of the same head without their blood."""
    d = densities
    tissue, device = head.tissue, head.device
    grid = (head.size, head.spacing_mm)
    grey = d.white + d.grey_above_white
    table = torch.full((len(Tissue),), -1000.0, device=device)
    for kind, value in {
        Tissue.SKIN: 20.0,
        Tissue.SOFT: d.fat,
        Tissue.MUSCLE: d.muscle,
        Tissue.CORTICAL_BONE: d.cortical,
        Tissue.CANCELLOUS_BONE: d.cancellous,
        Tissue.CSF: d.ventricle + d.csf_above_ventricle,
        Tissue.VENTRICLE: d.ventricle,
        Tissue.CORTEX: grey,
        Tissue.WHITE: d.white,
        Tissue.DEEP_GREY: grey + 0.5,
        Tissue.CEREBELLUM_GREY: grey,
        Tissue.CEREBELLUM_WHITE: d.white + 2,
        Tissue.BRAINSTEM: (grey + d.white) / 2,
        Tissue.SINUS: d.sinus,
        Tissue.ARTERY: 42.0,
        Tissue.EYE: 10.0,
        Tissue.MUCOSA: 35.0,
        Tissue.CORD: 34.0,
    }.items():
        table[kind] = value
    hu = table[tissue.int()]
    inside = head.cavity_mm > 0
    brain = is_tissue(tissue, BRAIN) & inside

    soft = tissue == Tissue.SOFT
    muscle = (smooth_noise(d.seed, *grid, 14, device) * 1.2 + d.muscle_share).clamp(-0.5, 0.5) + 0.5
    hu = torch.where(soft, d.fat + muscle * (d.muscle - d.fat), hu)
    texture = smooth_noise(d.seed + 1, *grid, 30, device) * d.slow_texture
    texture += smooth_noise(d.seed + 2, *grid, 6, device) * d.fine_texture
    hu += texture * inside

    if d.leukoaraiosis:
        near = (1 + head.ventricle_mm / 12).clamp(0, 1)
        hu -= torch.where(tissue == Tissue.WHITE, near * d.leukoaraiosis, 0.0)
    surface = inside & (head.brain_mm < 2.5) & ~is_tissue(tissue, (Tissue.VENTRICLE, Tissue.WHITE, Tissue.DEEP_GREY))
    membrane = (head.midline_mm.abs() < d.falx_mm) & (head.tentorium_mm > 3)
    membrane |= head.tentorium_mm.abs() < d.tentorium_mm
    hu = torch.where(membrane & surface, hu.clamp_min(d.dura), hu)
    patchy = d.rim_mm + smooth_noise(d.seed + 3, *grid, 22, device) * 0.6
    rim = inside & (head.cavity_mm <= patchy) & ~is_tissue(tissue, (Tissue.WHITE, Tissue.BRAINSTEM))
    hu = torch.where(rim, hu.clamp_min(d.rim), hu)

    hu -= torch.where(brain, bleeding.edema_hu, 0.0)
    for spot in d.spots:
        paint_spot(hu, head, spot)
    blood = bleeding.subtype > 0
    # blood that is no denser than the tissue around cannot be told from it: keep a least contrast
    return torch.where(blood, bleeding.hu.clamp_min(grey + 6), hu), hu


def paint_spot(hu: torch.Tensor, head: Head, spot: Spot) -> None:
    """Blends one spot into the painted head, where that kind of spot can be."""
    tissue, inside = head.tissue, head.cavity_mm > 0
    if spot.kind == "choroid":
        ventricle = (tissue == Tissue.VENTRICLE).nonzero()
        if len(ventricle) < 100:
            return
        back = float(ventricle[:, 1].float().quantile(0.25)) if len(ventricle) < 2**23 else 0.0
        y = torch.arange(head.size[1], device=head.device)[None, :, None]
        candidates, allowed = (tissue == Tissue.VENTRICLE) & (y < back), inside
    elif spot.kind == "pineal":
        deep = (tissue == Tissue.DEEP_GREY) & (head.midline_mm.abs() < 14)
        found = deep.nonzero()
        if len(found) == 0:
            return
        y = torch.arange(head.size[1], device=head.device)[None, :, None]
        candidates = inside & (head.midline_mm.abs() < 2) & ((y - found[:, 1].min()).abs() <= 2)
        candidates &= (torch.arange(head.size[2], device=head.device) - int(found[:, 2].float().mean())).abs() <= 3
        allowed = inside
    elif spot.kind == "basal ganglia":
        candidates, allowed = tissue == Tissue.DEEP_GREY, inside
    elif spot.kind == "falx":
        candidates = inside & (head.midline_mm.abs() < 1.5) & (head.brain_mm < 2) & (head.tentorium_mm > 5)
        allowed = inside
    elif spot.kind == "infarct":
        candidates = is_tissue(tissue, CEREBRUM) & inside
        allowed = is_tissue(tissue, BRAIN) & inside
    elif spot.kind == "skull":
        candidates = is_tissue(tissue, BONE) & (head.tentorium_mm > 10)
        allowed = is_tissue(tissue, BONE)
    elif spot.kind == "air":
        candidates = inside & (head.cavity_mm < 8)
        allowed = inside & (head.cavity_mm < 12)
    else:
        candidates = (tissue == Tissue.SKIN) & (head.cavity_mm > -16)
        allowed = (tissue != Tissue.CORTICAL_BONE) & ~inside & (head.cavity_mm > -20) & (head.cavity_mm < -4)
    centre = pick_voxel(candidates, spot.where)
    if centre is None:
        return
    reach = 1.8 * spot.radius_mm + 2
    box = tuple(
        slice(max(0, int(c - reach / s)), min(n, int(c + reach / s) + 2))
        for c, s, n in zip(centre.tolist(), head.spacing_mm, head.size, strict=True)
    )
    x, y, z = offsets_mm(head, centre)
    distance = length((x[box[0]], y[:, box[1]], z[:, :, box[2]])) / spot.radius_mm
    size = tuple(distance.shape)
    wavelength = max(2.0, spot.radius_mm * 0.7)
    distance = distance + smooth_noise(spot.seed, size, head.spacing_mm, wavelength, head.device) * spot.roughness
    share = ((1 - distance) * 4).clamp(0, 1) * spot.strength * allowed[box]
    hu[box] = hu[box] * (1 - share) + spot.hu * share
