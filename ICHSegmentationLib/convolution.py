"""The steerable voxel convolution: a kernel of spherical harmonics and radial functions in physical space.

For a displacement a (mm) from the centre voxel, the kernel from an input feature of degree l_in to an output
feature of degree l_out is

    kernel(a) = sum over l and k of  weight[k, path] * b_k(|a|) * (l_in x l -> l_out) Y_l(a / |a|)

(Weiler et al. 2018; Diaz et al., MELBA 2024, equation 1). It is defined in millimetres, so one set of weights
serves every voxel spacing; sampled on a grid, or integrated over its voxels, it is the dense kernel of an ordinary
convolution.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from e3nn import o3
from e3nn.math import soft_one_hot_linspace
from torch import nn

from ICHSegmentationLib.dense_convolution import DenseConvolution, Waist, convolve, convolve_in_parts

Spacing = tuple[float, float, float]
ScaleAndShift = tuple[torch.Tensor, torch.Tensor]  # of each output channel, [irreps_out.dim]

NEGLIGIBLE = 1e-7  # radial functions (of size 1) below this do not change a float32 sum
FAINT = 0.02  # an integrated tap whose radial functions all lie below this is left out
POINTS_PER_DIAMETER = 10  # at which a kernel is integrated


@dataclass(frozen=True)
class Path:
    """One block of the kernel: all input features of one irrep to all output features of another."""

    rows: slice  # output channels
    columns: slice  # input channels
    multiplicity_out: int
    multiplicity_in: int
    degree_out: int
    degree_in: int
    degrees: tuple[int, ...]  # of the spherical harmonics that couple the two
    weights: tuple[tuple[slice, float], ...]  # for each degree: where its weights lie, and their normalisation


def rounded_spacing(spacing_mm: Spacing) -> Spacing:
    """Spacing to the micrometre, so that the last digits of a DICOM header do not ask for a kernel of their own."""
    x, y, z = (round(float(step), 3) for step in spacing_mm)
    if not (x > 0 and y > 0 and z > 0):
        raise ValueError(f"the voxel spacing must be positive in all three directions, in mm; got {spacing_mm}")
    return x, y, z


@dataclass(frozen=True)
class KernelShape:
    """What a kernel is made of, apart from its weights.

    Attributes:
        diameter_mm: at half of it every radial function has fallen to 0.
        num_radial_basis: number of radial functions.
        z_reach_mm: taps further than this along z are dropped.
        integral: each tap holds the kernel's mean over its voxel, scaled so that the sum over taps approximates the
            integral of the kernel: the answer then hardly depends on the grid. Otherwise the kernel is sampled at
            the voxels' centres and divided by their number, as in e3nn.
    """

    diameter_mm: float
    num_radial_basis: int
    z_reach_mm: float = math.inf
    integral: bool = False

    @property
    def is_point(self) -> bool:
        return self.diameter_mm == 0 or self.num_radial_basis == 0


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is kept must serve training too
def kernel_functions(spacing_mm: Spacing, shape: KernelShape, degree: int) -> torch.Tensor:
    """Radial functions times spherical harmonics of one degree at the kernel's taps.

    Returns [x, y, z, num_radial_basis, 2 degree + 1] for the box that `kernel_box` gives.
    """
    box = kernel_box(spacing_mm, shape)
    parts = subdivisions(spacing_mm, shape)
    axes = []
    for taps, step, count in zip(box, spacing_mm, parts, strict=True):
        within = (torch.arange(count) - (count - 1) / 2) / count
        axes.append(((torch.arange(taps) - taps // 2)[:, None] + within).flatten() * step)
    lattice = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)  # [x * parts, y * parts, z * parts, 3]
    values = radial_functions(lattice, shape)[..., None] * o3.spherical_harmonics(
        degree, lattice, normalize=True, normalization="component"
    ).unsqueeze(-2)
    for axis, (taps, count) in enumerate(zip(box, parts, strict=True)):
        values = values.unflatten(axis, (taps, count)).mean(dim=axis + 1)
    return values / divisor(spacing_mm, shape)


def radial_functions(lattice: torch.Tensor, shape: KernelShape) -> torch.Tensor:
    """[..., 3] mm -> [..., num_radial_basis]; what a float32 sum would not feel is exactly 0."""
    if shape.is_point:
        return torch.zeros(*lattice.shape[:-1], shape.num_radial_basis)
    radial = soft_one_hot_linspace(
        lattice.norm(dim=-1), 0.0, shape.diameter_mm / 2, shape.num_radial_basis, basis="smooth_finite", cutoff=True
    )
    return torch.where(radial > NEGLIGIBLE, radial, 0.0)


def subdivisions(spacing_mm: Spacing, shape: KernelShape) -> tuple[int, ...]:
    """Points per voxel along x, y, z over which the kernel is averaged."""
    if not shape.integral or shape.is_point:
        return 1, 1, 1
    return tuple(math.ceil(step / (shape.diameter_mm / POINTS_PER_DIAMETER) - 1e-9) for step in spacing_mm)


def divisor(spacing_mm: Spacing, shape: KernelShape) -> float:
    """What the kernel is divided by: its number of taps as e3nn counts them, or its extent in voxels."""
    if shape.is_point:
        return 1.0
    if shape.integral:
        return math.prod(shape.diameter_mm / step for step in spacing_mm)
    return float(math.prod(2 * math.floor(shape.diameter_mm / 2 / step + 1e-9) + 1 for step in spacing_mm))


@functools.lru_cache(maxsize=256)
def kernel_box(spacing_mm: Spacing, shape: KernelShape) -> tuple[int, ...]:
    """Taps of the kernel along x, y, z: the smallest odd box outside of which it is 0, or next to it."""
    radius_mm = shape.diameter_mm / 2
    box = []
    for axis, step in enumerate(spacing_mm):
        reach_mm = min(radius_mm, shape.z_reach_mm) if axis == 2 else radius_mm
        half = math.floor(reach_mm / step + (0.5 if shape.integral else 0.0) + 1e-9)
        while half > 0 and not tap_matters(half, step, shape):
            half -= 1
        box.append(2 * half + 1)
    return tuple(box)


@functools.lru_cache(maxsize=256)
def kernel_waist(spacing_mm: Spacing, shape: KernelShape) -> Waist | None:
    """Where the box that `kernel_box` gives is wider in its middle slices than what the others hold; None: nowhere."""
    box = kernel_box(spacing_mm, shape)
    if box[2] == 1:
        return None
    held = kernel_functions(spacing_mm, shape, 0).abs().flatten(3).amax(dim=3) > 0  # [x, y, z]
    held[tuple(taps // 2 for taps in box)] = True  # the self-connection
    reaches = []
    for slice_z in range(box[2] // 2, box[2]):
        found = held[..., slice_z].nonzero()
        offsets = (found - torch.tensor([box[0] // 2, box[1] // 2])).abs()
        reaches.append((int(offsets[:, 0].amax()), int(offsets[:, 1].amax())) if len(found) else (0, 0))
    middle = sum(reach == reaches[0] for reach in reaches)
    if middle == len(reaches):
        return None
    outer = reaches[middle:]
    return Waist(middle - 1, (max(x for x, _ in outer), max(y for _, y in outer)))


def tap_matters(index: int, step: float, shape: KernelShape) -> bool:
    """Whether the tap so many voxels from the centre along an axis, the nearest of its layer, holds anything."""
    if shape.is_point:
        return False
    count = math.ceil(step / (shape.diameter_mm / POINTS_PER_DIAMETER)) if shape.integral else 1
    along = (index + (torch.arange(count) - (count - 1) / 2) / count) * step
    lattice = torch.stack([along, torch.zeros(count), torch.zeros(count)], dim=-1)
    largest = float(radial_functions(lattice, shape).mean(dim=0).max())
    return largest > (FAINT if shape.integral else 0.0)


@functools.lru_cache(maxsize=512)
@torch.inference_mode(False)
def kernel_basis(
    spacing_mm: Spacing,
    shape: KernelShape,
    degree_in: int,
    degrees: tuple[int, ...],
    degree_out: int,
    device: torch.device,
) -> torch.Tensor:
    """The part of the kernel that training does not change, for one pair of degrees.

    Returns [len(degrees) * num_radial_basis, 2 degree_out + 1, (2 degree_in + 1) * taps], float32.
    """
    parts = []
    for degree in degrees:
        functions = kernel_functions(spacing_mm, shape, degree).flatten(0, 2)
        parts.append(torch.einsum("tkm,imo->koit", functions, o3.wigner_3j(degree_in, degree, degree_out)))
    return torch.cat(parts, dim=0).flatten(2).to(device)


SMALL_BLOCK = 2**18  # numbers; below, a call costs more than copying its result into place


class ContractKernel(torch.autograd.Function):
    """Writes each path's product of weights and basis, and the self-connection, into the dense kernel.

    A kernel of the large presets holds gigabytes: writing it once, with no concatenation or permutation after,
    is what makes it cheap. Called with the kernel's shape [out, in, taps], the paths, the blocks that no path
    reaches, the self-connection [out, in], each path's weights [multiplicity_out, multiplicity_in, q] and each
    path's basis [q, 2 degree_out + 1, (2 degree_in + 1) * taps].
    """

    @staticmethod
    def forward(
        ctx: Any,
        shape: tuple[int, int, int],
        paths: list[Path],
        uncoupled: list[tuple[slice, slice]],
        *factors: torch.Tensor,
    ) -> torch.Tensor:
        self_connection, weights, bases = factors[0], factors[1 : 1 + len(paths)], factors[1 + len(paths) :]
        ctx.paths = paths
        ctx.save_for_backward(*bases)
        kernel = empty_in_huge_pages(shape, self_connection)
        for rows, columns in uncoupled:
            kernel[rows, columns] = 0
        for path, weight, basis in zip(paths, weights, bases, strict=True):
            block = kernel_block(kernel, path)
            if block.numel() < SMALL_BLOCK:
                product = weight.flatten(0, 1) @ basis.flatten(1)  # [multiplicity_out * multiplicity_in, ...]
                block.copy_(product.view(*weight.shape[:2], *basis.shape[1:]).transpose(1, 2))
                continue
            for component in range(basis.shape[1]):
                torch.bmm(weight, basis[:, component].expand(len(weight), -1, -1), out=block[:, component])
        kernel[..., shape[2] // 2] += self_connection
        return kernel

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad = grad.contiguous()
        grads_weights = []
        for path, basis in zip(ctx.paths, ctx.saved_tensors, strict=True):
            block = kernel_block(grad, path)
            if block.numel() < SMALL_BLOCK:
                rows = block.transpose(1, 2).flatten(2).flatten(0, 1)  # [multiplicity_out * multiplicity_in, ...]
                grads_weights.append((rows @ basis.flatten(1).T).view(len(block), block.shape[2], -1))
                continue
            total = torch.bmm(block[:, 0], basis[:, 0].T.expand(len(block), -1, -1))
            for component in range(1, basis.shape[1]):
                total.baddbmm_(block[:, component], basis[:, component].T.expand(len(block), -1, -1))
            grads_weights.append(total)
        return (None, None, None, grad[..., grad.shape[2] // 2], *grads_weights, *([None] * len(ctx.paths)))


def kernel_block(kernel: torch.Tensor, path: Path) -> torch.Tensor:
    """View of a path's part of the kernel: [multiplicity_out, 2 degree_out + 1, multiplicity_in, rest]."""
    block = kernel[path.rows, path.columns]
    return block.view(
        path.multiplicity_out, 2 * path.degree_out + 1, path.multiplicity_in, (2 * path.degree_in + 1) * kernel.shape[2]
    )


def empty_in_huge_pages(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """Uninitialised memory. On the CPU numpy asks the kernel for huge pages: first touch is about 5 times faster."""
    if like.device.type == "cpu" and like.dtype == torch.float32:
        return torch.from_numpy(np.empty(shape, np.float32))
    return like.new_empty(shape)


class VoxelConvolution(nn.Module):
    """Convolution on voxels, equivariant to rotations (and mirrors, if the irreps carry parity).

    Equal to `e3nn.nn.models.v2104.voxel_convolution.Convolution` with the same parameters, but the spacing is an
    argument of the call and the kernel is one contraction of a cached basis with the weights. The centre tap is
    the self-connection, a learned e3nn `Linear`. A diameter of 0 leaves that alone.

    Args:
        irreps_in, irreps_out: features before and after.
        irreps_sh: spherical harmonics of the kernel, e.g. `0e+1o+2e` (E(3)) or `0e+1e+2e` (SE(3)).
        diameter_mm: of the kernel; voxels at half of it or further are not seen.
        num_radial_basis: number of radial functions.
        z_reach_mm: taps further than this along z are dropped. Anything below the radius breaks the symmetry of
            rotations that move the z axis; in-plane rotations and mirrors stay exact.
        integral: integrate the kernel over each voxel instead of sampling it at its centre; see KernelShape.
    """

    def __init__(
        self,
        irreps_in: o3.Irreps | str,
        irreps_out: o3.Irreps | str,
        irreps_sh: o3.Irreps | str,
        diameter_mm: float,
        num_radial_basis: int,
        z_reach_mm: float = math.inf,
        integral: bool = False,
    ) -> None:
        super().__init__()
        if not diameter_mm >= 0:
            raise ValueError(f"diameter_mm must be 0 or more; got {diameter_mm}")
        self.irreps_in = o3.Irreps(irreps_in)
        self.irreps_out = o3.Irreps(irreps_out)
        self.irreps_sh = o3.Irreps(irreps_sh)
        self.shape = KernelShape(float(diameter_mm), num_radial_basis, float(z_reach_mm), integral)
        self.self_connection = o3.Linear(self.irreps_in, self.irreps_out)
        product = o3.FullyConnectedTensorProduct(
            self.irreps_in,
            self.irreps_sh,
            self.irreps_out,
            shared_weights=False,
            compile_left_right=False,
            compile_right=False,
        )
        self.paths, self.uncoupled = paths_of(product)
        self.weight = nn.Parameter(torch.randn(num_radial_basis, product.weight_numel))

    def kernel(self, spacing_mm: Spacing) -> torch.Tensor:
        """The dense kernel at this spacing, [irreps_out.dim, irreps_in.dim, x, y, z], in float32."""
        spacing_mm = rounded_spacing(spacing_mm)
        device = self.self_connection.weight.device
        box = kernel_box(spacing_mm, self.shape)
        weights, bases = [], []
        for path in self.paths:
            parts = torch.cat([self.weight[:, where] * norm for where, norm in path.weights])
            parts = parts.view(-1, path.multiplicity_in, path.multiplicity_out)
            weights.append(parts.permute(2, 1, 0).contiguous())  # [multiplicity_out, multiplicity_in, q]
            bases.append(kernel_basis(spacing_mm, self.shape, path.degree_in, path.degrees, path.degree_out, device))
        self_connection = dense_matrix(self.self_connection)
        size = (self.irreps_out.dim, self.irreps_in.dim, math.prod(box))
        kernel = ContractKernel.apply(size, self.paths, self.uncoupled, self_connection, *weights, *bases)
        return kernel.view(*size[:2], *box)

    def kernel_and_bias(
        self, spacing_mm: Spacing, scale_and_shift: ScaleAndShift | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The dense kernel, and what is added after it; a scale of the answer goes into the kernel."""
        kernel = self.kernel(spacing_mm)
        if scale_and_shift is None:
            return kernel, None
        scale, shift = scale_and_shift
        return kernel * scale[:, None, None, None, None], shift

    def forward(
        self, x: torch.Tensor, spacing_mm: Spacing, scale_and_shift: ScaleAndShift | None = None
    ) -> torch.Tensor:
        """x [batch, irreps_in.dim, x, y, z] at `spacing_mm` -> [batch, irreps_out.dim, x, y, z], zero-padded.

        With a scale and a shift, each [irreps_out.dim], that of the answer: in the kernel they cost next to nothing.
        """
        kernel, bias = self.kernel_and_bias(spacing_mm, scale_and_shift)
        kernel, bias = kernel.to(x.dtype), None if bias is None else bias.to(x.dtype)
        waist = kernel_waist(rounded_spacing(spacing_mm), self.shape)
        return convolve(x, kernel, bias) if waist is None else convolve_in_parts(x, kernel, waist, bias)

    def multiply_adds_per_voxel(self, spacing_mm: Spacing) -> int:
        box = kernel_box(rounded_spacing(spacing_mm), self.shape)
        return math.prod(box) * self.irreps_in.dim * self.irreps_out.dim

    def bake(self, spacing_mm: Spacing, scale_and_shift: ScaleAndShift | None = None) -> DenseConvolution:
        """The same map at one spacing, as an ordinary convolution."""
        with torch.no_grad():
            return DenseConvolution(*self.kernel_and_bias(spacing_mm, scale_and_shift))


class PointwiseLinear(nn.Module):
    """Linear map of the features at each voxel: an e3nn `Linear` over [batch, irreps_in.dim, x, y, z]."""

    def __init__(self, irreps_in: o3.Irreps | str, irreps_out: o3.Irreps | str) -> None:
        super().__init__()
        self.linear = o3.Linear(irreps_in, irreps_out)

    def kernel(self) -> torch.Tensor:
        """[irreps_out.dim, irreps_in.dim, 1, 1, 1]."""
        return dense_matrix(self.linear)[..., None, None, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return convolve(x, self.kernel().to(x.dtype))

    def multiply_adds_per_voxel(self) -> int:
        return self.linear.irreps_in.dim * self.linear.irreps_out.dim

    def bake(self) -> DenseConvolution:
        """The same map as an ordinary convolution."""
        with torch.no_grad():
            return DenseConvolution(self.kernel())


def dense_matrix(linear: o3.Linear) -> torch.Tensor:
    """The matrix [irreps_out.dim, irreps_in.dim] that an e3nn `Linear` multiplies features with."""
    return linear(torch.eye(linear.irreps_in.dim, device=linear.weight.device)).T


def paths_of(product: o3.FullyConnectedTensorProduct) -> tuple[list[Path], list[tuple[slice, slice]]]:
    """The blocks of the kernel, with where e3nn keeps and how it normalises their weights, and the empty blocks."""
    slices_in, slices_out = product.irreps_in1.slices(), product.irreps_out.slices()
    found: dict[tuple[int, int], list[tuple[int, slice, float]]] = {}
    start = 0
    for instruction in product.instructions:
        size = math.prod(instruction.path_shape)
        degree = product.irreps_in2[instruction.i_in2].ir.l
        part = (degree, slice(start, start + size), instruction.path_weight)
        found.setdefault((instruction.i_out, instruction.i_in1), []).append(part)
        start += size
    paths, uncoupled = [], []
    for block_out, (mul_out, ir_out) in enumerate(product.irreps_out):
        for block_in, (mul_in, ir_in) in enumerate(product.irreps_in1):
            rows, columns = slices_out[block_out], slices_in[block_in]
            parts = found.get((block_out, block_in))
            if parts is None:
                uncoupled.append((rows, columns))
                continue
            degrees = tuple(degree for degree, _, _ in parts)
            weights = tuple((where, norm) for _, where, norm in parts)
            paths.append(Path(rows, columns, mul_out, mul_in, ir_out.l, ir_in.l, degrees, weights))
    return paths, uncoupled
