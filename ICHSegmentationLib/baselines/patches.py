"""Training patches of prepared cases: a share of them centred on bleed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.baselines.cases import TrainingCase
from ICHSegmentationLib.convolution import Spacing
from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.training.patches import Size, corner_about, corner_anywhere


@dataclass(frozen=True)
class Entry:
    """A case in the list that patches are drawn from; `again` where it is there once more because it is hard."""

    case: TrainingCase
    again: bool = False


@dataclass(frozen=True)
class Patch:
    """Inputs [channel, x, y, z] float32 and label [x, y, z] uint8."""

    inputs: np.ndarray
    label: np.ndarray


Change = Callable[[Patch, Entry, np.random.Generator], Patch]


@dataclass(frozen=True)
class PatchBatch:
    """What one training step sees."""

    inputs: torch.Tensor  # [patch, channel, x, y, z]
    bleed: torch.Tensor  # [patch, 1, x, y, z], 0 or 1
    counted: torch.Tensor  # [patch, 1, x, y, z], 0 where the label is ignored or beyond the edge
    spacing_mm: Spacing  # of the first patch's case


def draw_batch(
    entries: Sequence[Entry],
    size: Size,
    count: int,
    bleed_share: float,
    change: Change,
    rng: np.random.Generator,
    device: torch.device,
) -> PatchBatch:
    """Patches of cases drawn evenly; of several patches the share centred on bleed is exact, of one it is a chance.

    A single patch ends where its case ends; several are padded to one size, and what was padded does not count.
    """
    patches = []
    spacing_mm: Spacing = (1.0, 1.0, 1.0)
    for index in range(count):
        entry = entries[int(rng.integers(len(entries)))]
        on_bleed = index < round(bleed_share * count) if count > 1 else bool(rng.random() < bleed_share)
        patch = change(cut(entry.case, patch_corner(entry.case, size, on_bleed, rng), size, count > 1), entry, rng)
        spacing_mm = entry.case.spacing_mm if index == 0 else spacing_mm
        patches.append(patch)
    label = torch.from_numpy(np.stack([patch.label for patch in patches])[:, None]).to(device)
    inputs = torch.from_numpy(np.stack([patch.inputs for patch in patches])).to(device)
    return PatchBatch(inputs, (label == 1).float(), (label != IGNORED).float(), spacing_mm)


def patch_corner(case: TrainingCase, size: Size, on_bleed: bool, rng: np.random.Generator) -> Size:
    """First voxel of a patch centred on a voxel of bleed, or of the inside without bleed, as far as the edge allows."""
    voxels = case.bleed if on_bleed and len(case.bleed) else case.inside
    if len(voxels):
        return corner_about(int(voxels[rng.integers(len(voxels))]), case.label.shape, size)
    return corner_anywhere(case.label.shape, size, rng)


def cut(case: TrainingCase, corner: Size, size: Size, pad: bool) -> Patch:
    """The patch at a corner, padded to its size if asked to."""
    x, y, z = (slice(start, start + side) for start, side in zip(corner, size, strict=True))
    inputs = np.array(case.inputs[:, x, y, z], np.float32)
    label = np.array(case.label[x, y, z])
    if pad and label.shape != size:
        edges = [(0, side - there) for side, there in zip(size, label.shape, strict=True)]
        inputs = np.pad(inputs, [(0, 0), *edges], constant_values=case.outside)
        label = np.pad(label, edges, constant_values=IGNORED)
    return Patch(inputs, label)


def unchanged(patch: Patch, entry: Entry, rng: np.random.Generator) -> Patch:
    """No augmentation."""
    return patch
