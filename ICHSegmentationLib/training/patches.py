"""Training patches: half of them centred on bleed, none larger than asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.simulation.blood import Subtype
from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.training.augmentation import Augmentation, augment
from ICHSegmentationLib.training.pool import StoredCase
from ICHSegmentationLib.windowing import window_channels

Size = tuple[int, int, int]


@dataclass(frozen=True)
class Batch:
    """What one training step sees; volumes [patches, channel, x, y, z]."""

    channels: torch.Tensor
    bleed: torch.Tensor  # 0 or 1
    counted: torch.Tensor  # 0 where the label is ignored
    subtype: torch.Tensor  # uint8: 1 to 5 in bleed whose subtype is told, else 0
    spacing_mm: tuple[float, float, float]


def draw_patches(
    case: StoredCase,
    size: Size,
    count: int,
    bleed_share: float,
    rng: np.random.Generator,
    device: torch.device | str = "cpu",
    centres: Sequence[int] = (),
) -> Batch:
    """Augmented patches of one case; each with probability `bleed_share` centred on bleed, if the case has any.

    Where `centres` are given, flat indices of voxels, each is centred on one of them.
    """
    pairs = []
    for _ in range(count):
        if centres:
            corner = corner_about(int(centres[int(rng.integers(len(centres)))]), case.hu.shape, size)
        else:
            corner = patch_corner(case, size, rng.random() < bleed_share, rng)
        hu, label = cut(case, size, corner, device)
        pairs.append(augment(hu, label, Augmentation.draw(rng)))
    return batch_of(pairs, case.spacing_mm)


def take_patches(
    case: StoredCase,
    size: Size,
    on_bleed: tuple[bool, ...],
    rng: np.random.Generator,
    device: torch.device | str = "cpu",
) -> Batch:
    """Patches of one case as they are, one for each entry of `on_bleed`."""
    pairs = [cut(case, size, patch_corner(case, size, wanted, rng), device) for wanted in on_bleed]
    return batch_of(pairs, case.spacing_mm)


def batch_of(pairs: list[tuple[torch.Tensor, torch.Tensor]], spacing_mm: tuple[float, float, float]) -> Batch:
    label = torch.stack([label for _, label in pairs])[:, None]
    counted = label != IGNORED
    channels = torch.stack([window_channels(hu) for hu, _ in pairs])
    subtype = torch.where(label <= len(Subtype), label, 0)
    return Batch(channels, ((label > 0) & counted).float(), counted.float(), subtype, spacing_mm)


def cut(case: StoredCase, size: Size, corner: Size, device: torch.device | str) -> tuple[torch.Tensor, torch.Tensor]:
    """A patch's HU (float32) and labels, [x, y, z], from its first voxel on."""
    box = tuple(slice(start, start + side) for start, side in zip(corner, size, strict=True))
    hu = torch.from_numpy(case.hu[box].astype(np.float32)).to(device)
    return hu, torch.from_numpy(np.array(case.label[box])).to(device)


def patch_corner(case: StoredCase, size: Size, on_bleed: bool, rng: np.random.Generator) -> Size:
    """First voxel of a patch, centred on bleed as far as the edge allows if it is to be and there is any."""
    bleed = one_kind_of_bleed(np.asarray(case.label), rng) if on_bleed else ()
    if len(bleed):
        return corner_about(int(bleed[rng.integers(len(bleed))]), case.hu.shape, size)
    return corner_anywhere(case.hu.shape, size, rng)


def one_kind_of_bleed(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flat indices of one subtype's voxels: a small bleed beside a large one is as likely to be seen."""
    marked = np.flatnonzero(label != 0)  # few: what follows looks at no others
    codes = label.reshape(-1)[marked]
    kinds = [kind for kind in np.flatnonzero(np.bincount(codes)) if kind != IGNORED]
    return marked[codes == kinds[int(rng.integers(len(kinds)))]] if kinds else marked[:0]


def corner_about(voxel: int, shape: tuple[int, ...], size: Size) -> Size:
    """First voxel of a patch centred on the voxel of that flat index, as far as the edge allows."""
    x, y, z = (
        int(np.clip(middle - side // 2, 0, max(0, full - side)))
        for middle, side, full in zip(np.unravel_index(voxel, shape), size, shape, strict=True)
    )
    return x, y, z


def corner_anywhere(shape: tuple[int, ...], size: Size, rng: np.random.Generator) -> Size:
    """First voxel of a patch that lies anywhere."""
    x, y, z = (int(rng.integers(0, max(0, full - side) + 1)) for full, side in zip(shape, size, strict=True))
    return x, y, z
