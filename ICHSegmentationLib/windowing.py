"""Hounsfield units to the channels a network sees."""

from __future__ import annotations

import torch

WINDOWS_HU = ((0.0, 1000.0), (0.0, 80.0), (-50.0, 220.0))  # Geiger et al., INSTANCE 2022, table 1


def window_channels(hu: torch.Tensor, windows_hu: tuple[tuple[float, float], ...] = WINDOWS_HU) -> torch.Tensor:
    """One channel a window, each clipped and scaled to 0..1: [..., x, y, z] -> [..., windows, x, y, z].

    In memory the result lies as the network wants it (see layers.py).
    """
    planes = hu.movedim(-1, -3)  # [..., z, x, y]
    voxels = torch.stack([((planes - low) / (high - low)).clamp_(0, 1) for low, high in windows_hu], dim=-1)
    return voxels.movedim((-1, -4), (-4, -1))
