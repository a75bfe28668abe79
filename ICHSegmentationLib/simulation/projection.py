"""Slices projected by parallel beams on a coarse grid, and reconstructed by filtered backprojection.

What a scanner does wrong it does wrong in its projections; whatever is computed from them looks as it does in a scan.
"""

from __future__ import annotations

import math
import warnings
from functools import lru_cache

import numpy as np
import torch
from scipy import sparse
from torch.nn import functional

PIXEL_MM = 1.5
VIEWS = 144  # over 180 degrees


def coarse_grid(shape: tuple[int, int], pixel_mm: float) -> tuple[tuple[int, int], int, tuple[int, int]]:
    """Coarse pixels along x and y, the side of the square that frames them, and where in it they begin."""
    size = 8 * math.ceil(max(shape) * pixel_mm / PIXEL_MM / 8)
    x, y = (max(1, round(side * pixel_mm / PIXEL_MM)) for side in shape)
    return (x, y), size, ((size - x) // 2, (size - y) // 2)


def projected(planes: torch.Tensor, pixel_mm: float) -> torch.Tensor:
    """Line integrals over cm: [slices, channels, x, y] -> [views, detectors, channels, slices]."""
    (x, y), size, (low_x, low_y) = coarse_grid((planes.shape[2], planes.shape[3]), pixel_mm)
    small = functional.interpolate(planes, (x, y), mode="bilinear", antialias=True)
    framed = functional.pad(small, (low_y, size - y - low_y, low_x, size - x - low_x))
    project, _ = projector(size, planes.device)
    columns = framed.permute(2, 3, 1, 0).reshape(size * size, -1)  # [pixels, channels * slices]
    return (project @ columns).unflatten(0, (VIEWS, size)).unflatten(2, (planes.shape[1], -1))


def reconstructed(sinogram: torch.Tensor, shape: tuple[int, int], pixel_mm: float) -> torch.Tensor:
    """What line integrals [views, detectors, slices] over cm show, per cm, [slices, x, y]."""
    (x, y), size, (low_x, low_y) = coarse_grid(shape, pixel_mm)
    _, spread = projector(size, sinogram.device)
    framed = backprojected(sinogram, spread).reshape(size, size, -1)
    planes = framed[low_x : low_x + x, low_y : low_y + y].permute(2, 0, 1)
    return functional.interpolate(planes[:, None], shape, mode="bilinear")[:, 0]


def backprojected(sinogram: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """Filtered backprojection: [views, detectors, slices] of line integrals over cm -> [pixels, slices] per cm."""
    detectors, step_cm = sinogram.shape[1], PIXEL_MM / 10
    length = 2 * detectors
    # the ramp filter's samples in space (Kak and Slaney, 1988, eq. 61), which keep the mean
    place = torch.arange(length, device=sinogram.device)
    place = torch.minimum(place, length - place)
    ramp = torch.where(place % 2 == 1, -1 / (math.pi * place.clamp_min(1) * step_cm) ** 2, 0.0)
    ramp[0] = 1 / (4 * step_cm**2)
    response = torch.fft.rfft(ramp).real
    response *= torch.cos(torch.linspace(0, math.pi / 2, len(response), device=response.device))  # no cross-hatch
    spectrum = torch.fft.rfft(sinogram, length, dim=1) * response[:, None]
    filtered = torch.fft.irfft(spectrum, length, dim=1)[:, :detectors]
    return spread @ filtered.flatten(0, 1) * (math.pi / VIEWS)  # step_cm of filter and of projector cancel


@lru_cache(maxsize=8)
def projector(size: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Line integrals over a square of `size` pixels in cm, sparse [views * size, pixels], and its transpose."""
    centre = (size - 1) / 2
    x, y = np.meshgrid(np.arange(size) - centre, np.arange(size) - centre, indexing="ij")
    rows, columns, values = [], [], []
    for view in range(VIEWS):
        angle = math.pi * view / VIEWS
        place = x * math.cos(angle) + y * math.sin(angle) + centre
        low = np.floor(place).astype(int)
        for detector, share in ((low, low + 1 - place), (low + 1, place - low)):
            inside = ((detector >= 0) & (detector < size)).ravel()
            rows.append(view * size + detector.ravel()[inside])
            columns.append(np.flatnonzero(inside))
            values.append(share.ravel()[inside] * PIXEL_MM / 10)
    entries = np.concatenate(values).astype(np.float32), (np.concatenate(rows), np.concatenate(columns))
    matrix = sparse.csr_array(entries, shape=(VIEWS * size, size * size))  # SciPy sorts faster than torch
    matrix.sort_indices()
    return in_torch(matrix, device), in_torch(matrix.T.tocsr(), device)


def in_torch(matrix: sparse.csr_array, device: torch.device) -> torch.Tensor:
    starts, columns, values = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            starts.long(), columns.long(), values, matrix.shape, device=device, check_invariants=False
        )
