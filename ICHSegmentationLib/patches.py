"""Where the tiles of a volume lie, and how their answers blend into one."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch

Size = tuple[int, ...]  # along x, y, z
Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Tiling:
    """A sliding window. All in voxels along x, y, z.

    Attributes:
        patch: what the network sees at once.
        margin: of each patch, discarded on every side.
        overlap: of the parts that are kept.
        gaussian: blend overlapping parts with weights that fall off from their centre; else evenly.
        pad: pad the volume by the margin, so that all patches are alike; else patches at the border end there, with
            nothing discarded on that side. Either way the whole volume is answered for.
    """

    patch: Size
    margin: Size = (0, 0, 0)
    overlap: Size = (0, 0, 0)
    gaussian: bool = False
    pad: bool = False

    def __post_init__(self) -> None:
        for patch, margin, overlap in zip(self.patch, self.margin, self.overlap, strict=True):
            if patch - 2 * margin <= overlap:
                raise ValueError(
                    f"a patch of {self.patch} less a margin of {self.margin} must be larger than the overlap "
                    f"{self.overlap}"
                )

    @property
    def kept(self) -> Size:
        return tuple(patch - 2 * margin for patch, margin in zip(self.patch, self.margin, strict=True))


# Geiger et al., INSTANCE 2022. They did not pad, so the outer 22 pixels and 2 slices could never be positive.
INSTANCE2022_TILING = Tiling(patch=(144, 144, 13), margin=(22, 22, 2), overlap=(26, 26, 2), gaussian=True, pad=True)


@dataclass(frozen=True)
class Tile:
    """One position of the window: what it sees of the volume (padded, if it is), and what it answers for."""

    seen: Box
    kept: Box  # of the volume
    within: Box  # the kept part within the tile's own answer


def plan_tiles(size: Size, tiling: Tiling) -> list[Tile]:
    """Tiles that cover a volume of `size`; along an axis shorter than the window the window shrinks to it."""
    axes = []
    for side, kept, margin, overlap in zip(size, tiling.kept, tiling.margin, tiling.overlap, strict=True):
        kept = min(kept, side)
        count = 1 if kept == side else math.ceil((side - overlap) / (kept - overlap))
        starts = [round(index * (side - kept) / max(1, count - 1)) for index in range(count)]
        axes.append([positions(start, kept, margin, side, tiling.pad) for start in starts])
    tiles = []
    for x, y, z in itertools.product(*axes):
        tiles.append(Tile((x[0], y[0], z[0]), (x[1], y[1], z[1]), (x[2], y[2], z[2])))
    return tiles


def positions(start: int, kept: int, margin: int, side: int, padded: bool) -> tuple[slice, slice, slice]:
    """Along one axis: what a tile sees, what it answers for, and where that lies within what it sees."""
    low, high = start - margin, start + kept + margin
    if padded:
        low, high = low + margin, high + margin
        within = margin
    else:
        low, high = max(0, low), min(side, high)
        within = start - low
    return slice(low, high), slice(start, start + kept), slice(within, within + kept)


def pad_for(hu: torch.Tensor, tiling: Tiling, outside: float) -> torch.Tensor:
    """The volume [x, y, z], with the margin around if the tiling pads: air in the plane, end slices repeated."""
    if not tiling.pad:
        return hu
    x, y, z = tiling.margin
    if z:
        hu = torch.cat([hu[:, :, :1].expand(-1, -1, z), hu, hu[:, :, -1:].expand(-1, -1, z)], dim=2)
    if x or y:
        hu = torch.nn.functional.pad(hu, (0, 0, y, y, x, x), value=outside)
    return hu


def blending_weights(size: Size, gaussian: bool) -> torch.Tensor:
    """Weight of each voxel of a tile's answer, [x, y, z]; a Gaussian of an eighth of the side, never quite 0."""
    if not gaussian:
        return torch.ones(size)
    weights = torch.ones(())
    for axis, side in enumerate(size):
        offset = (torch.arange(side) - (side - 1) / 2) / (side / 8)
        profile = torch.exp(-0.5 * offset**2)
        weights = weights * profile.view([-1 if other == axis else 1 for other in range(3)])
    return weights.clamp_min(1e-4)


class Blend:
    """Weighted mean of the tiles' answers."""

    def __init__(self, size: Size, device: torch.device) -> None:
        x, y, z = size
        self.total = torch.zeros(z, x, y, device=device).permute(1, 2, 0)  # in memory as the network's answers
        self.weight = torch.zeros(z, x, y, device=device).permute(1, 2, 0)

    def add(self, answer: torch.Tensor, tile: Tile, weights: torch.Tensor) -> None:
        """`answer` [x, y, z] is the network's for all that the tile sees."""
        weights = weights.to(self.total.device)
        self.total[tile.kept] += answer[tile.within] * weights
        self.weight[tile.kept] += weights

    def mean(self) -> torch.Tensor:
        """[x, y, z]; 0 where no tile answered."""
        return self.total / self.weight.clamp_min(1e-12)
