"""What stands between the convolutions: normalisation, gate, pooling, upsampling, concatenation, all on irreps.

Features are [batch, irreps.dim, x, y, z]. In memory they lie as [batch, z, x, y, channel]: to a kernel of one slice
they are a batch of channels-last images, to any other a channels-last volume, both without a copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from e3nn import o3
from e3nn.math import normalize2mom
from torch import nn
from torch.nn import functional

Factors = tuple[int, int, int]
Activation = Callable[[torch.Tensor], torch.Tensor]


def as_voxels(x: torch.Tensor) -> torch.Tensor:
    """[batch, channel, x, y, z] -> [batch, z, x, y, channel], contiguous."""
    return x.permute(0, 4, 2, 3, 1).contiguous()


def from_voxels(voxels: torch.Tensor) -> torch.Tensor:
    """[batch, z, x, y, channel] -> [batch, channel, x, y, z]."""
    return voxels.permute(0, 4, 2, 3, 1)


def as_planes(x: torch.Tensor) -> torch.Tensor:
    """[batch, channel, x, y, z] -> [batch * z, channel, x, y], channels last."""
    return as_voxels(x).flatten(0, 1).permute(0, 3, 1, 2)


def from_planes(planes: torch.Tensor, batch: int) -> torch.Tensor:
    """[batch * z, channel, x, y] -> [batch, channel, x, y, z]."""
    return planes.unflatten(0, (batch, -1)).permute(0, 2, 3, 4, 1)


def as_stack(x: torch.Tensor) -> torch.Tensor:
    """[batch, channel, x, y, z] -> [batch, channel, z, x, y], channels last."""
    return as_voxels(x).permute(0, 4, 1, 2, 3)


def from_stack(stack: torch.Tensor) -> torch.Tensor:
    """[batch, channel, z, x, y] -> [batch, channel, x, y, z]."""
    return stack.permute(0, 1, 3, 4, 2)


def feature_of_channel(irreps: o3.Irreps) -> torch.Tensor:
    """Which feature (irrep copy) each channel is a component of, [irreps.dim]."""
    dims = torch.tensor([ir.dim for mul, ir in irreps for _ in range(mul)], dtype=torch.long)
    return torch.arange(len(dims)).repeat_interleave(dims)


class ChannelMoments(torch.autograd.Function):
    """Mean and mean square of each channel over the volume, each [batch, channel, 1, 1, 1].

    A group normalisation of one channel a group finds both in one accurate pass, several times faster than
    reductions over the outer axes of a channels-last tensor; its own output is not used.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ctx.save_for_backward(x)
        batch, channels, voxels = x.shape[0], x.shape[1], math.prod(x.shape[2:])
        eps = 1e-12
        flat = as_voxels(x).reshape(-1).view(batch, -1, x.shape[3], channels).permute(0, 3, 1, 2)
        _, mean, rstd = torch.native_group_norm(flat, None, None, batch, channels, voxels, channels, eps)
        square = rstd.float() ** -2 - eps + mean.float() ** 2
        shape = (batch, channels, 1, 1, 1)
        return mean.float().view(shape), square.clamp_min_(0).view(shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_mean: torch.Tensor, grad_square: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        voxels = math.prod(x.shape[2:])
        return torch.addcmul(grad_mean.to(x.dtype) / voxels, x, grad_square.to(x.dtype) * (2 / voxels))


class Norm(nn.Module):
    """Normalises each feature: scalars to mean 0 and variance 1, l > 0 by its size; then a learned weight a feature.

    As e3nn's `BatchNorm`: only even scalars are centred and get a bias. The size of an l > 0 feature is the root of
    its mean square (e3nn), or with `mean_norm` the mean of its norm (Diaz et al. 2024, section 2.3). `eps` is added
    to the variance; a large one spares an almost constant patch from being blown up. Over what mean and variance
    are taken is for the classes below to say.
    """

    feature: torch.Tensor
    mean_of_components: torch.Tensor
    centred: torch.Tensor
    scalars: torch.Tensor
    tensors: torch.Tensor

    def __init__(self, irreps: o3.Irreps | str, eps: float, mean_norm: bool = False) -> None:
        super().__init__()
        self.irreps = o3.Irreps(irreps)
        self.eps = eps
        self.mean_norm = mean_norm
        scalar = torch.tensor([ir.is_scalar() for mul, ir in self.irreps for _ in range(mul)], dtype=torch.bool)
        feature = feature_of_channel(self.irreps)
        components = torch.zeros(self.irreps.num_irreps, self.irreps.dim)
        components[feature, torch.arange(self.irreps.dim)] = 1
        self.weight = nn.Parameter(torch.ones(self.irreps.num_irreps))
        self.bias = nn.Parameter(torch.zeros(int(scalar.sum())))
        self.register_buffer("feature", feature, persistent=False)
        self.register_buffer("mean_of_components", components / components.sum(1, keepdim=True), persistent=False)
        self.register_buffer("centred", scalar[feature][:, None, None, None], persistent=False)
        self.register_buffer("scalars", scalar.nonzero().flatten(), persistent=False)
        degree = torch.tensor([ir.l for mul, ir in self.irreps for _ in range(mul)])
        self.register_buffer("tensors", (degree > 0)[:, None, None, None], persistent=False)

    def statistics(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Over each volume, the channels' means [batch, irreps.dim, 1, 1, 1] (0 where none is taken off) and the
        features' variances [batch, irreps.num_irreps, 1, 1, 1]."""
        mean, square = ChannelMoments.apply(x)
        mean = mean * self.centred
        variance = torch.einsum("fc,bcxyz->bfxyz", self.mean_of_components.float(), square - mean**2)
        if self.mean_norm:
            variance = torch.where(self.tensors, mean_norms(x, self.irreps) ** 2, variance)
        return mean, variance

    def scale_and_shift(self, mean: torch.Tensor, variance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What each channel is multiplied by and what is added then, [batch, irreps.dim, 1, 1, 1], in float32."""
        scale = (self.weight.float()[:, None, None, None] * (variance + self.eps).rsqrt())[:, self.feature]
        bias = self.bias.float()[None, :, None, None, None].expand(len(mean), -1, 1, 1, 1)
        return scale, (-mean * scale).index_add(1, self.scalars, bias)


class InstanceNorm(Norm):
    """Takes mean and variance over the whole volume: what else lies in the field decides how a voxel is seen."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, irreps.dim, x, y, z] -> the same shape. Overwrites x where no gradient is wanted."""
        return scaled(x, *self.scale_and_shift(*self.statistics(x)))


class FixedNorm(Norm):
    """Takes mean and variance as they were once measured over training patches, and never after.

    So the answer at a voxel depends on what lies within the network's reach and on nothing else: not on the field
    of view, not on the tiles. For CT, whose values mean the same in every scan. The network must be trained on
    stacks as deep as those it will see: in a deeper one features sum over more slices, and nothing takes that back.
    Before `measured_norms` mean and variance are 0 and 1.
    """

    fixed_mean: torch.Tensor
    fixed_variance: torch.Tensor

    def __init__(self, irreps: o3.Irreps | str, eps: float, mean_norm: bool = False) -> None:
        super().__init__(irreps, eps, mean_norm)
        self.register_buffer("fixed_mean", torch.zeros(self.irreps.dim))
        self.register_buffer("fixed_variance", torch.ones(self.irreps.num_irreps))
        self.measured: list[tuple[torch.Tensor, torch.Tensor]] | None = None  # while they are being measured

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, irreps.dim, x, y, z] -> the same shape. Overwrites x where no gradient is wanted."""
        if self.measured is not None:
            mean, variance = self.statistics(x)
            self.measured.append((mean.detach().mean(0), variance.detach().mean(0)))
            return scaled(x, *self.scale_and_shift(mean, variance))
        return scaled(x, *self.fixed_scale_and_shift())

    def fixed_scale_and_shift(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What each channel is multiplied by and what is added then, [1, irreps.dim, 1, 1, 1]."""
        fixed = (self.fixed_mean, self.fixed_variance)
        return self.scale_and_shift(*(value.float()[None, :, None, None, None] for value in fixed))


MEASURED = ("fixed_mean", "fixed_variance")  # what of a network is measured, not trained
NORMS: dict[str, type[InstanceNorm] | type[FixedNorm]] = {"instance": InstanceNorm, "fixed": FixedNorm}


def scaled(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """x * scale + shift; in x's own memory where no gradient is wanted."""
    scale, shift = scale.to(x.dtype), shift.to(x.dtype)
    if torch.is_grad_enabled():
        return torch.addcmul(shift, x, scale)
    return torch.addcmul(shift, x, scale, out=x)


@contextmanager
def measured_norms(network: nn.Module) -> Iterator[None]:
    """While it lasts fixed norms normalise by what they see, as instance norms; then they keep the mean of that."""
    norms = [module for module in network.modules() if isinstance(module, FixedNorm)]
    for norm in norms:
        norm.measured = []
    try:
        yield
        for norm in norms:
            if norm.measured:
                means, variances = zip(*norm.measured, strict=True)
                norm.fixed_mean.copy_(torch.stack(means).mean(0).flatten())
                norm.fixed_variance.copy_(torch.stack(variances).mean(0).flatten())
    finally:
        for norm in norms:
            norm.measured = None


def mean_norms(x: torch.Tensor, irreps: o3.Irreps) -> torch.Tensor:
    """Mean over the volume of each feature's norm, [batch, irreps.num_irreps, 1, 1, 1]."""
    fields = x.split([mul * ir.dim for mul, ir in irreps], dim=1)
    norms = [
        field.unflatten(1, (mul, ir.dim)).norm(dim=2).mean(dim=(2, 3, 4))
        for field, (mul, ir) in zip(fields, irreps, strict=True)
    ]
    return torch.cat(norms, dim=1)[..., None, None, None]


class Gate(nn.Module):
    """Non-linearity: scalars through a function, every l > 0 feature times the function of a scalar of its own.

    As `e3nn.nn.Gate` (Weiler et al. 2018), activations normalised to second moment 1. `irreps_in` is what the layer
    before must give: the scalars, one even scalar gate per l > 0 feature, the features.

    Args:
        irreps: features after the gate.
        activation: for even scalars; odd ones take tanh, which keeps their sign.
        gate: for the gates.
    """

    feature: torch.Tensor

    def __init__(self, irreps: o3.Irreps | str, activation: Activation, gate: Activation) -> None:
        super().__init__()
        self.irreps_out = o3.Irreps(irreps)
        scalars = [(mul, ir) for mul, ir in self.irreps_out if ir.l == 0]
        gated = o3.Irreps([(mul, ir) for mul, ir in self.irreps_out if ir.l > 0])
        if list(self.irreps_out) != [*o3.Irreps(scalars), *gated]:
            raise ValueError(f"a gate wants its scalars first; got irreps {self.irreps_out}")
        self.activations = [(mul, normalize2mom(activation if ir.p == 1 else torch.tanh)) for mul, ir in scalars]
        self.gate = normalize2mom(gate)
        self.num_scalars, self.num_gates = o3.Irreps(scalars).dim, gated.num_irreps
        self.irreps_in = o3.Irreps([*scalars, *([(self.num_gates, (0, 1))] if self.num_gates else []), *gated])
        self.register_buffer("feature", feature_of_channel(gated), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, irreps_in.dim, x, y, z] -> [batch, irreps_out.dim, x, y, z]."""
        sizes = [mul for mul, _ in self.activations]
        voxels = as_voxels(x)
        *scalars, gates, gated = voxels.split([*sizes, self.num_gates, len(self.feature)], dim=-1)
        parts = [act(part.contiguous()) for (_, act), part in zip(self.activations, scalars, strict=True)]
        if self.num_gates:
            parts.append(gated * self.gate(gates.contiguous()).index_select(-1, self.feature))
        return from_voxels(torch.cat(parts, dim=-1))


class AveragePool(nn.Module):
    """Mean over blocks of voxels."""

    def forward(self, x: torch.Tensor, factors: Factors) -> torch.Tensor:
        """[batch, channel, x, y, z] -> the same with sides divided by `factors`, rounded up.

        Where a side is no multiple of its factor the blocks overlap evenly, so that mirrors still commute.
        """
        if factors == (1, 1, 1):
            return x
        size_x, size_y, size_z = pooled_size(x.shape, factors)
        if factors[2] == 1:
            return from_planes(functional.adaptive_avg_pool2d(as_planes(x), (size_x, size_y)), x.shape[0])
        return from_stack(functional.adaptive_avg_pool3d(as_stack(x), (size_z, size_x, size_y)))


class MaxPoolByNorm(nn.Module):
    """Keeps, of each block and feature, the one of largest norm; of even scalars the largest (Diaz et al. 2024)."""

    def __init__(self, irreps: o3.Irreps | str) -> None:
        super().__init__()
        self.irreps = o3.Irreps(irreps)
        self.register_buffer("feature", feature_of_channel(self.irreps), persistent=False)

    def forward(self, x: torch.Tensor, factors: Factors) -> torch.Tensor:
        """[batch, irreps.dim, x, y, z] -> the same with sides divided by `factors`, rounded up."""
        if factors == (1, 1, 1):
            return x
        size = pooled_size(x.shape, factors)
        fields = []
        for field, (mul, ir) in zip(x.split([mi.dim for mi in self.irreps], dim=1), self.irreps, strict=True):
            components = field.unflatten(1, (mul, ir.dim))  # [batch, mul, 2l+1, x, y, z]
            size_of = components[:, :, 0] if ir.is_scalar() else components.pow(2).sum(2)  # [batch, mul, x, y, z]
            _, where = functional.adaptive_max_pool3d(size_of.contiguous(), size, return_indices=True)
            where = where.flatten(2)[:, :, None].expand(-1, -1, ir.dim, -1)
            fields.append(components.flatten(3).gather(3, where).unflatten(3, size).flatten(1, 2))
        return torch.cat(fields, dim=1)


def pooled_size(shape: torch.Size, factors: Factors) -> tuple[int, int, int]:
    x, y, z = (math.ceil(side / factor) for side, factor in zip(shape[2:], factors, strict=True))
    return x, y, z


def upsample(x: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Trilinear, to `size` voxels; components of l > 0 are interpolated one by one, which is equivariant."""
    if tuple(x.shape[2:]) == size:
        return x
    if x.shape[-1] == size[2]:
        planes = functional.interpolate(as_planes(x), size[:2], mode="bilinear", align_corners=False)
        return from_planes(planes, x.shape[0])
    stack = functional.interpolate(as_stack(x), (size[2], *size[:2]), mode="trilinear", align_corners=False)
    return from_stack(stack)


def concatenate(*xs: torch.Tensor) -> torch.Tensor:
    """Features side by side: [batch, irreps_1.dim + irreps_2.dim + ..., x, y, z]."""
    return from_voxels(torch.cat([as_voxels(x) for x in xs], dim=-1))
