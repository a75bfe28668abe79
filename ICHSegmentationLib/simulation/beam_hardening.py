"""What a spectrum of X-rays does to a head: soft rays are lost on the way, most of them in bone.

A scanner measures how much of its beam is left behind the head and corrects it as if all had been water. Behind bone
that is wrong, and by more the more bone there is: brain glows under a thick skull, and dark bands run between dense
bones. Both are computed here as they arise: each slice is projected (parallel beams, on a coarse grid), the beam is
weakened energy by energy, corrected for water and compared with a beam of one energy; the difference is
reconstructed by filtered backprojection. Attenuation coefficients: Hubbell and Seltzer, NIST, 1995.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional

PIXEL_MM = 1.5
VIEWS = 144
# energy in keV, and mass attenuation in cm2/g
TABLE_KEV = (20.0, 30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
WATER = (0.8096, 0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505)
CORTICAL_BONE = (4.001, 1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480)
ALUMINIUM = (3.441, 1.128, 0.5685, 0.3681, 0.2778, 0.2018, 0.1704, 0.1378)
BONE_DENSITY, ALUMINIUM_DENSITY = 1.92, 2.70  # g/cm3
TISSUE_HU, BONE_HU = 100.0, 1900.0  # below the first no bone, at the second nothing else


@dataclass(frozen=True)
class Beam:
    """JSON values only.

    Attributes:
        peak_kv: of the tube.
        filter_mm: aluminium that the beam passes before the head.
        left: share of the error that the scanner's own correction for bone leaves.
    """

    peak_kv: float
    filter_mm: float
    left: float

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Beam:
        return cls(float(rng.choice((100, 120, 120, 120, 140))), float(rng.uniform(4, 12)), float(rng.uniform(0, 0.65)))


def beam_hardening_hu(slices: torch.Tensor, pixel_mm: float, beam: Beam) -> torch.Tensor:
    """What beam hardening adds to the slices [x, y, z] in HU, pixel by pixel."""
    if beam.left == 0:
        return torch.zeros_like(slices)
    planes = slices.permute(2, 0, 1)[:, None]  # [z, 1, x, y]
    bone = ((planes - TISSUE_HU) / (BONE_HU - TISSUE_HU)).clamp(0, 1)
    tissue = (1 + planes.clamp(-1000, TISSUE_HU) / 1000) * (1 - bone)
    size = 8 * math.ceil(max(planes.shape[2:]) * pixel_mm / PIXEL_MM / 8)
    coarse = tuple(max(1, round(side * pixel_mm / PIXEL_MM)) for side in planes.shape[2:])
    pair = functional.interpolate(torch.cat([tissue, bone], dim=1), coarse, mode="bilinear", antialias=True)
    low_x, low_y = ((size - side) // 2 for side in coarse)
    framed = functional.pad(pair, (low_y, size - coarse[1] - low_y, low_x, size - coarse[0] - low_x))

    project, spread = projector(size, slices.device)
    columns = framed.permute(2, 3, 1, 0).reshape(size * size, -1)  # [pixels, 2 * slices]
    water_cm, bone_cm = (project @ columns).unflatten(1, (2, -1)).unbind(1)
    error = reconstructed(excess_cm(water_cm, bone_cm, beam).unflatten(0, (VIEWS, size)), spread)
    back = error.reshape(size, size, -1)[low_x : low_x + coarse[0], low_y : low_y + coarse[1]]
    fine = functional.interpolate(back.permute(2, 0, 1)[:, None], tuple(planes.shape[2:]), mode="bilinear")
    return 1000 * beam.left * fine[:, 0].permute(1, 2, 0)


def excess_cm(water_cm: torch.Tensor, bone_cm: torch.Tensor, beam: Beam) -> torch.Tensor:
    """What the correction for water makes of a ray too much (or too little), in cm of water."""
    spectrum, water, bone = spectrum_of(beam)
    attenuation = torch.zeros_like(water_cm)
    for share, of_water, of_bone in zip(spectrum, water, bone, strict=True):
        attenuation += share * torch.exp(-(of_water * water_cm + of_bone * bone_cm))
    grid = np.linspace(0, 60, 600)  # cm of water
    through_water = -np.log(np.exp(-np.outer(grid, water)) @ spectrum)
    taken_for = interpolated(-torch.log(attenuation), through_water, grid)
    # what a little bone in the midst of a head is taken for: the scale of bone, at which the error vanishes
    little, middle = 1e-3, 15.0  # cm
    seen = -np.log(spectrum @ np.exp(-water * middle - bone * little))
    thin = (np.interp(seen, through_water, grid) - middle) / little
    return taken_for - water_cm - thin * bone_cm


def spectrum_of(beam: Beam) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of the energies in what the detector sees without a head, and attenuation of water and bone in 1/cm."""
    kev = np.arange(22.0, beam.peak_kv, 6.0)
    log_kev, known = np.log(kev), np.log(TABLE_KEV)
    water, bone, aluminium = (
        np.exp(np.interp(log_kev, known, np.log(values))) for values in (WATER, CORTICAL_BONE, ALUMINIUM)
    )
    # bremsstrahlung after Kramers, weighed by energy as the detector does
    strength = (beam.peak_kv - kev) * np.exp(-aluminium * ALUMINIUM_DENSITY * beam.filter_mm / 10)
    return strength / strength.sum(), water, bone * BONE_DENSITY


def interpolated(values: torch.Tensor, rising: np.ndarray, answers: np.ndarray) -> torch.Tensor:
    """Linear interpolation of a tabulated function of `rising`."""
    x = torch.as_tensor(rising, dtype=values.dtype, device=values.device)
    y = torch.as_tensor(answers, dtype=values.dtype, device=values.device)
    right = torch.searchsorted(x, values.contiguous()).clamp(1, len(x) - 1)
    share = (values - x[right - 1]) / (x[right] - x[right - 1])
    return y[right - 1] + share * (y[right] - y[right - 1])


def reconstructed(sinogram: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """Filtered backprojection: [views, detectors, slices] of line integrals over cm -> [pixels, slices] per cm."""
    detectors, step_cm = sinogram.shape[1], PIXEL_MM / 10
    length = 2 * detectors
    # the ramp filter's samples in space (Kak and Slaney, 1988, eq. 61), which keep the mean
    place = torch.arange(length, device=sinogram.device)
    place = torch.minimum(place, length - place)
    ramp = torch.where(place % 2 == 1, -1 / (math.pi * place.clamp_min(1) * step_cm) ** 2, 0.0)
    ramp[0] = 1 / (4 * step_cm**2)
    response = torch.fft.rfft(ramp).real
    response = (response * torch.cos(torch.linspace(0, math.pi / 2, len(response), device=response.device)))[
        None, :, None
    ]
    filtered = torch.fft.irfft(torch.fft.rfft(sinogram, length, dim=1) * response, length, dim=1)[:, :detectors]
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
    places = torch.from_numpy(np.stack([np.concatenate(rows), np.concatenate(columns)]))
    matrix = torch.sparse_coo_tensor(
        places,
        torch.from_numpy(np.concatenate(values)).float(),
        (VIEWS * size, size * size),
        device=device,
        check_invariants=False,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return matrix.to_sparse_csr(), matrix.T.to_sparse_csr()
