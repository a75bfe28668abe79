"""Places in a head: a voxel drawn from a region, distances from it, boxes around it."""

from __future__ import annotations

import torch

from ICHSegmentationLib.simulation.anatomy import Head


def pick_voxel(candidates: torch.Tensor, where: float) -> torch.Tensor | None:
    """The candidate voxel at the quantile `where`, [3]; None if there is none."""
    found = candidates.nonzero()
    if len(found) == 0:
        return None
    return found[min(len(found) - 1, int(where * len(found)))]


def offsets_mm(head: Head, centre: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distance along x, y, z from a voxel, broadcastable over [x, y, z]."""
    x, y, z = (
        (torch.arange(n, device=head.device) - middle) * step
        for n, middle, step in zip(head.size, centre, head.spacing_mm, strict=True)
    )
    return x[:, None, None], y[None, :, None], z[None, None, :]


def bounding_box(mask: torch.Tensor) -> tuple[slice, slice, slice]:
    x, y, z = (
        slice(int(used[0]), int(used[-1]) + 1)
        for used in (mask.any(2).any(1).nonzero(), mask.any(2).any(0).nonzero(), mask.any(1).any(0).nonzero())
    )
    return x, y, z
