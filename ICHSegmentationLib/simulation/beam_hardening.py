"""What a spectrum of X-rays does to a head: soft rays are lost on the way, most of them in bone.

A scanner measures how much of its beam is left behind the head and corrects it as if all had been water. Behind bone
that is wrong, and by more the more bone there is: brain glows under a thick skull, and dark bands run between dense
bones. Both are computed here as they arise: each slice is projected (parallel beams, on a coarse grid), the beam is
weakened energy by energy, corrected for water and compared with a beam of one energy; the difference is
reconstructed by filtered backprojection. Attenuation coefficients: Hubbell and Seltzer, NIST, 1995.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.simulation.projection import projected, reconstructed

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
    water_cm, bone_cm = projected(torch.cat([tissue, bone], dim=1), pixel_mm).unbind(2)
    added = reconstructed(excess_cm(water_cm, bone_cm, beam), (slices.shape[0], slices.shape[1]), pixel_mm)
    return 1000 * beam.left * added.permute(1, 2, 0)


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
