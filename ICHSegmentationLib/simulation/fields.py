"""Smooth random fields and separable filters on volumes, the same on CPU and GPU."""

from __future__ import annotations

import math

import numpy as np
import torch

Size = tuple[int, ...]  # along x, y, z
Spacing = tuple[float, ...]
Box = tuple[slice, slice, slice]


def smooth_noise(
    seed: int, size: Size, spacing_mm: Spacing, wavelength_mm: float, device: torch.device
) -> torch.Tensor:
    """Random field of about unit variance whose features are about `wavelength_mm` wide, [x, y, z].

    The few random numbers are drawn by numpy, so a seed gives the same field on every device.
    """
    coarse = [max(2, math.ceil(n * step / wavelength_mm)) + 3 for n, step in zip(size, spacing_mm, strict=True)]
    drawn = np.random.default_rng(seed).standard_normal(coarse, dtype=np.float32)
    field = torch.from_numpy(drawn).to(device)
    field = blur(field, (0.6, 0.6, 0.6))
    probe = resize(field, tuple(min(n, 5 * few) for n, few in zip(size, coarse, strict=True)))
    return resize((field - probe.mean()) / probe.std(correction=0).clamp_min(1e-6), size)


def bounding_box(mask: torch.Tensor) -> Box:
    """The part of [x, y, z] that holds all that is set; something must be."""
    x, y, z = (
        slice(int(used[0]), int(used[-1]) + 1)
        for used in (mask.any(2).any(1).nonzero(), mask.any(2).any(0).nonzero(), mask.any(1).any(0).nonzero())
    )
    return x, y, z


def resize(field: torch.Tensor, size: Size) -> torch.Tensor:
    """Trilinear resize of [..., x, y, z], corner to corner: axis by axis, in a third of the time of torch's own.

    Along z a product with few columns, as `resize_axis` would have to pick single voxels there.
    """
    x, y, z = size
    before, share = between(z, field.shape[-1], field.device)
    weights = torch.zeros(field.shape[-1] + 1, z, device=field.device)
    columns = torch.arange(z, device=field.device)
    weights[before, columns] = 1 - share
    weights[before + 1, columns] = share
    return resize_axis(resize_axis(field @ weights[:-1], y, -2), x, -3)


def resize_axis(field: torch.Tensor, size: int, axis: int) -> torch.Tensor:
    """Linear resize along x or y (axis -3 or -2), whose neighbours lie in rows that are copied whole."""
    few = field.shape[axis]
    before, share = between(size, few, field.device)
    after = field.index_select(axis, (before + 1).clamp(max=few - 1))
    return field.index_select(axis, before).lerp_(after, share.view(-1, *[1] * (-1 - axis)))


def between(size: int, few: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """For `size` places, evenly from the first of `few` to the last: the one before, and the share beyond it."""
    places = torch.linspace(0, few - 1, size, device=device)
    before = places.long()
    return before, places - before


def gaussian_kernel(sigma: float, device: torch.device) -> torch.Tensor:
    reach = max(1, math.ceil(2.5 * sigma))
    taps = torch.arange(-reach, reach + 1, dtype=torch.float32, device=device)
    kernel = torch.exp(-0.5 * (taps / sigma) ** 2)
    return kernel / kernel.sum()


def blur(field: torch.Tensor, sigma_voxels: tuple[float, ...]) -> torch.Tensor:
    """Gaussian blur of [x, y, z] with edges repeated; an axis with sigma 0 is left alone."""
    for axis, sigma in enumerate(sigma_voxels):
        if sigma > 0.05:
            field = filter_axis(field, gaussian_kernel(sigma, field.device), axis)
    return field


def filter_axis(field: torch.Tensor, kernel: torch.Tensor, axis: int) -> torch.Tensor:
    """Correlates [x, y, z] with a short odd kernel along one axis, edges repeated."""
    reach = len(kernel) // 2
    moved = field.movedim(axis, 0)
    first, last = moved[:1], moved[-1:]
    padded = torch.cat([first.expand(reach, -1, -1), moved, last.expand(reach, -1, -1)])
    total = padded[: len(moved)] * kernel[0]
    for tap in range(1, len(kernel)):
        total = torch.add(total, padded[tap : tap + len(moved)] * kernel[tap])
    return total.movedim(0, axis)


def axis_coordinates_mm(
    size: Size, spacing_mm: Spacing, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coordinates along x, y, z from the centre of the grid, shaped to broadcast over [x, y, z]."""
    x, y, z = ((torch.arange(n, device=device) - (n - 1) / 2) * step for n, step in zip(size, spacing_mm, strict=True))
    return x[:, None, None], y[None, :, None], z[None, None, :]


def length(offsets: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Distance from offsets along x, y, z that broadcast over [x, y, z]."""
    x, y, z = offsets
    return (x**2 + y**2 + z**2).sqrt()
