"""The equivariant U-Net: its configuration, the papers' presets, the network, and baking it to an ordinary CNN."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from e3nn import o3
from torch import nn
from torch.nn import functional

from ICHSegmentationLib.convolution import PointwiseLinear, ScaleAndShift, Spacing, VoxelConvolution
from ICHSegmentationLib.layers import (
    NORMS,
    Activation,
    AveragePool,
    Factors,
    FixedNorm,
    Gate,
    MaxPoolByNorm,
    concatenate,
    upsample,
)

ACTIVATIONS: dict[str, Activation] = {
    "gelu": functional.gelu,
    "relu": functional.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}
BLEED_OUT = "1x0e"  # of a network that tells bleed from background
SUBTYPES_OUT = "6x0e"  # of a network that tells subtypes: background, then those of `simulation.blood.Subtype`


@dataclass(frozen=True)
class UNetConfig:
    """Everything that defines a network but its weights. Holds JSON values only.

    Attributes:
        irreps_in, irreps_out: input and output features, e.g. `3x0e` and `1x0e`; background first if there are several.
        irreps_levels: hidden features of each level, from the scan's own grid down. l = 0 first.
        diameters_mm: kernel diameter at each level.
        num_radial_basis: radial functions at each level.
        pool_mm: voxel size each downsampling aims at: along each axis the largest whole factor that stays within.
        encoder_convolutions, decoder_convolutions: per level; the lowest level has no decoder.
        lmax: highest degree of the kernel's spherical harmonics.
        parity: True for E(3) (mirrors too), False for SE(3).
        z_reach_mm: at each level, taps further along z are dropped (None: the kernel's own radius).
        integral_kernels: integrate kernels over voxels, so that the answer hardly depends on the grid.
        activation, gate: for scalars and for the gates of l > 0.
        pool: "average" or "max_norm".
        norm: "instance", over the volume in view (the papers'), or "fixed", by what was measured before training.
        norm_eps: added to the variance in the norm.
        mean_norm: divide l > 0 by its mean norm instead of the root of its mean square.
        narrow_before_upsampling: bring features to the upper level's irreps before, not after, they grow.
    """

    irreps_in: str
    irreps_out: str
    irreps_levels: tuple[str, ...]
    diameters_mm: tuple[float, ...]
    num_radial_basis: tuple[int, ...]
    pool_mm: tuple[float, ...]
    encoder_convolutions: tuple[int, ...]
    decoder_convolutions: tuple[int, ...]
    lmax: int = 2
    parity: bool = True
    z_reach_mm: tuple[float, ...] | None = None
    integral_kernels: bool = False
    activation: str = "gelu"
    gate: str = "sigmoid"
    pool: str = "average"
    norm: str = "instance"
    norm_eps: float = 1e-5
    mean_norm: bool = False
    narrow_before_upsampling: bool = False

    def __post_init__(self) -> None:
        levels = len(self.irreps_levels)
        wanted = {
            "diameters_mm": levels,
            "num_radial_basis": levels,
            "encoder_convolutions": levels,
            "pool_mm": levels - 1,
            "decoder_convolutions": levels - 1,
        }
        if self.z_reach_mm is not None:
            wanted["z_reach_mm"] = levels
        for name, length in wanted.items():
            if len(getattr(self, name)) != length:
                raise ValueError(f"{name} must have {length} entries for {levels} levels; got {getattr(self, name)}")
        for name, choices in {
            "activation": tuple(ACTIVATIONS),
            "gate": tuple(ACTIVATIONS),
            "pool": ("average", "max_norm"),
            "norm": tuple(NORMS),
        }.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {choices}; got {getattr(self, name)!r}")

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> UNetConfig:
        """The configuration that `dataclasses.asdict` wrote; unknown or missing names are an error."""
        names = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - names):
            raise ValueError(f"this version knows no network setting {', '.join(map(repr, unknown))}")
        arguments: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**arguments)

    def pool_factors(self, spacing_mm: Spacing) -> list[Factors]:
        """Voxels merged along x, y, z at each downsampling, for input at `spacing_mm`."""
        factors = []
        for target in self.pool_mm:
            x, y, z = (max(1, math.floor(target / step + 1e-3)) for step in spacing_mm)
            factors.append((x, y, z))
            spacing_mm = (spacing_mm[0] * x, spacing_mm[1] * y, spacing_mm[2] * z)
        return factors

    def level_spacings_mm(self, spacing_mm: Spacing) -> list[Spacing]:
        """Voxel spacing of each level, for input at `spacing_mm`."""
        spacings = [spacing_mm]
        for x, y, z in self.pool_factors(spacing_mm):
            spacings.append((spacings[-1][0] * x, spacings[-1][1] * y, spacings[-1][2] * z))
        return spacings


def doubled(irreps: str, levels: int) -> tuple[str, ...]:
    """The same irreps at every level, multiplicities doubled at each."""
    return tuple(str(o3.Irreps([(mul * 2**level, ir) for mul, ir in o3.Irreps(irreps)])) for level in range(levels))


PRESETS = {
    # Geiger et al., INSTANCE 2022: E(3), GELU, instance norm, 5 mm kernels doubling with each of 3 downsamplings
    "instance2022": UNetConfig(
        irreps_in="3x0e",
        irreps_out=BLEED_OUT,
        irreps_levels=doubled("20x0e+20x0o+10x1e+10x1o+5x2e+5x2o", 4),
        diameters_mm=(5.0, 10.0, 20.0, 40.0),
        num_radial_basis=(5, 5, 5, 5),
        pool_mm=(2.0, 4.0, 8.0),
        encoder_convolutions=(2, 2, 2, 2),
        decoder_convolutions=(2, 2, 2),
    ),
    # Diaz et al., MELBA 2024: SE(3), relu / sigmoid gates, max-pool by norm, l > 0 divided by its mean norm
    "melba2024": UNetConfig(
        irreps_in="3x0e",
        irreps_out="2x0e",
        irreps_levels=doubled("8x0e+4x1e+2x2e", 4),
        diameters_mm=(5.0, 10.0, 20.0, 40.0),
        num_radial_basis=(5, 5, 5, 5),
        pool_mm=(2.0, 4.0, 8.0),
        encoder_convolutions=(2, 2, 2, 2),
        decoder_convolutions=(2, 2, 2),
        parity=False,
        activation="relu",
        pool="max_norm",
        mean_norm=True,
    ),
    # The bundle's: E(3), made to be fast on a CPU. One convolution a side on the scan's own grid, the width below.
    "compact": UNetConfig(
        irreps_in="3x0e",
        irreps_out=BLEED_OUT,
        irreps_levels=(
            "6x0e+1x1o+1x2e",
            "10x0e+5x1o+3x2e",
            "24x0e+8x1o+4x2e",
            "48x0e+16x1o+8x2e",
        ),
        diameters_mm=(3.0, 6.0, 12.0, 24.0),
        num_radial_basis=(3, 3, 5, 5),
        pool_mm=(2.2, 4.4, 8.8),
        encoder_convolutions=(1, 2, 2, 2),
        decoder_convolutions=(1, 1, 1),
        integral_kernels=True,
        norm_eps=1e-3,
        narrow_before_upsampling=True,
    ),
}


class ConvolutionBlock(nn.Module):
    """Convolution, norm, gate."""

    def __init__(self, irreps_in: o3.Irreps | str, irreps_out: o3.Irreps | str, level: int, config: UNetConfig) -> None:
        super().__init__()
        self.gate = Gate(irreps_out, ACTIVATIONS[config.activation], ACTIVATIONS[config.gate])
        self.norm = NORMS[config.norm](self.gate.irreps_in, config.norm_eps, config.mean_norm)
        self.convolution = VoxelConvolution(
            irreps_in,
            self.gate.irreps_in,
            o3.Irreps.spherical_harmonics(config.lmax, p=-1 if config.parity else 1),
            config.diameters_mm[level],
            config.num_radial_basis[level],
            math.inf if config.z_reach_mm is None else config.z_reach_mm[level],
            config.integral_kernels,
        )

    @property
    def scale_and_shift(self) -> ScaleAndShift | None:
        """What a fixed norm multiplies with and adds, for the kernel to take over; None: the norm is computed."""
        if not isinstance(self.norm, FixedNorm) or self.norm.measured is not None:
            return None
        scale, shift = self.norm.fixed_scale_and_shift()
        return scale.flatten(), shift.flatten()

    def forward(self, x: torch.Tensor, spacing_mm: Spacing) -> torch.Tensor:
        if (in_kernel := self.scale_and_shift) is not None:
            return self.gate(self.convolution(x, spacing_mm, in_kernel))
        return self.gate(self.norm(self.convolution(x, spacing_mm)))

    @torch.no_grad()
    def bake(self, spacing_mm: Spacing) -> None:
        """Becomes an ordinary convolution for one spacing; a fixed norm goes into its kernel and costs nothing."""
        in_kernel = self.scale_and_shift
        self.add_module("convolution", self.convolution.bake(spacing_mm, in_kernel))
        if in_kernel is not None:
            self.add_module("norm", nn.Identity())


def blocks_of(levels: nn.ModuleList) -> list[list[ConvolutionBlock]]:
    """The same modules, with the type that is known of them."""
    return cast("list[list[ConvolutionBlock]]", levels)


def linears_of(levels: nn.ModuleList) -> list[PointwiseLinear]:
    """The same modules, with the type that is known of them."""
    return cast("list[PointwiseLinear]", levels)


class EquivariantUNet(nn.Module):
    """U-Net of steerable convolutions: rotate (and, with parity, mirror) the input and the output turns with it.

    Called with x [batch, irreps_in.dim, x, y, z] and the voxel spacing in mm; returns
    [batch, irreps_out.dim, x, y, z]. The same weights serve every spacing. Sources: Geiger et al., INSTANCE 2022;
    Diaz et al., MELBA 2024.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.irreps_in, self.irreps_out = o3.Irreps(config.irreps_in), o3.Irreps(config.irreps_out)
        levels = [o3.Irreps(irreps) for irreps in config.irreps_levels]

        self.encoder = nn.ModuleList()
        irreps = self.irreps_in
        for level, count in enumerate(config.encoder_convolutions):
            blocks = nn.ModuleList()
            for _ in range(count):
                blocks.append(ConvolutionBlock(irreps, levels[level], level, config))
                irreps = levels[level]
            self.encoder.append(blocks)

        self.narrow, self.decoder = nn.ModuleList(), nn.ModuleList()  # both from the top level down
        for level, count in enumerate(config.decoder_convolutions):
            below = levels[level + 1]
            if config.narrow_before_upsampling:
                self.narrow.append(PointwiseLinear(below, levels[level]))
                below = levels[level]
            blocks = nn.ModuleList()
            irreps = below + levels[level]
            for _ in range(count):
                blocks.append(ConvolutionBlock(irreps, levels[level], level, config))
                irreps = levels[level]
            self.decoder.append(blocks)

        self.pools = nn.ModuleList(
            MaxPoolByNorm(irreps) if config.pool == "max_norm" else AveragePool() for irreps in levels[:-1]
        )
        self.head = PointwiseLinear(levels[0], self.irreps_out)
        scalar = torch.cat([torch.full((mul * ir.dim,), float(ir.is_scalar())) for mul, ir in self.irreps_out])
        self.bias = nn.Parameter(torch.zeros(self.irreps_out.dim))
        self.bias_allowed: torch.Tensor
        self.register_buffer("bias_allowed", scalar, persistent=False)

    def forward(self, x: torch.Tensor, spacing_mm: Spacing) -> torch.Tensor:
        if x.dim() != 5 or x.shape[1] != self.irreps_in.dim:
            raise ValueError(f"the network wants x of [batch, {self.irreps_in.dim}, x, y, z]; got {list(x.shape)}")
        spacings = self.config.level_spacings_mm(spacing_mm)
        factors = self.config.pool_factors(spacing_mm)
        skips = []
        for level, blocks in enumerate(blocks_of(self.encoder)):
            if level > 0:
                x = self.pools[level - 1](x, factors[level - 1])
            for block in blocks:
                x = block(x, spacings[level])
            skips.append(x)
        skips.pop()
        for level in reversed(range(len(skips))):
            if self.narrow:
                x = self.narrow[level](x)
            x = concatenate(upsample(x, skips[-1].shape[2:]), skips.pop())
            for block in blocks_of(self.decoder)[level]:
                x = block(x, spacings[level])
        bias = (self.bias * self.bias_allowed).to(x.dtype)
        return self.head(x) + bias[:, None, None, None]

    def multiply_adds(self, size: tuple[int, ...], spacing_mm: Spacing) -> int:
        """Multiply-adds of the convolutions for one volume of `size` voxels at `spacing_mm`."""
        spacings, factors = self.config.level_spacings_mm(spacing_mm), self.config.pool_factors(spacing_mm)
        sizes = [size]
        for pool in factors:
            sizes.append(tuple(math.ceil(side / factor) for side, factor in zip(sizes[-1], pool, strict=True)))
        total = math.prod(size) * self.head.multiply_adds_per_voxel()
        for levels in (self.encoder, self.decoder):
            for blocks, level_size, spacing in zip(blocks_of(levels), sizes, spacings, strict=False):
                each = sum(block.convolution.multiply_adds_per_voxel(spacing) for block in blocks)
                total += each * math.prod(level_size)
        for linear, level_size in zip(linears_of(self.narrow), sizes[1:], strict=False):
            total += linear.multiply_adds_per_voxel() * math.prod(level_size)
        return total

    def bake(self, spacing_mm: Spacing) -> BakedUNet:
        """An ordinary CNN with the same output, for one spacing."""
        return BakedUNet(self, spacing_mm)


class BakedUNet(nn.Module):
    """An equivariant U-Net sampled at one spacing: an ordinary CNN, called as net(x)."""

    def __init__(self, network: EquivariantUNet, spacing_mm: Spacing) -> None:
        super().__init__()
        self.spacing_mm = spacing_mm
        self.network = copy.deepcopy(network).requires_grad_(False)
        spacings = network.config.level_spacings_mm(spacing_mm)
        for levels in (self.network.encoder, self.network.decoder):
            for blocks, spacing in zip(blocks_of(levels), spacings, strict=False):  # the lowest level has no decoder
                for block in blocks:
                    block.bake(spacing)
        self.network.narrow = nn.ModuleList(linear.bake() for linear in linears_of(self.network.narrow))
        self.network.add_module("head", self.network.head.bake())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[batch, irreps_in.dim, x, y, z] -> [batch, irreps_out.dim, x, y, z]."""
        return self.network(x, self.spacing_mm)
