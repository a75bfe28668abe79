"""Places in a head: a voxel drawn from a region, distances from it, boxes around it."""

from __future__ import annotations

import torch

from ICHSegmentationLib.simulation.anatomy import BONE, Head, is_tissue
from ICHSegmentationLib.simulation.fields import Box, length, smooth_noise


def pick_voxel(candidates: torch.Tensor, where: float) -> torch.Tensor | None:
    """The candidate voxel at the quantile `where`, [3]; None if there is none."""
    found = candidates.nonzero()
    if len(found) == 0:
        return None
    return found[min(len(found) - 1, int(where * len(found)))]


def inner_table(head: Head) -> torch.Tensor:
    """Where the bone of the vault faces the brain, off the midline, [x, y, z]."""
    return in_vault(head) & is_tissue(head.tissue, BONE) & (head.cavity_mm > -4) & (head.cavity_mm < 0)


def under_vault(head: Head) -> torch.Tensor:
    """Where the inner table is near, [x, y, z]: the same voxels in a head and in its part within the skull."""
    return in_vault(head) & (head.cavity_mm > 0) & (head.cavity_mm <= 2.5)


def in_vault(head: Head) -> torch.Tensor:
    return (head.tentorium_mm > 10) & (head.midline_mm.abs() > 10)


def offsets_mm(head: Head, centre: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distance along x, y, z from a voxel, broadcastable over [x, y, z]."""
    x, y, z = (
        (torch.arange(n, device=head.device) - middle) * step
        for n, middle, step in zip(head.size, centre, head.spacing_mm, strict=True)
    )
    return x[:, None, None], y[None, :, None], z[None, None, :]


def box_around(head: Head, centre: list[float], reach_mm: float) -> Box:
    """The part of the grid that lies within so much of a voxel."""
    x, y, z = (
        slice(max(0, int(c - reach_mm / s)), max(0, min(n, int(c + reach_mm / s) + 2)))
        for c, s, n in zip(centre, head.spacing_mm, head.size, strict=True)
    )
    return x, y, z


def rough_ball(
    head: Head, centre: torch.Tensor, radius_mm: float, roughness: float, seed: int, reach_mm: float = 0.0
) -> tuple[Box, torch.Tensor]:
    """A box around a ball, `reach_mm` wider, and in it the distance from the centre in radii, with a rough rim."""
    box = box_around(head, centre.tolist(), 1.8 * radius_mm + 2 + reach_mm)
    x, y, z = offsets_mm(head, centre)
    distance = length((x[box[0]], y[:, box[1]], z[:, :, box[2]])) / radius_mm
    size = tuple(distance.shape)
    wavelength = max(2.0, radius_mm * 0.7)
    return box, distance + smooth_noise(seed, size, head.spacing_mm, wavelength, head.device) * roughness
