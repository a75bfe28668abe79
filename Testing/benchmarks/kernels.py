"""Time of building kernels, ours beside e3nn's, and their share of a training step. Part of `make bench`."""

from __future__ import annotations

import time

import torch
from e3nn import o3
from e3nn.nn.models.v2104.voxel_convolution import Convolution

from ICHSegmentationLib.convolution import VoxelConvolution
from ICHSegmentationLib.training.loss import cross_entropy_and_dice
from ICHSegmentationLib.unet import PRESETS, EquivariantUNet

SPACING_MM = (0.43, 0.43, 5.0)


def convolutions(network: EquivariantUNet, spacing_mm: tuple) -> list[tuple[VoxelConvolution, tuple]]:
    """All steerable convolutions of a network with the spacing of their level."""
    spacings = network.config.level_spacings_mm(spacing_mm)
    found = []
    for levels in (network.encoder, network.decoder):
        for blocks, spacing in zip(levels, spacings, strict=False):
            found += [(block.convolution, spacing) for block in blocks]
    return found


def seconds_for_all_kernels(name: str) -> float:
    """Best of three, on spacings that were not seen before, so that the basis is built too."""
    network = EquivariantUNet(PRESETS[name])
    times = []
    with torch.no_grad():
        for step in (0.40, 0.41, 0.42, 0.43):
            started = time.perf_counter()
            for convolution, spacing in convolutions(network, (step, step, 5.0)):
                convolution.kernel(spacing)
            times.append(time.perf_counter() - started)
    return min(times[1:])


def seconds_for_all_kernels_of_e3nn(name: str) -> float:
    """The same kernels by e3nn's own convolution, modules built beforehand."""
    network = EquivariantUNet(PRESETS[name])
    total = 0.0
    for ours, spacing in convolutions(network, SPACING_MM):
        theirs = Convolution(
            ours.irreps_in,
            ours.irreps_out,
            o3.Irreps(ours.irreps_sh),
            ours.shape.diameter_mm,
            ours.shape.num_radial_basis,
            steps=spacing,
        )
        with torch.no_grad():
            theirs.kernel()  # compiles
            started = time.perf_counter()
            theirs.kernel()
            total += time.perf_counter() - started
    return total


def kernel_share_of_a_training_step(name: str) -> float:
    """Kernels forward and backward against the whole step, on the patch that members are trained on."""
    network = EquivariantUNet(PRESETS[name])
    spacing, x = (1.0, 1.0, 5.0), torch.rand(2, 3, 128, 128, 8)
    target = (torch.rand(2, 1, 128, 128, 8) > 0.9).float()
    for _ in range(2):
        started = time.perf_counter()
        cross_entropy_and_dice(network(x, spacing), target, torch.ones_like(target)).backward()
        step = time.perf_counter() - started
        started = time.perf_counter()
        sum(c.kernel(s).square().sum() for c, s in convolutions(network, spacing)).backward()
        kernels = time.perf_counter() - started
    return kernels / step


def main() -> None:
    for name, limit in (("instance2022", 1.0), ("compact", 0.15)):
        print(f"all kernels of {name} at {SPACING_MM} mm: {seconds_for_all_kernels(name):.3f} s (limit {limit})")
    print(f"the same of compact by e3nn's convolution: {seconds_for_all_kernels_of_e3nn('compact'):.2f} s")
    share = kernel_share_of_a_training_step("compact")
    print(f"kernels are {share:.1%} of a training step of compact (limit 5 %)")


if __name__ == "__main__":
    main()
