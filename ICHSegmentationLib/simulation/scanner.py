"""The scanner: a painted head on a fine grid in, the slices of a CT in Hounsfield units out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from ICHSegmentationLib.simulation.anatomy import Head
from ICHSegmentationLib.simulation.beam_hardening import Beam, beam_hardening_hu
from ICHSegmentationLib.simulation.fields import Spacing, blur, smooth_noise

THICKNESSES_MM = (1.25, 2.0, 2.5, 3.0, 4.0, 5.0, 5.0, 5.0, 5.0, 6.0, 7.0)


@dataclass(frozen=True)
class Protocol:
    """How the scan is made. JSON values only."""

    spacing_mm: Spacing  # in-plane, in-plane, slice to slice
    subslices: int  # fine slices averaged into one
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
    windowed: bool  # passed through an 8-bit brain window, bone and air put back after
    seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Protocol:
        thickness = float(rng.choice(THICKNESSES_MM)) * rng.uniform(0.95, 1.05)
        in_plane = float(rng.uniform(0.9, 1.1) if rng.random() < 0.8 else math.exp(rng.uniform(*np.log((0.4, 0.9)))))
        return cls(
            spacing_mm=(in_plane, in_plane, float(thickness)),
            subslices=max(2, math.ceil(thickness / 1.3)),
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
            windowed=bool(rng.random() < 0.25),
            seed=int(rng.integers(2**31)),
        )

    @property
    def fine_spacing_mm(self) -> Spacing:
        x, y, z = self.spacing_mm
        return x, y, z / self.subslices


def add_cupping(hu: torch.Tensor, head: Head, protocol: Protocol) -> torch.Tensor:
    """Cupping: a glow under the skull that is not the same everywhere, and a slow trend towards the middle."""
    uneven = (1 + 0.5 * smooth_noise(protocol.seed, head.size, head.spacing_mm, 40, head.device)).clamp(0, 2)
    glow = protocol.cupping_hu * uneven * torch.exp(-head.cavity_mm.clamp_min(0) / protocol.cupping_depth_mm)
    bowl = protocol.bowl_hu * (head.cavity_mm / 30).clamp(0, 1)
    return hu + (glow + bowl) * (head.cavity_mm > 0)


def to_slices(volume: torch.Tensor, subslices: int) -> torch.Tensor:
    """Averages neighbouring fine slices: [x, y, z * subslices] -> [x, y, z]."""
    return volume.unflatten(2, (-1, subslices)).mean(-1)


def scan(hu: torch.Tensor, head: Head, protocol: Protocol) -> torch.Tensor:
    """The CT of a painted head, [x, y, z] in HU, rounded to whole units."""
    hu = add_cupping(hu, head, protocol).clamp(-1000, 2500)
    sigma = protocol.blur_mm / protocol.spacing_mm[0]
    # sloping bone reaches into slices whose box it does not touch
    hu = blur(hu, (0.0, 0.0, protocol.profile * protocol.subslices))
    slices = to_slices(hu, protocol.subslices)  # averaging and in-plane blur commute: blur the fewer slices
    hardened = beam_hardening_hu(slices, protocol.spacing_mm[0], protocol.beam)
    slices = blur(slices, (sigma, sigma, 0.0)) + hardened
    far = protocol.glare_mm / protocol.spacing_mm[0]
    slices = slices + protocol.glare * (blur(slices, (far, far, 0.0)) - slices)
    if protocol.sharpness:
        soft = slices.clamp(-200, 600)
        wide = 1.5 / protocol.spacing_mm[0]
        slices = slices + protocol.sharpness * (soft - blur(soft, (wide, wide, 0.0)))
    depth = to_slices(head.cavity_mm, protocol.subslices)
    slices = slices + noise(depth, protocol) + streaks(slices, protocol)
    if protocol.table_mm is not None:
        add_table(slices, protocol)
    if protocol.windowed:
        slices = through_8_bit_window(slices)
    return slices.clamp(-1024, 3071).round()


def noise(depth: torch.Tensor, protocol: Protocol) -> torch.Tensor:
    """Noise with the grain of the kernel, stronger in the middle of the head, [x, y, z]."""
    generator = torch.Generator(device=depth.device).manual_seed(protocol.seed)
    white = torch.randn(depth.shape, generator=generator, device=depth.device)
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
