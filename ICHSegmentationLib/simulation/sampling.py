"""Volumes sampled at other places: coordinates on a few nodes, made into a grid for torch's `grid_sample`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from ICHSegmentationLib.simulation.fields import Size, Spacing, resize

SMOOTH_MM = 1.5  # distances are sampled this far apart: between such places they are all but linear


def as_column(values: Sequence[float] | np.ndarray, device: torch.device) -> torch.Tensor:
    """One value for each axis, [3, 1, 1, 1], to broadcast over coordinates [3, x, y, z]."""
    return torch.tensor(np.asarray(values), dtype=torch.float32, device=device)[:, None, None, None]


def node_voxels(size: Size, nodes: Size, device: torch.device) -> torch.Tensor:
    """Coordinates in voxels of the nodes of a coarse grid with the corners of the fine one, [3, *nodes]."""
    along = [torch.linspace(0, n - 1, few, device=device) for n, few in zip(size, nodes, strict=True)]
    return torch.stack(torch.meshgrid(*along, indexing="ij"))


def sampling_grid(places: torch.Tensor, size: Size, source_size: Size) -> torch.Tensor:
    """Where torch's `grid_sample` shall take the voxels of a volume from, [1, x, y, z, 3].

    Args:
        places: [3, x, y, z], coordinates in voxels of the source, on a coarse grid with the corners of the fine one.
        size: of the fine grid.
        source_size: of the volume that is sampled.
    """
    # it wants -1..1 across the voxels' outer edges, the last axis first
    scaled = ((2 * places + 1) / as_column(source_size, places.device) - 1).flip(0)
    return resize(scaled, size).permute(1, 2, 3, 0)[None]


def sampled(volumes: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Volumes [n, x, y, z] at the places of a sampling grid, linear in between, repeated beyond."""
    return functional.grid_sample(volumes[None], grid, mode="bilinear", padding_mode="border", align_corners=False)[0]


def sampled_distances(volumes: torch.Tensor, places: torch.Tensor, size: Size, spacing_mm: Spacing) -> torch.Tensor:
    """Volumes [n, x, y, z] of distances at the places of `sampling_grid`, on a fine grid of that size and spacing.

    They are looked up on a grid of their own, `SMOOTH_MM` apart, and are linear in between: a fine grid has several
    times as many voxels.
    """
    few = tuple(min(n, math.ceil((n - 1) * step / SMOOTH_MM) + 1) for n, step in zip(size, spacing_mm, strict=True))
    found = sampled(volumes, sampling_grid(places, few, volumes.shape[1:]))
    return resize(found, size)


def sampled_labels(labels: torch.Tensor, grid: torch.Tensor, beyond: str) -> torch.Tensor:
    """A uint8 volume [x, y, z] at the places of a sampling grid, the nearest voxel's; `beyond`: zeros or border."""
    values = functional.grid_sample(
        labels[None, None].float(), grid, mode="nearest", padding_mode=beyond, align_corners=False
    )
    return values[0, 0].to(torch.uint8)
