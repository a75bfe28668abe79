"""Segmentation of one scan by an ensemble: windows, tiles, members, blend, mean, threshold, specks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ICHSegmentationLib import quality
from ICHSegmentationLib.convolution import Spacing
from ICHSegmentationLib.devices import pick_device
from ICHSegmentationLib.ensemble import Ensemble
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.head import Head, find_head
from ICHSegmentationLib.lesions import without_specks
from ICHSegmentationLib.patches import Size, Tiling
from ICHSegmentationLib.regular import RegularGrid
from ICHSegmentationLib.runner import Progress, Runner, Tracker
from ICHSegmentationLib.unet import EquivariantUNet

logger = logging.getLogger(__name__)

FAST_MM = (1.0, 1.0, 2.5)  # voxels that "fast" aims at
# wider ones stay as they are; between 0.75 and 0.9 mm in the plane the network would cost four times more
FAST_KEPT_MM = (0.9, 0.9, 1.75)
QUALITIES = ("auto", "full", "fast")


@dataclass(frozen=True)
class Segmentation:
    """The answer for one scan, on the scan's own voxels [x, y, z].

    Attributes:
        volume: the scan as it was segmented (padding and raw values mended).
        mask: bool, True where bleed: the probability cut at the threshold, without specks (`lesions.without_specks`).
        probability: float32, mean over the members.
        member_volumes_ml: what each member alone measures in the same way.
        specks_ml: what was cleared as too small to count.
        threshold: probability from which a voxel is bleed.
        quality: "full" or "fast".
        device: what it ran on, in words.
        seconds: of inference.
        warnings: sentences for the user.
        head: the head on the regular grid.
    """

    volume: Volume
    mask: np.ndarray
    probability: np.ndarray
    member_volumes_ml: tuple[float, ...]
    specks_ml: float
    threshold: float
    quality: str
    device: str
    seconds: float
    warnings: tuple[str, ...]
    head: Head

    @property
    def volume_ml(self) -> float:
        return volume_of(self.mask, self.volume)


def volume_of(mask: np.ndarray, volume: Volume) -> float:
    """Millilitres of a mask on the scan's own voxels, each slice with its own extent."""
    axes = tuple(axis for axis in range(3) if axis != volume.stack_axis)
    return float(mask.sum(axis=axes) @ volume.voxel_volumes_ml.ravel())


def segment(
    volume: Volume,
    ensemble: Ensemble,
    quality_level: str = "auto",
    device: str = "auto",
    threshold: float | None = None,
    members: int | None = None,
    tiling: Tiling | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Segmentation:
    """Segments a scan.

    Args:
        volume: the scan.
        ensemble: from `ensemble.load_bundle`.
        quality_level: "full" runs on the scan's own grid; "fast" runs the same weights at about 1 mm in the plane
            and 2.5 mm between slices and brings the probability back; "auto" is full on a GPU, fast on a CPU.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        threshold: probability from which a voxel is bleed; default: the bundle's.
        members: use only the first so many.
        tiling: default: the whole head at once if memory allows, else the largest tiles that fit.
        on_progress: called after every tile.

    Raises:
        InputError: the values are no Hounsfield units, or an argument is out of range.
        DeviceError: the device is not there.
    """
    started = time.perf_counter()
    threshold = ensemble.info.threshold if threshold is None else threshold
    if not 0 < threshold < 1:
        raise InputError(f"the threshold must lie between 0 and 1; found {threshold}.")
    if members is not None and not 1 <= members <= len(ensemble.members):
        raise InputError(f"the ensemble has {len(ensemble.members)} members; found a wish for {members}.")
    networks = ensemble.members[:members]
    where = pick_device(device)
    level = pick_quality(quality_level, where)

    volume = quality.mended_values(volume)
    grid = RegularGrid(volume)
    hu = grid.forward(volume.hu)
    head = find_head(hu, grid.spacing_mm)
    warnings = quality.warnings_of(volume, head)

    cropped = torch.from_numpy(hu[head.box])
    working, spacing_mm = working_grid(cropped, grid.spacing_mm, level)
    logger.info("%s quality on %s: %s voxels of %s mm", level, where, list(working.shape), spacing_mm)
    runner = Runner(where, ensemble, tiling, warnings)
    tracker = Tracker(len(networks), on_progress)
    total = np.zeros(volume.hu.shape, np.float32, order="F")
    member_volumes = []
    for index in range(len(networks)):
        answer = runner.run(index, working, spacing_mm, tracker)
        probability = np.zeros(hu.shape, np.float32, order="F")
        probability[head.box] = resample(answer, cropped.shape).numpy()
        on_scan = grid.back(probability)
        member_volumes.append(volume_of(without_specks(on_scan >= threshold, volume), volume))
        total += on_scan
    total /= len(networks)
    cut = total >= threshold
    mask = without_specks(cut, volume)
    seconds = time.perf_counter() - started
    if quality_level == "auto" and where.type == "cpu" and working.shape != cropped.shape:
        warnings.append(cost_of_full(networks[0], cropped.shape, working.shape, grid.spacing_mm, spacing_mm, seconds))
    return Segmentation(
        volume=volume,
        mask=mask,
        probability=total,
        member_volumes_ml=tuple(member_volumes),
        specks_ml=volume_of(cut & ~mask, volume),
        threshold=threshold,
        quality=level,
        device=runner.description,
        seconds=seconds,
        warnings=tuple(warnings),
        head=head,
    )


def pick_quality(wanted: str, device: torch.device) -> str:
    if wanted == "auto":
        return "fast" if device.type == "cpu" else "full"
    if wanted not in QUALITIES:
        raise InputError(f"the quality must be auto, full or fast; found {wanted!r}.")
    return wanted


def working_grid(hu: torch.Tensor, spacing_mm: Spacing, level: str) -> tuple[torch.Tensor, Spacing]:
    """The volume [x, y, z] that the networks run on, and its spacing."""
    if level == "full":
        return hu, spacing_mm
    size = [
        side if step >= kept else max(1, round(side * step / target))
        for side, step, kept, target in zip(hu.shape, spacing_mm, FAST_KEPT_MM, FAST_MM, strict=True)
    ]
    x, y, z = (step * side / new for step, side, new in zip(spacing_mm, hu.shape, size, strict=True))
    return resample(hu, tuple(size)), (x, y, z)


def resample(field: torch.Tensor, size: Size) -> torch.Tensor:
    """[x, y, z] resampled linearly to `size` voxels over the same extent, with averaging where it shrinks."""
    planes = field.permute(2, 0, 1)  # [z, x, y]
    if tuple(planes.shape[1:]) != tuple(size[:2]):
        planes = functional.interpolate(planes[None], size[:2], mode="bilinear", antialias=True)[0]
    if len(planes) > size[2]:
        planes = functional.adaptive_avg_pool1d(planes.flatten(1).T, size[2]).T.unflatten(1, planes.shape[1:])
    elif len(planes) < size[2]:
        columns = planes.flatten(1).T[None]
        planes = functional.interpolate(columns, size[2], mode="linear")[0].T.unflatten(1, planes.shape[1:])
    return planes.permute(1, 2, 0)


def cost_of_full(
    network: EquivariantUNet,
    full_size: Size,
    fast_size: Size,
    full_spacing_mm: Spacing,
    fast_spacing_mm: Spacing,
    seconds: float,
) -> str:
    """What the user could have had instead, in words."""
    ratio = network.multiply_adds(full_size, full_spacing_mm) / network.multiply_adds(fast_size, fast_spacing_mm)
    return (
        f"On the CPU the fast quality was chosen; the full quality would take about {format_seconds(seconds * ratio)} "
        f"instead of {format_seconds(seconds)}."
    )


def format_seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
