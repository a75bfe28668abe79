"""Time and memory of the whole ensemble beside nnU-Net's network, in one run. `make bench` calls this.

The scan is 512 x 512 x 30 voxels of 0.45 x 0.45 x 5 mm, a head filling the field; weights do not matter for time, so
the bundle's members are repeated until there are eight. nnU-Net is its own PlainConvUNet as planned for this kind of
data (3d_fullres, patch 16 x 320 x 320, features 32 to 320); one tile is timed and multiplied by the tiles of one fold
without mirroring: windows overlap by half, so 3 x 3 x 3 = 27.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ICHSegmentationLib.dense_convolution import DenseConvolution, convolve
from ICHSegmentationLib.ensemble import Ensemble, load_bundle
from ICHSegmentationLib.inference import segment, working_grid
from ICHSegmentationLib.memory import settle_memory
from ICHSegmentationLib.unet import EquivariantUNet
from ICHSegmentationLib.volume import Volume, as_volume

SIZE, SPACING_MM = (512, 512, 30), (0.45, 0.45, 5.0)
MEMBERS = 8
LIMITS = {"fast": 45.0, "full": 180.0}
LIMIT_MB = 4096.0
NNUNET_PATCH, NNUNET_TILES = (16, 320, 320), 27


def head_filling_the_field() -> Volume:
    """An ellipsoid head as wide as the field of view."""
    volume = as_volume(np.zeros(SIZE), SPACING_MM)
    x, y, z = (
        ((np.arange(n) - (n - 1) / 2) / (n / 2)).reshape([-1 if axis == other else 1 for other in range(3)])
        for axis, n in enumerate(SIZE)
    )
    radius = np.sqrt(x**2 + y**2 + 0.5 * z**2)
    hu = np.where(radius < 1.0, 30.0, -1000.0)
    hu[(radius > 0.88) & (radius < 0.96)] = 1000.0
    hu += np.random.default_rng(0).normal(0, 3, SIZE)
    return dataclasses.replace(volume, hu=np.asfortranarray(hu, np.float32))


def eight_members() -> Ensemble:
    ensemble = load_bundle()
    members = list(itertools.islice(itertools.cycle(ensemble.members), MEMBERS))
    return Ensemble(ensemble.info, ensemble.sha256, members)


def time_ensemble(quality: str) -> dict[str, float]:
    """Runs in a process of its own, so that its peak memory is its own."""
    ensemble, volume = eight_members(), head_filling_the_field()
    started = time.perf_counter()
    result = segment(volume, ensemble, quality)
    seconds = time.perf_counter() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    hu = torch.from_numpy(volume.hu)[result.head.box]
    working, spacing = working_grid(hu, SPACING_MM, quality)
    multiply_adds = ensemble.members[0].multiply_adds(tuple(working.shape), spacing) * MEMBERS
    return {
        "seconds": seconds,
        "peak_mb": peak_mb,
        "giga_multiply_adds": multiply_adds / 1e9,
        "floor_s": floor_seconds(ensemble.members[0], working, spacing) * MEMBERS,
    }


def floor_seconds(network: EquivariantUNet, working: torch.Tensor, spacing: tuple[float, float, float]) -> float:
    """Time of the plain convolutions of one member alone, on inputs of the shapes that they meet."""
    baked = network.bake(spacing).eval()
    total = 0.0

    def time_it(module: nn.Module, arguments: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal total
        started = time.perf_counter()
        convolve(arguments[0], module.weight)
        total += time.perf_counter() - started

    for module in baked.modules():
        if isinstance(module, DenseConvolution):
            module.register_forward_hook(time_it)
    with torch.inference_mode():
        baked(torch.zeros(1, network.irreps_in.dim, *working.shape))
    return total


def time_nnunet_tile() -> float:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    network = PlainConvUNet(
        input_channels=1,
        n_stages=7,
        features_per_stage=[32, 64, 128, 256, 320, 320, 320],
        conv_op=nn.Conv3d,
        kernel_sizes=[[1, 3, 3], [1, 3, 3], *([[3, 3, 3]] * 5)],
        strides=[[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2], [2, 2, 2], [1, 2, 2], [1, 2, 2]],
        n_conv_per_stage=2,
        num_classes=2,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    ).eval()
    x = torch.randn(1, 1, *NNUNET_PATCH)
    with torch.inference_mode():
        network(x)
        times = []
        for _ in range(3):
            started = time.perf_counter()
            network(x)
            times.append(time.perf_counter() - started)
    return sorted(times)[1]


def measured(what: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--only", what]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["fast", "full", "nnunet"], help="one measurement, as JSON")
    parser.add_argument("--out", type=Path, help="write all figures there as JSON")
    options = parser.parse_args()
    if options.only:
        torch.set_flush_denormal(True)
        settle_memory()  # as the command line does, for both
        values = {"tile_s": time_nnunet_tile()} if options.only == "nnunet" else time_ensemble(options.only)
        print(json.dumps(values))
        return
    fold_s = measured("nnunet")["tile_s"] * NNUNET_TILES
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}; {SIZE} voxels of {SPACING_MM} mm")
    print(f"nnU-Net's network, one fold without mirroring: {fold_s / NNUNET_TILES:.1f} s a tile, {NNUNET_TILES} tiles, "
          f"{fold_s:.0f} s (extrapolated from one tile)")  # fmt: skip
    figures: dict[str, object] = {"nnunet_fold_s": fold_s}
    for quality in ("fast", "full"):
        found = measured(quality)
        rate = 2 * found["giga_multiply_adds"] / found["seconds"]
        print(
            f"{MEMBERS} members, {quality}: {found['seconds']:.1f} s (limit {LIMITS[quality]:.0f}), "
            f"{found['seconds'] / fold_s:.3f} of one nnU-Net fold; peak {found['peak_mb']:.0f} MB "
            f"(limit {LIMIT_MB:.0f}); "
            f"{found['giga_multiply_adds']:.0f} G multiply-adds, {rate:.0f} GFLOP/s; its plain convolutions alone "
            f"{found['floor_s']:.1f} s at {2 * found['giga_multiply_adds'] / found['floor_s']:.0f} GFLOP/s"
        )
        figures[quality] = found
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
