"""Runs the members of an ensemble over a volume, in tiles where memory asks for it, and reports how far it is."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from e3nn import o3

from ICHSegmentationLib.convolution import Spacing
from ICHSegmentationLib.devices import (
    cpu_multiply_adds_per_second,
    describe,
    fastest_dtype,
    memory_budget_bytes,
)
from ICHSegmentationLib.ensemble import Ensemble
from ICHSegmentationLib.geometry import PADDING_HU
from ICHSegmentationLib.patches import Blend, Size, Tile, Tiling, blending_weights, pad_for, plan_tiles
from ICHSegmentationLib.windowing import window_channels

logger = logging.getLogger(__name__)

TENSORS_AT_PEAK = 6  # of the top level's width, measured: its decoder's input, output and the gate's parts
MARGIN_MM = 16.0  # of tiles, where the whole volume does not fit
OVERLAP_MM = 8.0
SMALLEST_TILE_VOXELS = 64 * 64 * 8
LEAST_TISSUE = 0.005  # a tile with a smaller share of voxels between 0 and 100 HU holds no brain


@dataclass(frozen=True)
class Progress:
    """How far the work is."""

    member: int  # from 1
    members: int
    tile: int  # tiles of this member that are done
    tiles: int
    fraction: float  # of all
    seconds_left: float


class Tracker:
    """Counts tiles over all members and reports progress."""

    def __init__(self, members: int, report: Callable[[Progress], None] | None) -> None:
        self.members, self.report = members, report
        self.started = time.perf_counter()

    def done(self, member: int, tile: int, tiles: int) -> None:
        if self.report is None:
            return
        fraction = (member + tile / tiles) / self.members
        elapsed = time.perf_counter() - self.started
        left = elapsed * (1 - fraction) / fraction if fraction > 0 else math.nan
        self.report(Progress(member + 1, self.members, tile, tiles, fraction, left))


class Runner:
    """Runs members on a device. Where its memory does not suffice: in smaller tiles, then on the CPU; and says so."""

    def __init__(self, device: torch.device, ensemble: Ensemble, tiling: Tiling | None, warnings: list[str]) -> None:
        self.ensemble, self.tiling, self.warnings = ensemble, tiling, warnings
        self.use(device)

    def use(self, device: torch.device) -> None:
        self.device = device
        self.dtype = fastest_dtype(device)
        self.budget_bytes = memory_budget_bytes(device)

    @property
    def description(self) -> str:
        return describe(self.device, self.dtype)

    @property
    def bytes_per_voxel(self) -> int:
        """Of a tile, at the peak: in the top level's decoder its input, its output and the gate's copies."""
        features = o3.Irreps(self.ensemble.info.network.irreps_levels[0]).dim
        return TENSORS_AT_PEAK * features * self.dtype.itemsize

    def run(self, member: int, hu: torch.Tensor, spacing_mm: Spacing, tracker: Tracker) -> torch.Tensor:
        """Probability of bleed of one member for hu [x, y, z], of the same shape, float32 on the CPU."""
        while True:
            tiling = self.tiling or self.largest_tiling(hu.shape, spacing_mm)
            answer = self.attempt(member, hu, spacing_mm, tiling, tracker)
            if answer is not None:
                return answer
            self.ask_for_less(hu.shape, spacing_mm, tracker.members - member)

    def attempt(
        self, member: int, hu: torch.Tensor, spacing_mm: Spacing, tiling: Tiling, tracker: Tracker
    ) -> torch.Tensor | None:
        """The answer, or None where memory ran out; what the attempt held is free then."""
        try:
            return self.run_tiles(member, hu, spacing_mm, tiling, tracker)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None

    def run_tiles(
        self, member: int, hu: torch.Tensor, spacing_mm: Spacing, tiling: Tiling, tracker: Tracker
    ) -> torch.Tensor:
        network = self.ensemble.baked(member, spacing_mm, self.device, self.dtype)
        tiles = plan_tiles(hu.shape, tiling)
        padded = pad_for(hu, tiling, PADDING_HU)
        weights = blending_weights(tuple(side.stop - side.start for side in tiles[0].kept), tiling.gaussian)
        blend = Blend(hu.shape, torch.device("cpu"))
        tracker.done(member, 0, len(tiles))
        for index, tile in enumerate(tiles):
            if has_brain(hu, tile):
                channels = window_channels(padded[tile.seen].to(self.device), self.ensemble.info.windows_hu)
                with torch.inference_mode():
                    logits = network(channels[None].to(self.dtype))
                    answer = bleed_probability(logits)
                blend.add(answer.float().cpu(), tile, weights)
            tracker.done(member, index + 1, len(tiles))
        return blend.mean()

    def largest_tiling(self, size: Size, spacing_mm: Spacing) -> Tiling:
        """The whole volume in one tile if memory allows, else the fewest tiles that fit."""
        affordable = max(SMALLEST_TILE_VOXELS, self.budget_bytes // self.bytes_per_voxel)
        if math.prod(size) <= affordable:
            return Tiling(patch=size)
        margin = tuple(math.ceil(MARGIN_MM / step) for step in spacing_mm)
        overlap = tuple(math.ceil(OVERLAP_MM / step) for step in spacing_mm)
        kept = list(size)

        def where_cut(values: Size) -> Size:
            return tuple(value if k < side else 0 for value, k, side in zip(values, kept, size, strict=True))

        def seen() -> int:
            return math.prod(
                min(side, k + 2 * edge) for side, k, edge in zip(size, kept, where_cut(margin), strict=True)
            )

        while seen() > affordable:
            shorter = [math.ceil(k * 0.8) for k in kept]
            divisible = [axis for axis in range(3) if overlap[axis] + 1 < shorter[axis] < kept[axis]]
            if not divisible:
                break
            longest = max(divisible, key=lambda axis: kept[axis] / margin[axis])
            kept[longest] = shorter[longest]
        patch = tuple(k + 2 * edge for k, edge in zip(kept, where_cut(margin), strict=True))
        return Tiling(patch, where_cut(margin), where_cut(overlap), gaussian=True)

    def ask_for_less(self, size: Size, spacing_mm: Spacing, members_left: int) -> None:
        """Halves the tiles; when they are small already, or were asked for, leaves the GPU.

        Raises:
            MemoryError: the CPU's memory does not suffice either.
        """
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        smaller = min(self.budget_bytes, math.prod(size) * self.bytes_per_voxel) // 2
        if self.tiling is None and smaller > SMALLEST_TILE_VOXELS * self.bytes_per_voxel:
            self.budget_bytes = smaller
            self.say(f"The memory of {self.device} did not hold the whole head at once: smaller tiles were used.")
            return
        if self.device.type == "cpu":
            raise MemoryError
        work = self.ensemble.members[0].multiply_adds(size, spacing_mm) * members_left
        seconds = work / cpu_multiply_adds_per_second()
        self.say(
            f"The memory of {self.device} did not suffice even for small tiles: the rest ran on the CPU (about "
            f"{seconds:.0f} s)."
        )
        self.use(torch.device("cpu"))

    def say(self, sentence: str) -> None:
        """Tells it now, and once more with the result."""
        if sentence not in self.warnings:
            logger.warning(sentence)
            self.warnings.append(sentence)


def is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has an error of its own for it; on the CPU and on mps only the words tell."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(part in str(error) for part in words)


def has_brain(hu: torch.Tensor, tile: Tile) -> bool:
    soft = hu[tile.kept]
    return float(((soft > 0) & (soft < 100)).float().mean()) > LEAST_TISSUE


def bleed_probability(logits: torch.Tensor) -> torch.Tensor:
    """[1, classes, x, y, z] -> [x, y, z]: sigmoid of one logit, or 1 - background of several classes."""
    if logits.shape[1] == 1:
        return torch.sigmoid(logits[0, 0])
    return 1 - torch.softmax(logits[0], dim=0)[0]
