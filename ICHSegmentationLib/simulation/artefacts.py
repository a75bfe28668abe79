"""What metal and a moving patient do to slices: both arise in the projections, and so they are computed there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ICHSegmentationLib.simulation.projection import VIEWS, projected, reconstructed

LEAST_METAL_HU = 3000.0  # no bone is as dense
METAL_HU = 8000.0  # what metal is painted with
WATER_PER_CM = 0.2  # attenuation of water at the mean energy of a head's beam
SCATTER = 0.01  # share of the beam that reaches a detector past everything
PHOTONS = 4e4  # that reach a detector without a head


def metal_streaks_hu(slices: torch.Tensor, pixel_mm: float, seed: int) -> torch.Tensor:
    """What metal adds to the slices [x, y, z]: behind it few rays are left, so it seems thinner than it is, and noisy.

    Args:
        slices: HU with the metal in it, not clipped.
        seed: of the noise.
    """
    streaks = torch.zeros_like(slices)
    hit = (slices > LEAST_METAL_HU).any(0).any(0).nonzero().flatten()
    if len(hit) == 0:
        return streaks
    planes = slices[:, :, hit].permute(2, 0, 1)  # [n, x, y]
    metal = (planes - LEAST_METAL_HU).clamp(0, METAL_HU - LEAST_METAL_HU) / 1000
    head = 1 + planes.clamp(-1000, LEAST_METAL_HU) / 1000
    metal_cm, head_cm = projected(torch.stack([metal, head], dim=1), pixel_mm).unbind(2)  # [views, detectors, n]

    def seen_cm(water_cm: torch.Tensor) -> torch.Tensor:
        return -torch.log(torch.exp(-WATER_PER_CM * water_cm) + SCATTER) / WATER_PER_CM

    behind = seen_cm(head_cm + metal_cm)
    drawn = np.random.default_rng(seed).standard_normal(behind.shape, dtype=np.float32)
    grain = torch.exp(WATER_PER_CM * behind / 2) / math.sqrt(PHOTONS) / WATER_PER_CM
    wrong = behind - seen_cm(head_cm) - metal_cm + torch.from_numpy(drawn).to(slices.device) * grain
    wrong = torch.where(metal_cm > 0.1, wrong, 0.0)
    streaks[:, :, hit] = 1000 * reconstructed(wrong, (slices.shape[0], slices.shape[1]), pixel_mm).permute(1, 2, 0)
    return streaks


@dataclass(frozen=True)
class Motion:
    """The head moves in its plane while some slices are taken. JSON values only."""

    first: float  # of the slices, as a share of all
    slices: int
    shift_mm: tuple[float, float]
    turn_deg: float
    moment: float  # of the gantry's way round at which it begins to move
    lasts: float  # share of the way round; later views see the head moved

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Motion:
        x, y = rng.normal(0, 1, 2).tolist()
        return cls(
            first=float(rng.random()),
            slices=int(rng.integers(1, 6)),
            shift_mm=(x, y),
            turn_deg=float(rng.normal(0, 0.8)),
            moment=float(rng.uniform(0.5, 0.8)),  # the truth is where the head was for most of the time
            lasts=float(rng.uniform(0.05, 0.4)),
        )


def motion_hu(slices: torch.Tensor, pixel_mm: float, motion: Motion) -> torch.Tensor:
    """What motion adds to the slices [x, y, z] in HU."""
    added = torch.zeros_like(slices)
    first = int(motion.first * slices.shape[2])
    planes = slices[:, :, first : first + motion.slices].permute(2, 0, 1)[:, None].clamp(-1000, LEAST_METAL_HU)
    change = (moved(planes, pixel_mm, motion) - planes) / 1000
    way_round = torch.arange(VIEWS, device=slices.device) / VIEWS
    share = ((way_round - motion.moment) / motion.lasts).clamp(0, 1)
    sinogram = projected(change, pixel_mm)[:, :, 0]  # [views, detectors, n]
    shown = reconstructed(sinogram * share[:, None, None], (slices.shape[0], slices.shape[1]), pixel_mm)
    added[:, :, first : first + motion.slices] = 1000 * shown.permute(1, 2, 0)
    return added


def moved(planes: torch.Tensor, pixel_mm: float, motion: Motion) -> torch.Tensor:
    """The planes [n, 1, x, y] shifted and turned about their middle; what comes in from outside is air."""
    count, _, width, depth = planes.shape
    angle = math.radians(motion.turn_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    x_shift, y_shift = (2 * shift / (n * pixel_mm) for shift, n in zip(motion.shift_mm, (width, depth), strict=True))
    # grid_sample counts from -1 to 1 along each side, last axis first
    rows = [[cos, -sin * width / depth, -y_shift], [sin * depth / width, cos, -x_shift]]
    matrix = torch.tensor(rows, dtype=planes.dtype, device=planes.device).expand(count, 2, 3)
    grid = functional.affine_grid(matrix, [count, 1, width, depth], align_corners=False)
    return functional.grid_sample(planes + 1000, grid, align_corners=False) - 1000
