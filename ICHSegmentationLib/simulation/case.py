"""One simulated case: parameters drawn, then applied. A case can be replayed from its parameters."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ICHSegmentationLib.simulation.anatomy import Anatomy, Head
from ICHSegmentationLib.simulation.blood import Subtype
from ICHSegmentationLib.simulation.fields import Spacing
from ICHSegmentationLib.simulation.hardware import Device, draw_devices, insert_device
from ICHSegmentationLib.simulation.hemorrhage import AnyBleed, Bleeding, draw_bleeds, place_bleeds
from ICHSegmentationLib.simulation.pose import Pose, pose_head
from ICHSegmentationLib.simulation.records import from_json, to_json
from ICHSegmentationLib.simulation.scanner import Protocol, scan, thickened, to_slices
from ICHSegmentationLib.simulation.surgery import Opening, draw_beds, draw_openings, open_skull
from ICHSegmentationLib.simulation.tissue import Densities, paint

EDITION = 9  # of the simulator: counted up when a seed draws other cases than before
IGNORED = 255  # label of blood that noise and partial volume have hidden: neither bleed nor background


WIDTH_MM = (176.0, 220.0)  # field of view along x and y
MOST_FINE_VOXELS = 7e6  # what a case may cost
LEAST_SLICES = 4
SLAB_SHARE = 0.12  # of cases that show the vertex or the skull base alone, where most false bleeds are found


@dataclass(frozen=True)
class CaseParameters:
    """All that was drawn for one case."""

    anatomy: int  # which head
    slices: int
    width_mm: tuple[float, float]  # field of view along x and y
    pose: Pose
    densities: Densities
    openings: tuple[Opening, ...]
    bleeds: tuple[AnyBleed, ...]
    devices: tuple[Device, ...]
    protocol: Protocol

    @classmethod
    def draw(cls, rng: np.random.Generator, anatomies: int) -> CaseParameters:
        protocol = Protocol.draw(rng)
        pose = Pose.draw(rng)
        slices = math.ceil(rng.uniform(150, 175) / protocol.spacing_mm[2])
        affordable = affordable_slices(protocol, WIDTH_MM)
        width, offset = WIDTH_MM, pose.offset_mm
        if affordable < LEAST_SLICES:  # the finest pixels show a part of the head
            share = math.sqrt(affordable / LEAST_SLICES)
            width = (share * WIDTH_MM[0], share * WIDTH_MM[1])
            x, y = (
                place + rng.uniform(-0.4, 0.4) * (1 - share) * side
                for place, side in zip(offset[:2], WIDTH_MM, strict=True)
            )
            offset = (x, y, offset[2])
            affordable = LEAST_SLICES
        if slices > affordable:  # a slab of the head, anywhere in it
            spare_mm = (slices - affordable) * protocol.spacing_mm[2]
            offset = (*offset[:2], offset[2] + rng.uniform(-0.5, 0.5) * spare_mm)
            slices = int(affordable)
        pose = dataclasses.replace(pose, offset_mm=offset)
        bleeds = draw_bleeds(rng)
        if rng.random() < SLAB_SHARE:
            height = rng.uniform(50, 66) if rng.random() < 0.6 else rng.uniform(-75, -50)
            pose = dataclasses.replace(pose, offset_mm=(*pose.offset_mm[:2], float(height)))
            slices = min(slices, math.ceil(rng.uniform(30, 45) / protocol.spacing_mm[2]))
            bleeds = [] if rng.random() < 0.6 else bleeds
        anatomy, densities, openings = int(rng.integers(anatomies)), Densities.draw(rng), draw_openings(rng)
        return cls(
            anatomy=anatomy,
            slices=slices,
            width_mm=width,
            pose=pose,
            densities=densities,
            openings=openings,
            bleeds=(*bleeds, *draw_beds(rng, openings)),
            devices=draw_devices(rng),
            protocol=protocol,
        )

    def undisturbed(self) -> CaseParameters:
        """The same head on a table that keeps still, upright in the gantry, with nothing done to it or put into it."""
        return dataclasses.replace(
            self, pose=self.pose.undisturbed(), protocol=self.protocol.undisturbed(), openings=(), devices=()
        )

    def to_json(self) -> dict[str, Any]:
        values: dict[str, Any] = to_json(self)
        return values

    @classmethod
    def from_json(cls, values: Any) -> CaseParameters:
        """The parameters that `to_json` wrote; they simulate the same case to the last bit, on the same device.

        Raises:
            InputError: they are of another version, or not parameters.
        """
        return from_json(cls, values)


def affordable_slices(protocol: Protocol, width_mm: tuple[float, float]) -> float:
    x, y, _ = protocol.spacing_mm
    return MOST_FINE_VOXELS * x * y / (width_mm[0] * width_mm[1] * protocol.subslices)


@dataclass
class Case:
    """A simulated CT with its truth, arrays [x, y, z]."""

    hu: torch.Tensor  # float32, whole Hounsfield units
    subtype: torch.Tensor  # uint8 of Subtype, 0 background, IGNORED where blood cannot be seen
    volume_ml: dict[str, float]  # true volume of each subtype, before the scanner's partial volume
    spacing_mm: Spacing
    parameters: CaseParameters


LEAST_CONTRAST_HU = 5.0
LEAST_CONTRAST_TO_NOISE = 1.2
BONE_LIKE_HU = 100.0  # blood beside bone whose voxel looks like bone: a fifth of a thin subdural's


def simulate(parameters: CaseParameters, anatomy: Anatomy, device: torch.device | str = "cpu") -> Case:
    """Puts the head in its pose, lets it bleed, paints and scans it."""
    device = torch.device(device)
    protocol = parameters.protocol
    fine = protocol.fine_spacing_mm
    width, depth = (8 * round(extent / 8 / fine[0]) for extent in parameters.width_mm)
    size = (width, depth, parameters.slices * protocol.subslices)
    head = pose_head(anatomy, parameters.pose, size, fine, device)
    head, bleeding = place_bleeds(head, list(parameters.bleeds))
    painted, without_blood = paint_all(head, parameters, bleeding)
    hu = scan(painted, head, protocol)
    contrast = to_slices(painted - without_blood, protocol.subslices, protocol.coverage)
    kinds = sorted({bleed.subtype for bleed in parameters.bleeds})
    voxels = {kind: int((bleeding.subtype == kind).sum()) for kind in kinds}
    volumes = {kind.name: voxels.get(kind, 0) * head.voxel_ml for kind in Subtype}
    least_hu = max(LEAST_CONTRAST_HU, LEAST_CONTRAST_TO_NOISE * protocol.noise_hu)
    visible = (thickened(contrast, protocol.thickened) >= least_hu) & (hu <= BONE_LIKE_HU)
    subtype = label_slices(bleeding.subtype, kinds, visible, protocol.subslices, protocol.coverage)
    return Case(hu, subtype, volumes, protocol.spacing_mm, parameters)


def paint_all(head: Head, parameters: CaseParameters, bleeding: Bleeding) -> tuple[torch.Tensor, torch.Tensor]:
    """Hounsfield units [x, y, z] of the head with all that is in and on it, and of the same without blood."""
    painted, without_blood = paint(head, parameters.densities, bleeding)
    for opening in parameters.openings:
        open_skull(without_blood, head, opening)
    if parameters.openings:
        painted = torch.where(bleeding.subtype > 0, painted, without_blood)
    for device in parameters.devices:
        insert_device(painted, head, device)
        insert_device(without_blood, head, device)
    return painted, without_blood


def label_slices(
    fine: torch.Tensor, kinds: Iterable[Subtype], visible: torch.Tensor, subslices: int, coverage: float = 1.0
) -> torch.Tensor:
    """Label of each voxel: the bleed that fills at least half of what its slice averages; IGNORED if not visible."""
    best = torch.zeros(fine.shape[0], fine.shape[1], fine.shape[2] // subslices, device=fine.device)
    label = torch.zeros(best.shape, dtype=torch.uint8, device=fine.device)
    total = torch.zeros_like(best)
    for kind in kinds:
        share = to_slices((fine == kind).float(), subslices, coverage)
        total += share
        label = torch.where(share > best, int(kind), label)
        best = torch.maximum(best, share)
    label = torch.where(total >= 0.5, label, 0)
    return torch.where((label > 0) & ~visible, IGNORED, label).to(torch.uint8)
