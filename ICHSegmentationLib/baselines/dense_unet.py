"""A 2D U-Net with a densely connected encoder, slice by slice (Qayyum et al., INSTANCE 2022; Huang et al. 2017)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ICHSegmentationLib.convolution import Spacing


class DenseLayer(nn.Module):
    """Norm, ReLU, 1x1 convolution, norm, ReLU, 3x3 convolution; its answer joins its input."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, 4 * growth, 1, bias=False),
            nn.BatchNorm2d(4 * growth),
            nn.ReLU(),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[image, channels, x, y] -> [image, channels + growth, x, y]."""
        return torch.cat([x, self.layers(x)], dim=1)


def transition(channels: int) -> nn.Sequential:
    """Norm, 1x1 convolution to half the channels, 2x2 mean."""
    return nn.Sequential(nn.BatchNorm2d(channels), nn.Conv2d(channels, channels // 2, 1, bias=False), nn.AvgPool2d(2))


class DenseUNet(nn.Module):
    """Called with inputs [batch, channels, x, y, z]; returns the logit of bleed [batch, 1, x, y, z], slice by slice.

    Dense blocks, each followed by a transition that halves x and y, then as many ordinary steps up, each a bilinear
    doubling, the encoder's features of that size, and two 3x3 convolutions with norm and ReLU. x and y must be
    multiples of 2^blocks. The spacing is not looked at.

    The paper gives 5 blocks of 6 layers and the order of their parts; its growth (16), first width (32), the step
    between dense layer's convolutions (4 times the growth, as Huang et al.) and its decoder are chosen here.
    """

    def __init__(
        self, channels: int = 1, width: int = 32, growth: int = 16, blocks: int = 5, layers_per_block: int = 6
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.dense, self.transitions, self.decoder = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        widths = []
        for _ in range(blocks):
            layers = [DenseLayer(width + index * growth, growth) for index in range(layers_per_block)]
            width += layers_per_block * growth
            widths.append(width)
            self.dense.append(nn.Sequential(*layers))
            self.transitions.append(transition(width))
            width //= 2
        for skip in reversed(widths):
            self.decoder.append(plain_block(width + skip, skip // 2))
            width = skip // 2
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, inputs: torch.Tensor, spacing_mm: Spacing) -> torch.Tensor:
        x = inputs.permute(0, 4, 1, 2, 3).flatten(0, 1)  # [batch * z, channels, x, y]
        x = self.stem(x)
        skips = []
        for dense, shrink in zip(self.dense, self.transitions, strict=True):
            x = dense(x)
            skips.append(x)
            x = shrink(x)
        for block in self.decoder:
            x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skips.pop()], dim=1))
        return self.head(x).unflatten(0, (len(inputs), -1)).permute(0, 2, 3, 4, 1)


def plain_block(channels_in: int, channels_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (channels_in, channels_out):
        layers += [nn.Conv2d(before, channels_out, 3, padding=1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()]
    return nn.Sequential(*layers)
