"""Densities: the head painted in Hounsfield units on its fine grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.simulation.anatomy import BRAIN, Head, Tissue, is_tissue
from ICHSegmentationLib.simulation.fields import smooth_noise
from ICHSegmentationLib.simulation.hemorrhage import Bleeding
from ICHSegmentationLib.simulation.look_alikes import (
    OUTSIDE,
    Spot,
    Tumour,
    draw_spots,
    draw_tumours,
    paint_spot,
    paint_tumour,
)


@dataclass(frozen=True)
class Densities:
    """Everything the paint is mixed from. Hounsfield units; JSON values only."""

    white: float
    grey_above_white: float
    ventricle: float
    csf_above_ventricle: float
    sinus: float
    artery: float
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
    tumours: tuple[Tumour, ...]

    @property
    def grey(self) -> float:
        return self.white + self.grey_above_white

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Densities:
        ventricle = rng.uniform(0, 14)
        return cls(
            white=float(rng.uniform(23, 35)),
            # swelling and poor circulation blur grey and white
            grey_above_white=float(rng.uniform(0.5, 4) if rng.random() < 0.06 else rng.uniform(4, 12)),
            ventricle=float(ventricle),
            csf_above_ventricle=float(rng.uniform(0, 12)),
            sinus=float(rng.uniform(38, 70)),
            artery=float(rng.uniform(52, 75) if rng.random() < 0.05 else rng.uniform(36, 52)),  # few are dense
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
            spots=draw_spots(rng),
            tumours=draw_tumours(rng),
        )


def paint(head: Head, densities: Densities, bleeding: Bleeding) -> tuple[torch.Tensor, torch.Tensor]:
    """Hounsfield units [x, y, z] of the head with its bleeds, and of the same head without their blood."""
    d = densities
    tissue, device = head.tissue, head.device
    grid = (head.size, head.spacing_mm)
    table = torch.full((len(Tissue),), -1000.0, device=device)
    for kind, value in {
        Tissue.SKIN: 20.0,
        Tissue.SOFT: d.fat,
        Tissue.MUSCLE: d.muscle,
        Tissue.CORTICAL_BONE: d.cortical,
        Tissue.CANCELLOUS_BONE: d.cancellous,
        Tissue.CSF: d.ventricle + d.csf_above_ventricle,
        Tissue.VENTRICLE: d.ventricle,
        Tissue.CORTEX: d.grey,
        Tissue.WHITE: d.white,
        Tissue.DEEP_GREY: d.grey + 0.5,
        Tissue.CEREBELLUM_GREY: d.grey,
        Tissue.CEREBELLUM_WHITE: d.white + 2,
        Tissue.BRAINSTEM: (d.grey + d.white) / 2,
        Tissue.SINUS: d.sinus,
        Tissue.ARTERY: d.artery,
        Tissue.EYE: 10.0,
        Tissue.MUCOSA: 35.0,
        Tissue.CORD: 34.0,
    }.items():
        table[kind] = value
    hu = table[tissue.int()]
    soft = tissue == Tissue.SOFT
    muscle = (smooth_noise(d.seed, *grid, 14, device) * 1.2 + d.muscle_share).clamp(-0.5, 0.5) + 0.5
    hu = torch.where(soft, d.fat + muscle * (d.muscle - d.fat), hu)

    box = head.cavity_box
    if box is not None:
        paint_content(hu[box], head.part(box), d, bleeding.part(box))
    for spot in d.spots:
        if spot.kind in OUTSIDE:
            paint_spot(hu, head, spot, bleeding.subtype)
    blood = bleeding.subtype > 0
    # blood that is no denser than the tissue around cannot be told from it: keep a least contrast
    return torch.where(blood, bleeding.hu.clamp_min(d.grey + 6), hu), hu


def paint_content(hu: torch.Tensor, head: Head, d: Densities, bleeding: Bleeding) -> None:
    """Paints what lies within the skull, but for the blood, over the plain densities of tissues, in place."""
    tissue, device = head.tissue, head.device
    grid = (head.size, head.spacing_mm)
    inside = head.cavity_mm > 0
    texture = smooth_noise(d.seed + 1, *grid, 30, device) * d.slow_texture
    texture += smooth_noise(d.seed + 2, *grid, 6, device) * d.fine_texture
    hu += texture * inside

    if d.leukoaraiosis:
        near = (1 + head.ventricle_mm / 12).clamp(0, 1)
        hu -= (tissue == Tissue.WHITE) * near * d.leukoaraiosis
    surface = inside & (head.brain_mm < 2.5) & ~is_tissue(tissue, (Tissue.VENTRICLE, Tissue.WHITE, Tissue.DEEP_GREY))
    membrane = (head.midline_mm.abs() < d.falx_mm) & (head.tentorium_mm > 3)
    membrane |= head.tentorium_mm.abs() < d.tentorium_mm
    hu[:] = torch.where(membrane & surface, hu.clamp_min(d.dura), hu)
    patchy = d.rim_mm + smooth_noise(d.seed + 3, *grid, 22, device) * 0.6
    rim = inside & (head.cavity_mm <= patchy) & ~is_tissue(tissue, (Tissue.WHITE, Tissue.BRAINSTEM))
    hu[:] = torch.where(rim, hu.clamp_min(d.rim), hu)

    hu -= is_tissue(tissue, BRAIN) * inside * bleeding.edema_hu
    if bleeding.fluid_hu is not None:
        hu[:] = torch.where(bleeding.fluid_hu.isnan(), hu, bleeding.fluid_hu)
    for tumour in d.tumours:
        paint_tumour(hu, head, tumour, d.grey)
    for spot in d.spots:
        if spot.kind not in OUTSIDE:
            paint_spot(hu, head, spot, bleeding.subtype)
