"""What a patch goes through before the network sees it. No rotations: the network has them built in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

DIFFEOMORPHISM_CUT = 5  # highest mode
HIGHEST_TEMPERATURE = 5e-4


@dataclass(frozen=True)
class Augmentation:
    """The drawn parameters of one patch's augmentation."""

    temperature: float  # of the in-plane diffeomorphism
    shift_hu: float
    contrast: float  # of the soft tissue about 30 HU
    noise_hu: float
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Augmentation:
        return cls(
            temperature=float(rng.uniform(0, HIGHEST_TEMPERATURE)),
            shift_hu=float(rng.normal(0, 2.0)),
            contrast=float(math.exp(rng.normal(0, 0.06))),
            noise_hu=float(rng.uniform(0, 4)) if rng.random() < 0.3 else 0.0,
            seed=int(rng.integers(2**31)),
        )


def augment(hu: torch.Tensor, label: torch.Tensor, drawn: Augmentation) -> tuple[torch.Tensor, torch.Tensor]:
    """Deforms and re-greys a patch: hu and label [x, y, z] -> the same."""
    hu, label = deform_in_plane(hu, label, drawn)
    generator = torch.Generator(device=hu.device).manual_seed(drawn.seed)
    soft = (hu - 30).clamp(-100, 100)
    hu = hu + soft * (drawn.contrast - 1) + drawn.shift_hu
    if drawn.noise_hu:
        hu = hu + torch.randn(hu.shape, generator=generator, device=hu.device) * drawn.noise_hu
    return hu, label


def deform_in_plane(hu: torch.Tensor, label: torch.Tensor, drawn: Augmentation) -> tuple[torch.Tensor, torch.Tensor]:
    """The random diffeomorphism of Petrini et al. (2021), in the plane, the same on all slices.

    Displacement in units of the side n: sqrt(T) * sum over i^2 + j^2 < (cut + 1/2)^2 of
    N(0, 1) / sqrt(i^2 + j^2) * sin(i pi x) * sin(j pi y); it vanishes at the border.
    """
    width, depth = hu.shape[:2]
    rng = np.random.default_rng(drawn.seed)
    modes = torch.arange(1, DIFFEOMORPHISM_CUT + 1, device=hu.device)
    frequency = (modes[:, None] ** 2 + modes[None, :] ** 2).float()
    inside = frequency < (DIFFEOMORPHISM_CUT + 0.5) ** 2
    x = (torch.arange(width, device=hu.device) + 0.5) / width
    y = (torch.arange(depth, device=hu.device) + 0.5) / depth
    sines_x, sines_y = (torch.sin(math.pi * modes[:, None] * axis) for axis in (x, y))
    shift = []
    for _ in range(2):
        drawn_modes = rng.standard_normal((DIFFEOMORPHISM_CUT, DIFFEOMORPHISM_CUT), dtype=np.float32)
        weight = torch.from_numpy(drawn_modes).to(hu.device) * inside / frequency.sqrt()
        shift.append(math.sqrt(drawn.temperature) * sines_x.T @ weight @ sines_y)  # [x, y]
    # grid_sample wants -1..1, last axis first
    grid = torch.stack([2 * (y[None, :] + shift[1]) - 1, 2 * (x[:, None] + shift[0]) - 1], dim=-1)[None]
    sampled = [
        functional.grid_sample(
            volume.float().permute(2, 0, 1)[None], grid, mode=mode, padding_mode="border", align_corners=False
        )[0].permute(1, 2, 0)
        for volume, mode in ((hu, "bilinear"), (label, "nearest"))
    ]
    return sampled[0], sampled[1].round().to(label.dtype)
