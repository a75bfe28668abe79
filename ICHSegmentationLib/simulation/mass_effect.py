"""Mass effect: the content of the skull gives way to a bleed, the skull stays."""

from __future__ import annotations

import dataclasses
import math

import torch

from ICHSegmentationLib.simulation.anatomy import BRAIN, Head, Tissue, is_tissue
from ICHSegmentationLib.simulation.fields import blur, resize
from ICHSegmentationLib.simulation.sampling import (
    as_column,
    node_voxels,
    sampled_distances,
    sampled_labels,
    sampling_grid,
)

COARSE_MM = 4.0  # displacements are smooth: they are worked out on a grid this coarse


def coarse_size(head: Head) -> tuple[int, int, int]:
    x, y, z = (max(4, math.ceil(n * s / COARSE_MM)) for n, s in zip(head.size, head.spacing_mm, strict=True))
    return x, y, z


def push_from(head: Head, centre: torch.Tensor, radius_mm: float, share: float) -> torch.Tensor:
    """Displacement away from a bleed in the brain, fading with distance and towards the skull, in mm [3, coarse]."""
    size = coarse_size(head)
    voxels = node_voxels(head.size, size, head.device) - as_column(centre.tolist(), head.device)
    offsets = voxels * as_column(head.spacing_mm, head.device)
    distance = offsets.norm(dim=0).clamp_min(1.0)
    room = resize(head.cavity_mm, size).div(12).clamp(0, 1)
    strength = share * radius_mm * torch.exp(-((distance / (6 * share * radius_mm + 10)) ** 2)) * room
    return offsets / distance * strength


def push_inwards(head: Head, thickness: torch.Tensor) -> torch.Tensor:
    """Displacement away from the skull under an extra-axial bleed, fading with depth, in mm [3, coarse]."""
    size = coarse_size(head)
    depth = resize(head.cavity_mm, size)
    strength = resize(thickness, size) * torch.exp(-depth.clamp_min(0) / 35)
    apart_mm = [(n - 1) * s / (few - 1) for n, s, few in zip(head.size, head.spacing_mm, size, strict=True)]
    inwards = torch.stack(torch.gradient(blur(depth, (1.2, 1.2, 1.2)), spacing=apart_mm))
    return inwards / inwards.norm(dim=0).clamp_min(1e-3) * strength


def give_way(head: Head, push: torch.Tensor) -> Head:
    """The head with its content moved by `push` (mm, on the coarse grid); the skull stays."""
    places = node_voxels(head.size, push.shape[1:], head.device) - push / as_column(head.spacing_mm, head.device)
    moved = sampled_labels(head.tissue, sampling_grid(places, head.size, head.size), beyond="border")
    content = (head.cavity_mm > 0) & is_tissue(
        moved, (*BRAIN, Tissue.CSF, Tissue.VENTRICLE, Tissue.SINUS, Tissue.ARTERY)
    )
    fields = torch.stack([head.brain_mm, head.ventricle_mm, head.midline_mm, head.tentorium_mm])
    brain, ventricle, midline, tentorium = sampled_distances(fields, places, head.size, head.spacing_mm)
    return dataclasses.replace(
        head,
        tissue=torch.where(content, moved, head.tissue),
        brain_mm=brain,
        ventricle_mm=ventricle,
        midline_mm=midline,
        tentorium_mm=tentorium,
    )
