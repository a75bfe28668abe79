"""What surgery leaves of a skull: burr holes, bone flaps put back, defects; swelling, air and bleeds with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.simulation.anatomy import BONE, Head, Tissue, is_tissue
from ICHSegmentationLib.simulation.extraaxial import Extraaxial
from ICHSegmentationLib.simulation.places import (
    box_around,
    inner_table,
    offsets_mm,
    pick_voxel,
    rough_ball,
    under_vault,
)

OPERATED = 0.12  # share of heads: many follow-up scans, few first ones
BLED = 0.65  # share of openings with a bleed under them: what they were made for, or left
HOLE_MM = 6.5  # radius of a burr hole
REACH_MM = 16.0  # how far outside the cavity bone of the vault, and scalp over it, may lie


@dataclass(frozen=True)
class Opening:
    """One opening of the vault. JSON values only."""

    kind: str  # hole, flap (put back) or defect (left open)
    where: float
    radius_mm: float
    cut_mm: float  # width of the cut around a flap
    filling_hu: float
    swelling_hu: float  # of the scalp over it
    swollen: float  # how much of the scalp there is swelling, 0 to 1
    air_mm: float  # depth of the air under it; 0: none
    roughness: float
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Opening:
        kind = str(rng.choice(["hole", "flap", "defect"], p=[0.4, 0.4, 0.2]))
        return cls(
            kind=kind,
            where=float(rng.random()),
            radius_mm=HOLE_MM if kind == "hole" else float(rng.uniform(18, 48)),
            cut_mm=float(rng.uniform(1, 3.5)),
            filling_hu=float(rng.uniform(5, 55)),
            swelling_hu=float(rng.uniform(25, 65)),
            swollen=float(rng.uniform(0, 1)),
            air_mm=float(rng.uniform(1, 7)) if kind != "defect" and rng.random() < 0.4 else 0.0,
            roughness=float(rng.uniform(0, 0.06)),
            seed=int(rng.integers(2**31)),
        )


def draw_openings(rng: np.random.Generator) -> tuple[Opening, ...]:
    if rng.random() >= OPERATED:
        return ()
    return tuple(Opening.draw(rng) for _ in range(int(rng.choice([1, 2], p=[0.8, 0.2]))))


def draw_beds(rng: np.random.Generator, openings: tuple[Opening, ...]) -> tuple[Extraaxial, ...]:
    """The bleeds that lie under some of the openings."""
    return tuple(
        Extraaxial.under_opening(rng, opening.where, opening.radius_mm) for opening in openings if rng.random() < BLED
    )


def open_skull(hu: torch.Tensor, head: Head, opening: Opening) -> None:
    """Paints one opening into a painted head, if its vault is in view."""
    table = inner_table(head)
    below, bone = pick_voxel(under_vault(head), opening.where), table.nonzero()
    if below is None or len(bone) == 0:
        return
    apart_mm = (bone - below) * torch.tensor(head.spacing_mm, device=head.device)
    centre = bone[apart_mm.norm(dim=1).argmin()]
    box, distance = rough_ball(head, centre, opening.radius_mm, opening.roughness, opening.seed, reach_mm=REACH_MM)
    depth, tissue = head.cavity_mm[box], head.tissue[box]
    from_rim_mm = (distance - 1) * opening.radius_mm
    bony = is_tissue(tissue, BONE) & (depth > -REACH_MM)
    cut = from_rim_mm.abs() < opening.cut_mm / 2 if opening.kind == "flap" else from_rim_mm < 0
    part = hu[box]
    part = torch.where(bony & cut, opening.filling_hu, part)

    scalp = is_tissue(tissue, (Tissue.SKIN, Tissue.SOFT, Tissue.MUSCLE)) & (depth > -REACH_MM) & (depth <= 0)
    share = (1 - from_rim_mm / 15).clamp(0, 1) * opening.swollen * scalp
    part = part + (opening.swelling_hu - part) * share

    y = offsets_mm(head, centre)[1][:, box[1]]
    air = (depth > 0) & (depth < opening.air_mm) & (from_rim_mm < 0) & (y > 0)  # air rises: the patient lies supine
    hu[box] = torch.where(air, -900.0, part)
    if opening.kind == "flap":  # the saw started from burr holes
        for share_round in (0.1, 0.45, 0.8):
            drill(hu, head, on_rim(table, box, from_rim_mm, share_round), opening)


def on_rim(vault: torch.Tensor, box: tuple[slice, slice, slice], from_rim_mm: torch.Tensor, share: float) -> list[int]:
    """A voxel of the vault on the rim of a flap, in the whole grid; the middle of the box if none is."""
    found = pick_voxel(vault[box] & (from_rim_mm.abs() < 2), share)
    corner = [side.start for side in box]
    place = [n // 2 for n in from_rim_mm.shape] if found is None else found.tolist()
    return [low + inner for low, inner in zip(corner, place, strict=True)]


def drill(hu: torch.Tensor, head: Head, centre: list[int], opening: Opening) -> None:
    """One burr hole through the bone around a voxel."""
    box = box_around(head, [float(c) for c in centre], HOLE_MM)
    x, y, z = offsets_mm(head, torch.tensor(centre, device=head.device))
    near = x[box[0]] ** 2 + y[:, box[1]] ** 2 + z[:, :, box[2]] ** 2 < HOLE_MM**2
    hole = near & is_tissue(head.tissue[box], BONE)
    hu[box] = torch.where(hole, opening.filling_hu, hu[box])
