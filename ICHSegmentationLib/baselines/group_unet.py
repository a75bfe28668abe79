"""A U-Net whose convolutions know four rotations: none, and half a turn about x, y or z (Cohen and Welling 2016).

The four rotations form Klein's group. Its elements are numbered so that the product of g and h is g xor h, and each
is its own inverse. Half a turn about an axis reverses the two others, so on voxels it is exact.

The comparison in Diaz et al. (MELBA 2024, section 5.2.5) used the package gconv, which PyPI does not have; escnn, the
maintained one, cannot be installed without a Fortran compiler (its requirement py3nj). Hence this module.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional

from ICHSegmentationLib.convolution import Spacing
from ICHSegmentationLib.training.beginning import RARE_LOGIT

REVERSED = ((), (-2, -1), (-3, -1), (-3, -2))  # axes that each rotation reverses: none; about x, y, z
ORDER = len(REVERSED)


def rotate(volume: torch.Tensor, element: int) -> torch.Tensor:
    """[..., x, y, z] turned by one of the group's rotations."""
    return volume.flip(REVERSED[element])


def rotate_features(features: torch.Tensor, element: int) -> torch.Tensor:
    """Features [batch, channel, group, x, y, z] as they are when the input is turned: turned, and their group moved."""
    moved = features[:, :, [element ^ other for other in range(ORDER)]]
    return rotate(moved, element)


class LiftingConvolution(nn.Module):
    """Volumes [batch, channel, x, y, z] -> features on the group [batch, channel, group, x, y, z].

    One kernel is applied in each of its four rotations.
    """

    def __init__(self, channels_in: int, channels_out: int, diameter: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(kernel(channels_out, channels_in, 1, diameter)[:, :, 0])
        self.padding = diameter // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        turned = torch.stack([rotate(self.weight, g) for g in range(ORDER)], dim=1)  # [out, group, in, x, y, z]
        return functional.conv3d(x, turned.flatten(0, 1), padding=self.padding).unflatten(1, (-1, ORDER))


class GroupConvolution(nn.Module):
    """Features on the group -> features on the group, both [batch, channel, group, x, y, z].

    out(g) = sum over h of the convolution of in(h) with the kernel w(g^-1 h) turned by g.
    """

    def __init__(self, channels_in: int, channels_out: int, diameter: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(kernel(channels_out, channels_in, ORDER, diameter))
        self.padding = diameter // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        each = [rotate(self.weight[:, :, [g ^ h for h in range(ORDER)]], g) for g in range(ORDER)]
        turned = torch.stack(each, dim=1)  # [out, group, in, group, x, y, z]
        weight = turned.flatten(2, 3).flatten(0, 1)
        return functional.conv3d(x.flatten(1, 2), weight, padding=self.padding).unflatten(1, (-1, ORDER))


def kernel(channels_out: int, channels_in: int, order: int, diameter: int) -> torch.Tensor:
    """Random weights [out, in, order, x, y, z] that keep the variance of leaky-ReLU features (He et al. 2015)."""
    scale = math.sqrt(2 / (channels_in * order * diameter**3))
    return torch.randn(channels_out, channels_in, order, diameter, diameter, diameter) * scale


class GroupBlock(nn.Module):
    """Group convolution, instance norm over volume and group, leaky ReLU."""

    def __init__(self, convolution: LiftingConvolution | GroupConvolution, channels: int) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = nn.InstanceNorm3d(channels, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.convolution(x)  # [batch, channel, group, x, y, z]
        flat = self.norm(x.flatten(2, 3))  # [batch, channel, group * x, y, z]
        return functional.leaky_relu(flat, 0.01).view_as(x)


class GroupUNet(nn.Module):
    """Called with inputs [batch, channels, x, y, z] of any size; returns the logit of bleed [batch, 1, x, y, z].

    As the reference U-Net of Diaz et al. (section 3.1.3): two 5x5x5 convolutions a level, instance norm, leaky ReLU,
    max-pool, trilinear upsampling, three downsamplings, features doubled at each. The paper leaves open how the group
    is brought together at the end: its mean here. Where a side is odd, pooled blocks overlap evenly, so that rotations
    commute at every size. The spacing is not looked at.

    The head's bias begins at the log odds of rare bleed (see `training/beginning.py`).
    """

    def __init__(self, channels: int, width: int = 8, levels: int = 4, diameter: int = 5) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        lifting: LiftingConvolution | GroupConvolution = LiftingConvolution(channels, width, diameter)
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()  # the decoder from the lowest level up
        for level, after in enumerate(widths):
            first = lifting if level == 0 else GroupConvolution(widths[level - 1], after, diameter)
            second = GroupConvolution(after, after, diameter)
            self.encoder.append(nn.Sequential(GroupBlock(first, after), GroupBlock(second, after)))
        for lower, upper in zip(widths[:0:-1], widths[-2::-1], strict=True):
            first = GroupConvolution(lower + upper, upper, diameter)
            second = GroupConvolution(upper, upper, diameter)
            self.decoder.append(nn.Sequential(GroupBlock(first, upper), GroupBlock(second, upper)))
        self.head = nn.Conv3d(width, 1, 1)
        self.head.bias = nn.Parameter(torch.full((1,), RARE_LOGIT))

    def forward(self, inputs: torch.Tensor, spacing_mm: Spacing) -> torch.Tensor:
        x = inputs
        skips = []
        for level, blocks in enumerate(self.encoder):
            if level > 0:
                x = halve(x)
            x = blocks(x)  # [batch, channel, group, x, y, z]
            skips.append(x)
        skips.pop()
        for blocks in self.decoder:
            skip = skips.pop()
            x = blocks(torch.cat([grow(x, skip.shape[3:]), skip], dim=1))
        return self.head(x.mean(dim=2))


def halve(x: torch.Tensor) -> torch.Tensor:
    """Max-pool of [batch, channel, group, x, y, z] to half of each side, rounded up."""
    size = [-(-side // 2) for side in x.shape[3:]]
    return functional.adaptive_max_pool3d(x.flatten(1, 2), size).unflatten(1, x.shape[1:3])


def grow(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """[batch, channel, group, x, y, z] to `size` voxels, trilinear."""
    grown = functional.interpolate(x.flatten(1, 2), tuple(size), mode="trilinear", align_corners=False)
    return grown.unflatten(1, x.shape[1:3])
