"""Look-alikes: what looks like a bleed, or lies where bleeds do, and is none: calcifications, infarcts, tumours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.simulation.anatomy import BONE, BRAIN, CEREBRUM, Head, Tissue, is_tissue
from ICHSegmentationLib.simulation.blood import Subtype
from ICHSegmentationLib.simulation.places import pick_voxel, rough_ball


@dataclass(frozen=True)
class Spot:
    """A rough ball of one density: calcification, infarct, thin skull, air, scalp swelling. JSON values only."""

    kind: str
    where: float
    radius_mm: float
    roughness: float
    hu: float
    strength: float  # 1 replaces the tissue, less blends
    seed: int


OVER_BLOOD = "scalp over blood"  # where the blow was: only in heads that bleed under the skull
SCALP = ("scalp", OVER_BLOOD)
OUTSIDE = ("skull", *SCALP)  # kinds that lie outside the cavity

SPOTS = {
    # kind: (probability, most of them, radius mm, hu, strength)
    "choroid": (0.6, 2, (1.2, 4.5), (60, 400), (0.8, 1)),
    "pineal": (0.6, 1, (1.2, 4), (70, 400), (0.8, 1)),
    "basal ganglia": (0.2, 2, (1, 4), (50, 180), (0.5, 1)),
    "artery": (0.3, 3, (0.8, 2.2), (130, 700), (0.6, 1)),  # plaques
    "falx": (0.25, 2, (1, 4), (80, 700), (0.8, 1)),
    "infarct": (0.3, 3, (3, 32), (8, 24), (0.4, 1)),
    "skull": (0.1, 1, (4, 45), (10, 55), (1, 1)),
    "air": (0.06, 2, (2, 12), (-950, -300), (1, 1)),
    "scalp": (0.35, 2, (10, 45), (35, 75), (1, 1)),
    OVER_BLOOD: (0.5, 1, (22, 60), (35, 75), (1, 1)),
}


def draw_spots(rng: np.random.Generator) -> tuple[Spot, ...]:
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
    return tuple(spots)


TUMOURS = 0.04  # share of heads with tumours: few, as those who come with a suspected bleed


@dataclass(frozen=True)
class Tumour:
    """A rough ball with a darker core, in edema that spreads through white matter. JSON values only."""

    in_brain: bool  # else against the skull
    where: float
    radius_mm: float
    roughness: float
    above_grey_hu: float  # less than any bleed is
    core: float  # radius of the dead core, share of the tumour's
    core_hu: float
    edema_mm: float
    edema_hu: float  # taken off white matter
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Tumour:
        return cls(
            in_brain=bool(rng.random() < 0.7),
            where=float(rng.random()),
            radius_mm=float(math.exp(rng.uniform(math.log(4), math.log(22)))),
            roughness=float(rng.uniform(0.05, 0.2)),
            above_grey_hu=float(rng.uniform(-6, 5)),
            core=float(rng.uniform(0.3, 0.75)) if rng.random() < 0.5 else 0.0,
            core_hu=float(rng.uniform(10, 26)),
            edema_mm=float(rng.uniform(0, 22)),
            edema_hu=float(rng.uniform(6, 14)),
            seed=int(rng.integers(2**31)),
        )


def draw_tumours(rng: np.random.Generator) -> tuple[Tumour, ...]:
    """One, or several metastases."""
    if rng.random() >= TUMOURS:
        return ()
    return tuple(Tumour.draw(rng) for _ in range(int(rng.choice([1, 2, 4], p=[0.7, 0.2, 0.1]))))


def paint_tumour(hu: torch.Tensor, head: Head, tumour: Tumour, grey_hu: float) -> None:
    """Paints a tumour and its edema, if the head offers a place; it does not displace (its mass is not simulated)."""
    brain = is_tissue(head.tissue, CEREBRUM) & (head.cavity_mm > 0)
    depth = head.cavity_mm > 12 if tumour.in_brain else head.cavity_mm < 6
    centre = pick_voxel(brain & depth, tumour.where)
    if centre is None:
        return
    radius = tumour.radius_mm
    box, distance = rough_ball(head, centre, radius, tumour.roughness, tumour.seed, reach_mm=tumour.edema_mm)
    inside = (head.cavity_mm[box] > 0) & ~is_tissue(head.tissue[box], BONE)
    white = head.tissue[box] == Tissue.WHITE
    around = (1 - (distance - 1) * radius / max(1.0, tumour.edema_mm)).clamp(0, 1) * (distance >= 1) * white * inside
    body = ((1 - distance) * radius / 2).clamp(0, 1) * inside  # an edge of two millimetres
    density = torch.where(distance < tumour.core, tumour.core_hu, grey_hu + tumour.above_grey_hu)
    swollen = hu[box] - around.sqrt() * tumour.edema_hu
    hu[box] = swollen + (density - swollen) * body


def paint_spot(hu: torch.Tensor, head: Head, spot: Spot, bleeds: torch.Tensor) -> None:
    """Blends one spot into the painted head, where that kind of spot can be.

    `bleeds`: [x, y, z], the subtype of what bleeds, 0 where nothing does.
    """
    candidates = centres_for(spot.kind, head, bleeds)
    centre = None if candidates is None else pick_voxel(candidates, spot.where)
    if centre is None:
        return
    box, distance = rough_ball(head, centre, spot.radius_mm, spot.roughness, spot.seed)
    share = ((1 - distance) * 4).clamp(0, 1) * spot.strength * may_hold(spot.kind, head.part(box))
    hu[box] = hu[box] * (1 - share) + spot.hu * share


def centres_for(kind: str, head: Head, bleeds: torch.Tensor) -> torch.Tensor | None:
    """Where the middle of such a spot can be, [x, y, z]; None where this head offers no place."""
    tissue, inside = head.tissue, head.cavity_mm > 0
    if kind == "choroid":
        in_ventricle = tissue == Tissue.VENTRICLE
        ventricle = in_ventricle.nonzero()
        if len(ventricle) < 100:
            return None
        back = float(ventricle[:, 1].float().quantile(0.25)) if len(ventricle) < 2**23 else 0.0
        return in_ventricle & (torch.arange(head.size[1], device=head.device)[None, :, None] < back)
    if kind == "pineal":
        deep = (tissue == Tissue.DEEP_GREY) & (head.midline_mm.abs() < 14)
        found = deep.nonzero()
        if len(found) == 0:
            return None
        y = torch.arange(head.size[1], device=head.device)[None, :, None]
        candidates = inside & (head.midline_mm.abs() < 2) & ((y - found[:, 1].min()).abs() <= 2)
        middle = int(found[:, 2].float().mean())
        return candidates & ((torch.arange(head.size[2], device=head.device) - middle).abs() <= 3)
    if kind == "basal ganglia":
        return tissue == Tissue.DEEP_GREY
    if kind == "artery":
        return (tissue == Tissue.ARTERY) & inside
    if kind == "falx":
        return inside & (head.midline_mm.abs() < 1.5) & (head.brain_mm < 2) & (head.tentorium_mm > 5)
    if kind == "infarct":
        return is_tissue(tissue, CEREBRUM) & inside
    if kind == "skull":
        return is_tissue(tissue, BONE) & (head.tentorium_mm > 10)
    if kind == "air":
        return inside & (head.cavity_mm < 8)
    if kind == OVER_BLOOD:
        return ((bleeds == Subtype.SDH) | (bleeds == Subtype.EDH)) & (head.cavity_mm < 6)
    return (tissue == Tissue.SKIN) & (head.cavity_mm > -16)


def may_hold(kind: str, part: Head) -> torch.Tensor:
    """Which voxels of a part of the head such a spot may paint, [x, y, z]."""
    inside = part.cavity_mm > 0
    if kind == "infarct":
        return is_tissue(part.tissue, BRAIN) & inside
    if kind == "skull":
        return is_tissue(part.tissue, BONE) & ~inside
    if kind == "air":
        return inside & (part.cavity_mm < 12)
    if kind in SCALP:
        deep = (part.cavity_mm > -20) & (part.cavity_mm < -4)
        return (part.tissue != Tissue.CORTICAL_BONE) & ~inside & deep
    return inside
