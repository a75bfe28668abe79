"""A 3D U-Net whose encoder levels weigh their channels: squeeze and excitation (Abramova et al., INSTANCE 2022)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ICHSegmentationLib.convolution import Spacing


class SqueezeExcitation(nn.Module):
    """Each channel times a number between 0 and 1 that all channels' means decide (Hu et al., CVPR 2018).

    Args:
        channels: of the features.
        reduction: how many times fewer numbers lie between the means and the gates; at least two are kept.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(2, channels // reduction)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)

    def gates(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channel, x, y, z] -> [batch, channel]."""
        return torch.sigmoid(self.excite(functional.relu(self.squeeze(x.mean(dim=(2, 3, 4))))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, channel, x, y, z] -> the same shape."""
        return x * self.gates(x)[:, :, None, None, None]


class SqueezeExcitationUNet(nn.Module):
    """Called with inputs [batch, channels, x, y, z] of any size; returns the logit of bleed [batch, 1, x, y, z].

    Single 3x3x3 convolutions with ReLU on both ways, squeeze and excitation after each encoder level, 2x2x2 max-pool
    and up-convolution, each followed by dropout. Sides that are no multiple of the pooling are padded with their
    border's values and cut again. The spacing is not looked at. The two classes' softmax of the paper is the sigmoid
    of one logit here, which is the same.

    The channels, the reduction and the dropout stand only in the paper's figure or nowhere: 32 at the top, doubled at
    each level; 8; 0.2.
    """

    def __init__(self, channels: int, width: int = 32, levels: int = 4, reduction: int = 8, dropout: float = 0.2):
        super().__init__()
        widths = [width * 2**level for level in range(levels)]
        self.encoder, self.gates = nn.ModuleList(), nn.ModuleList()
        for before, after in zip([channels, *widths], widths, strict=False):
            self.encoder.append(nn.Conv3d(before, after, 3, padding=1))
            self.gates.append(SqueezeExcitation(after, reduction))
        self.up, self.decoder = nn.ModuleList(), nn.ModuleList()  # both from the lowest level up
        for lower, upper in zip(widths[:0:-1], widths[-2::-1], strict=True):
            self.up.append(nn.ConvTranspose3d(lower, upper, 2, stride=2))
            self.decoder.append(nn.Conv3d(2 * upper, upper, 3, padding=1))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv3d(width, 1, 1)

    def forward(self, inputs: torch.Tensor, spacing_mm: Spacing) -> torch.Tensor:
        size = inputs.shape[2:]
        step = 2 ** len(self.decoder)
        x = functional.pad(
            inputs, [amount for side in reversed(size) for amount in (0, -side % step)], mode="replicate"
        )
        skips = []
        for level, (convolution, gates) in enumerate(zip(self.encoder, self.gates, strict=True)):
            if level > 0:
                x = self.dropout(functional.max_pool3d(x, 2))
            x = gates(functional.relu(convolution(x)))
            skips.append(x)
        skips.pop()
        for up, convolution in zip(self.up, self.decoder, strict=True):
            x = torch.cat([self.dropout(up(x)), skips.pop()], dim=1)
            x = functional.relu(convolution(x))
        return self.head(x)[:, :, : size[0], : size[1], : size[2]]
