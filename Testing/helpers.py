"""What many tests build on: small networks with random or known answers, and a head of ellipsoids."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from ICHSegmentationLib.ensemble import BundleInfo
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.unet import EquivariantUNet, UNetConfig
from ICHSegmentationLib.volume import as_volume
from ICHSegmentationLib.windowing import WINDOWS_HU

SMALL = UNetConfig(
    irreps_in="3x0e",
    irreps_out="1x0e",
    irreps_levels=("3x0e+1x1o+1x2e", "4x0e+2x1o+1x2e"),
    diameters_mm=(3.0, 6.0),
    num_radial_basis=(2, 3),
    pool_mm=(2.2,),
    encoder_convolutions=(1, 1),
    decoder_convolutions=(1,),
    integral_kernels=True,
    norm_eps=1e-3,
    narrow_before_upsampling=True,
)


def small_network(seed: int = 0, **changes: object) -> EquivariantUNet:
    torch.manual_seed(seed)
    return EquivariantUNet(dataclasses.replace(SMALL, **changes)).eval()


def small_info(**changes: object) -> BundleInfo:
    info = BundleInfo("small", "0", "custom", SMALL, 0.5, WINDOWS_HU, {"data": "none: random weights"}, "Apache-2.0")
    return dataclasses.replace(info, **changes)


class BrightnessNetwork(EquivariantUNet):
    """Calls bleed what is brighter than a density and not near bone: its answer is known, to test what is around it."""

    def __init__(self, threshold_hu: float = 55.0) -> None:
        super().__init__(SMALL)
        self.threshold_hu = threshold_hu

    def forward(self, x: torch.Tensor, spacing_mm: tuple[float, float, float]) -> torch.Tensor:
        hu = x[:, 1:2] * 80  # the window 0..80
        dense = (hu - self.threshold_hu) * 2
        bone = torch.nn.functional.max_pool3d(x[:, :1], (7, 7, 3), stride=1, padding=(3, 3, 1)) * 1000 > 120
        return torch.where(bone, torch.full_like(dense, -20.0), dense)  # nor is what shares a voxel with bone


def head_with_ball(
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 5.0),
    centre_mm: tuple[float, float, float] = (20.0, 10.0, 0.0),
    radius_mm: float = 15.0,
    extent_mm: tuple[float, float, float] = (180.0, 210.0, 150.0),
) -> Volume:
    """A head of ellipsoids (scalp, skull, brain) with a ball of blood, as a regular axial scan along RAS."""
    size = tuple(max(1, round(side / step)) for side, step in zip(extent_mm, spacing_mm, strict=True))
    volume = as_volume(np.zeros(size), spacing_mm)
    return dataclasses.replace(volume, hu=head_hu(volume, centre_mm, radius_mm))


def head_hu(volume: Volume, centre_mm: tuple[float, float, float], radius_mm: float) -> np.ndarray:
    """The head of ellipsoids sampled on any grid, [x, y, z]."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in volume.hu.shape], indexing="ij"), axis=-1)
    x, y, z = volume.to_ras_mm(index.reshape(-1, 3)).reshape(*volume.hu.shape, 3).transpose(3, 0, 1, 2)
    radius = np.sqrt((x / 72) ** 2 + (y / 88) ** 2 + (z / 70) ** 2)
    hu = np.full(volume.hu.shape, -1000.0)
    hu[radius < 1.12] = 20
    hu[radius < 1.06] = 900
    hu[radius < 0.96] = 32
    ball = (x - centre_mm[0]) ** 2 + (y - centre_mm[1]) ** 2 + (z - centre_mm[2]) ** 2 < radius_mm**2
    hu[ball & (radius < 0.96)] = 70
    return np.asfortranarray(hu, np.float32)
