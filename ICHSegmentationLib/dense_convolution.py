"""How a dense kernel meets a volume: as an ordinary 2D or 3D convolution, whichever is fast and right where it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ICHSegmentationLib.layers import as_planes, as_stack, as_voxels, from_planes, from_stack, from_voxels

WIDEST_FAST = 5  # taps in the plane


@dataclass(frozen=True)
class Waist:
    """A kernel's slices further than `middle` from its centre hold nothing beyond `reach` taps along x and y."""

    middle: int
    reach: tuple[int, int]


class DenseConvolution(nn.Module):
    """An ordinary convolution with a fixed kernel; a spacing it is called with is that of the kernel."""

    weight: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, kernel: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", kernel)
        self.register_buffer("bias", bias)

    def forward(self, x: torch.Tensor, spacing_mm: tuple[float, float, float] | None = None) -> torch.Tensor:
        return convolve(x, self.weight, self.bias)


def convolve(x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Zero-padded convolution of [batch, in, x, y, z] with [out, in, x, y, z]; 2D where the kernel is one slice."""
    kernel = within_reach(kernel, x.shape[2:])
    *padding, padding_z = (taps // 2 for taps in kernel.shape[2:])
    if kernel.shape[-1] == 1:
        planes = nn.functional.conv2d(as_planes(x), kernel[..., 0], bias, padding=padding)
        return from_planes(planes, x.shape[0])
    if torch.is_grad_enabled() and (is_bfloat16_on_cpu(x) or is_small(x) or is_wide_on_cpu(x, kernel)):
        planes = nn.functional.conv2d(*slices_as_channels(x, kernel, range(kernel.shape[-1])), bias, padding=padding)
        return from_planes(planes, x.shape[0])
    stack = nn.functional.conv3d(as_stack(x), kernel.permute(0, 1, 4, 2, 3), bias, padding=[padding_z, *padding])
    return from_stack(stack)


def convolve_in_parts(
    x: torch.Tensor, kernel: torch.Tensor, waist: Waist, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """The same as `convolve`, without the outer slices' taps that are 0.

    A kernel that is integrated over coarse voxels is almost a ball, whose box is half empty.
    """
    centre_x, centre_y, centre = (taps // 2 for taps in kernel.shape[2:])
    near = convolve(x, kernel.narrow(4, centre - waist.middle, 2 * waist.middle + 1), bias)
    if x.shape[-1] <= waist.middle + 1:
        return near
    reach_x, reach_y = waist.reach
    small = kernel.narrow(2, centre_x - reach_x, 2 * reach_x + 1).narrow(3, centre_y - reach_y, 2 * reach_y + 1)
    outer = [tap for tap in range(kernel.shape[-1]) if abs(tap - centre) > waist.middle]
    planes = nn.functional.conv2d(*slices_as_channels(x, small, outer), padding=waist.reach)
    return near + from_planes(planes, x.shape[0])


def is_bfloat16_on_cpu(x: torch.Tensor) -> bool:
    """Whether a convolution of `x` will be computed so."""
    if x.device.type != "cpu":
        return False
    by_autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return by_autocast or x.dtype == torch.bfloat16


def is_small(x: torch.Tensor) -> bool:
    """Whether torch convolves a single volume like this one on a single thread by unfolding it, far slower than oneDNN.

    The limit is torch's own (`use_mkldnn` in ATen's Convolution.cpp); planes are a batch, to which it does not apply.
    """
    single = x.device.type == "cpu" and x.shape[0] == 1 and torch.get_num_threads() == 1
    return single and x.shape[1] * x.shape[4] * x.shape[2] <= 20480


def is_wide_on_cpu(x: torch.Tensor, kernel: torch.Tensor) -> bool:
    """Whether oneDNN may find no fast 3D gradient.

    From 7 taps on, with channels that fill no vector, it took 11 s where planes take 0.15 (28 channels, 64x64x3
    voxels, a CPU without AVX-512, torch 2.13).
    """
    return x.device.type == "cpu" and max(kernel.shape[2:4]) > WIDEST_FAST


def slices_as_channels(
    x: torch.Tensor, kernel: torch.Tensor, chosen: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Volume and kernel of a 3D convolution as planes and kernel of an equal 2D one: neighbouring slices are channels.

    Of the kernel's slices only the `chosen` count. oneDNN's 3D weight gradient in bfloat16 writes beyond its memory
    on CPUs with AMX (seen with torch 2.13).
    """
    depth, half = x.shape[-1], kernel.shape[-1] // 2
    padded = as_voxels(nn.functional.pad(x, (half, half)))  # [batch, z, x, y, in]
    shifted = torch.cat([padded[:, tap : tap + depth] for tap in chosen], dim=-1)
    return as_planes(from_voxels(shifted)), torch.cat([kernel[..., tap] for tap in chosen], dim=1)


def within_reach(kernel: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """The kernel without the taps that would only ever meet padding in a volume of `size` voxels."""
    for axis, (taps, voxels) in enumerate(zip(kernel.shape[2:], size, strict=True), 2):
        reach = min(taps // 2, voxels - 1)
        kernel = kernel.narrow(axis, taps // 2 - reach, 2 * reach + 1)
    return kernel
