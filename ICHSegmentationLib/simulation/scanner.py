"""The scanner: a painted head on a fine grid in, the slices of a CT in Hounsfield units out."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ICHSegmentationLib.simulation.anatomy import Head
from ICHSegmentationLib.simulation.artefacts import METAL_HU, Motion, metal_streaks_hu, motion_hu
from ICHSegmentationLib.simulation.beam_hardening import Beam, beam_hardening_hu
from ICHSegmentationLib.simulation.fields import Spacing, blur, smooth_noise

THICKNESSES_MM = (0.625, 1.25, 2.0, 2.5, 3.0, 4.0, 5.0, 5.0, 5.0, 5.0, 6.0, 7.0, 8.0)
# in-plane pixels. Most cases are as `fast` sees a scan; from 1.1 mm on the bundle's network cannot pool its first level
# and costs five times as much a voxel (`EquivariantUNet.multiply_adds`)
PLAIN_MM, FINE_MM = (0.9, 1.1), (0.3, 0.9)
PADDING_HU = (-3024.0, -2000.0, -1500.0, -1024.0)  # as makers of scanners write outside the field


@dataclass(frozen=True)
class Protocol:
    """How the scan is made. JSON values only."""

    spacing_mm: Spacing  # in-plane, in-plane, slice to slice
    subslices: int  # fine slices averaged into one
    coverage: float  # share of the slice spacing that a slice averages: less leaves gaps, more overlaps
    profile: float  # standard deviation of the slice profile beyond its box, share of the slice spacing
    blur_mm: float  # standard deviation of the in-plane point spread
    noise_hu: float
    noise_grain_mm: float
    sharpness: float  # of the reconstruction kernel: 0 soft
    beam: Beam
    cupping_hu: float  # brighter towards the skull, beyond what the beam's hardening makes of it
    cupping_depth_mm: float
    bowl_hu: float  # slow brightening or darkening towards the middle
    glare: float  # share of each point's density that is spread far around it
    glare_mm: float
    streaks: int
    streak_hu: float
    table_mm: float | None  # gap between head and table; None: no table in view
    motion: Motion | None
    thickened: float  # share of the slices, from the bottom (from the top if negative), taken twice as thick
    coarser: float  # pixels so many times wider in between: a scan that was resampled; 1: was not
    windowed: bool  # passed through an 8-bit brain window, bone and air put back after
    field_mm: float | None  # diameter of the field that was reconstructed; None: wider than what is shown
    padding_hu: float  # outside it
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Protocol:
        thickness = float(rng.choice(THICKNESSES_MM)) * rng.uniform(0.95, 1.05)
        in_plane = float(rng.uniform(*PLAIN_MM) if rng.random() < 0.8 else math.exp(rng.uniform(*np.log(FINE_MM))))
        return cls(
            spacing_mm=(in_plane, in_plane, float(thickness)),
            subslices=max(2, math.ceil(thickness / 1.3)),
            coverage=drawn_coverage(rng),
            profile=float(rng.uniform(0, 0.45)),
            blur_mm=float(rng.uniform(0.4, 0.85)),
            noise_hu=float(math.exp(rng.uniform(math.log(1.2), math.log(5.0)))),
            noise_grain_mm=float(rng.uniform(0.35, 1.1)),
            sharpness=float(rng.uniform(0.1, 0.5)) if rng.random() < 0.35 else 0.0,
            beam=Beam.draw(rng),
            cupping_hu=float(rng.uniform(0, 10)) if rng.random() < 0.2 else 0.0,
            cupping_depth_mm=float(math.exp(rng.uniform(math.log(1.0), math.log(7.0)))),
            bowl_hu=float(rng.uniform(-4, 4)),
            glare=float(rng.uniform(0, 0.016)),
            glare_mm=float(rng.uniform(3, 10)),
            streaks=int(rng.integers(1, 7)) if rng.random() < 0.6 else 0,
            streak_hu=float(rng.uniform(2, 12)),
            table_mm=float(rng.uniform(2, 18)) if rng.random() < 0.6 else None,
            motion=Motion.draw(rng) if rng.random() < 0.06 else None,
            thickened=float(rng.choice((-1, 1)) * rng.uniform(0.25, 0.75)) if rng.random() < 0.05 else 0.0,
            coarser=float(rng.uniform(1.1, 1.6)) if rng.random() < 0.08 else 1.0,
            windowed=bool(rng.random() < 0.25),
            field_mm=float(rng.uniform(215, 260)) if rng.random() < 0.15 else None,
            padding_hu=float(rng.choice(PADDING_HU)),
            seed=int(rng.integers(2**31)),
        )

    @property
    def fine_spacing_mm(self) -> Spacing:
        x, y, z = self.spacing_mm
        return x, y, z / self.subslices

    def undisturbed(self) -> Protocol:
        """The same without what happens to few scans: even slices, nothing moves, nothing was done to them after."""
        return dataclasses.replace(
            self, coverage=1.0, motion=None, thickened=0.0, coarser=1.0, windowed=False, field_mm=None, streaks=0
        )


def drawn_coverage(rng: np.random.Generator) -> float:
    """Most scans have slices that touch; some are reconstructed with overlap, few are taken with gaps."""
    kind = rng.random()
    if kind < 0.12:
        return float(rng.uniform(1.1, 2.0))
    return float(rng.uniform(0.5, 0.9)) if kind < 0.2 else 1.0


def add_cupping(hu: torch.Tensor, head: Head, protocol: Protocol) -> torch.Tensor:
    """Cupping: a glow under the skull that is not the same everywhere, and a slow trend towards the middle."""
    hu = hu.clone()
    box = head.cavity_box
    if box is not None:
        depth_mm = head.cavity_mm[box]
        size = tuple(depth_mm.shape)
        uneven = (1 + 0.5 * smooth_noise(protocol.seed, size, head.spacing_mm, 40, head.device)).clamp(0, 2)
        glow = protocol.cupping_hu * uneven * torch.exp(-depth_mm.clamp_min(0) / protocol.cupping_depth_mm)
        bowl = protocol.bowl_hu * (depth_mm / 30).clamp(0, 1)
        hu[box] += (glow + bowl) * (depth_mm > 0)
    return hu


def to_slices(volume: torch.Tensor, subslices: int, coverage: float = 1.0, spread: float = 0.0) -> torch.Tensor:
    """Averages fine slices: [x, y, z * subslices] -> [x, y, z].

    Args:
        coverage: how much each slice averages, share of the distance from slice to slice.
        spread: standard deviation of the profile beyond its box, in the same measure.
    """
    if coverage == 1 and spread == 0:
        return volume.unflatten(2, (-1, subslices)).mean(-1)
    places, weights = slice_profile(subslices, coverage, spread)
    before, after = max(0, -places[0]), max(0, places[-1] - subslices + 1)
    first, last = volume[:, :, :1], volume[:, :, -1:]
    padded = torch.cat([first.expand(-1, -1, before), volume, last.expand(-1, -1, after)], dim=2)
    count = volume.shape[2] // subslices
    total = torch.zeros(*volume.shape[:2], count, device=volume.device)
    for place, weight in zip(places, weights, strict=True):
        start = before + place
        total.add_(padded[:, :, start : start + (count - 1) * subslices + 1 : subslices], alpha=weight)
    return total


def slice_profile(subslices: int, coverage: float, spread: float) -> tuple[list[int], list[float]]:
    """Which fine slices a slice averages, counted from the first of its own, and their weights, which sum to 1."""
    half, sigma = coverage * subslices / 2, spread * subslices
    reach = math.ceil(half + 2.5 * sigma)
    middle = (subslices - 1) / 2
    places = np.arange(math.floor(middle) - reach, math.ceil(middle) + reach + 1)
    fine = np.linspace(-0.5, 0.5, 9)[None, :] + (places - middle)[:, None]  # nine points of each fine slice
    if sigma > 0.05:
        error = np.vectorize(math.erf)
        weights = (error((fine + half) / sigma / math.sqrt(2)) - error((fine - half) / sigma / math.sqrt(2))).mean(1)
    else:
        weights = np.clip(np.minimum(places + 0.5 - middle, half) - np.maximum(places - 0.5 - middle, -half), 0, None)
    kept = weights > 1e-3 * weights.max()
    shares = weights[kept] / weights[kept].sum()
    return places[kept].tolist(), shares.tolist()


def scan(hu: torch.Tensor, head: Head, protocol: Protocol) -> torch.Tensor:
    """The CT of a painted head, [x, y, z] in HU, rounded to whole units."""
    pixel_mm = protocol.spacing_mm[0]
    hu = add_cupping(hu, head, protocol).clamp(-1000, METAL_HU)
    sigma = protocol.blur_mm / pixel_mm
    # sloping bone reaches into slices whose box it does not touch; averaging and in-plane blur commute
    slices = to_slices(hu, protocol.subslices, protocol.coverage, protocol.profile)
    added = beam_hardening_hu(slices, pixel_mm, protocol.beam) + metal_streaks_hu(slices, pixel_mm, protocol.seed)
    if protocol.motion is not None:
        added += motion_hu(slices, pixel_mm, protocol.motion)
    slices = blur(slices, (sigma, sigma, 0.0)) + added
    far = protocol.glare_mm / pixel_mm
    slices = slices + protocol.glare * (blur(slices, (far, far, 0.0)) - slices)
    if protocol.sharpness:
        soft = slices.clamp(-200, 600)
        wide = 1.5 / pixel_mm
        slices = slices + protocol.sharpness * (soft - blur(soft, (wide, wide, 0.0)))
    depth = to_slices(head.cavity_mm, protocol.subslices)
    slices = slices + noise(depth, protocol) + streaks(slices, protocol)
    if protocol.table_mm is not None:
        add_table(slices, protocol)
    slices = coarsened(thickened(slices, protocol.thickened), protocol.coarser)
    if protocol.windowed:
        slices = through_8_bit_window(slices)
    return padded(slices.clamp(-1024, 3071).round(), protocol)  # 12 bits


def noise(depth: torch.Tensor, protocol: Protocol) -> torch.Tensor:
    """Noise with the grain of the kernel, stronger in the middle of the head, [x, y, z]."""
    # drawn on the CPU, so that a seed gives the same grain on every device
    white = torch.randn(depth.shape, generator=torch.Generator().manual_seed(protocol.seed)).to(depth.device)
    sigma = protocol.noise_grain_mm / protocol.spacing_mm[0]
    fine = blur(white, (sigma, sigma, 0.0))
    coarse = blur(fine, (3 * sigma + 1, 3 * sigma + 1, 0.0))
    grain = fine - 0.6 * coarse
    return grain / grain.std() * protocol.noise_hu * (0.7 + 0.6 * (depth / 30).clamp(0, 1))


def streaks(slices: torch.Tensor, protocol: Protocol) -> torch.Tensor:
    """Dark and bright bands between two dense pieces of bone, in the lower half of the head."""
    total = torch.zeros_like(slices)
    rng = np.random.default_rng(protocol.seed)
    dense = (slices > 600).nonzero()
    if protocol.streaks == 0 or len(dense) < 100:
        return total
    x = torch.arange(slices.shape[0], device=slices.device)[:, None].float()
    y = torch.arange(slices.shape[1], device=slices.device)[None, :].float()
    lower = dense[dense[:, 2] < slices.shape[2] * 0.6]
    if len(lower) < 100:
        return total
    for _ in range(protocol.streaks * max(1, slices.shape[2] // 4)):
        first = lower[int(rng.integers(len(lower)))]
        same = lower[lower[:, 2] == first[2]]
        second = same[int(rng.integers(len(same)))]
        along = (second - first)[:2].float()
        length = float(along.norm())
        strength, width = rng.uniform(-1, 0.7) * protocol.streak_hu, rng.uniform(1.5, 6) / protocol.spacing_mm[0]
        if length * protocol.spacing_mm[0] < 25:
            continue
        across = ((x - first[0]) * along[1] - (y - first[1]) * along[0]) / length
        total[:, :, int(first[2])] += strength * torch.exp(-((across / width) ** 2))
    return total


def add_table(slices: torch.Tensor, protocol: Protocol) -> None:
    """A curved head rest behind the head, in place."""
    occupied = (slices > -300).any(dim=2).any(dim=0).nonzero()
    if len(occupied) == 0 or protocol.table_mm is None:
        return
    spacing = protocol.spacing_mm[0]
    rng = np.random.default_rng(protocol.seed + 1)
    radius, hu = rng.uniform(90, 180), rng.uniform(20, 400)
    x = (torch.arange(slices.shape[0], device=slices.device) - slices.shape[0] / 2) * spacing
    height = (float(occupied[0]) * spacing - protocol.table_mm) + (x / radius) ** 2 * 60
    y = torch.arange(slices.shape[1], device=slices.device) * spacing
    arc = ((y[None] - height[:, None]).abs() < 1.5)[:, :, None] & (slices < -300)
    slices[arc] = float(hu)


def through_8_bit_window(slices: torch.Tensor) -> torch.Tensor:
    """What is left of a CT exported as 8-bit pictures of the brain window (-20 to 100 HU): clipped bone set to 1000."""
    grey = ((slices + 20) / 120 * 255).round().clamp(0, 255)
    back = grey * 120 / 255 - 20
    back = torch.where(grey >= 255, 1000.0, back)
    return torch.where(slices < -200, -1000.0, back)


def thickened(slices: torch.Tensor, share: float) -> torch.Tensor:
    """The slices [x, y, z] with some at one end taken twice as thick, and interpolated as a reader does it.

    Scans of uneven slices reach the network like that: on an even grid, with linear interpolation in between.
    """
    count = int(abs(share) * slices.shape[2]) // 2 * 2
    if count < 4:
        return slices
    part = slices[:, :, :count] if share > 0 else slices[:, :, -count:]
    thick = part.unflatten(2, (-1, 2)).mean(-1)
    even = functional.interpolate(thick, count, mode="linear", align_corners=False)  # [x, y, z] as [n, channels, z]
    parts = [even, slices[:, :, count:]] if share > 0 else [slices[:, :, :-count], even]
    return torch.cat(parts, dim=2)


def coarsened(slices: torch.Tensor, factor: float) -> torch.Tensor:
    """The slices [x, y, z] on pixels that are so many times wider, and back."""
    if factor == 1:
        return slices
    width, depth = slices.shape[0], slices.shape[1]
    planes = slices.permute(2, 0, 1)[:, None]
    small = functional.interpolate(planes, (round(width / factor), round(depth / factor)), mode="bilinear")
    return functional.interpolate(small, (width, depth), mode="bilinear")[:, 0].permute(1, 2, 0)


def padded(slices: torch.Tensor, protocol: Protocol) -> torch.Tensor:
    """The slices [x, y, z] with a value that is no density outside the round field."""
    if protocol.field_mm is None:
        return slices
    x, y = (
        (torch.arange(n, device=slices.device) - (n - 1) / 2) * step
        for n, step in zip(slices.shape[:2], protocol.spacing_mm[:2], strict=True)
    )
    outside = (x[:, None] ** 2 + y[None, :] ** 2).sqrt() > protocol.field_mm / 2
    return torch.where(outside[:, :, None], protocol.padding_hu, slices)
