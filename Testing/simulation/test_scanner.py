"""The scanner: slices, noise, streaks, table, and sources that were pictures."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from ICHSegmentationLib.simulation.anatomy import Head
from ICHSegmentationLib.simulation.beam_hardening import Beam
from ICHSegmentationLib.simulation.scanner import (
    Protocol,
    add_cupping,
    add_table,
    coarsened,
    noise,
    padded,
    scan,
    slice_profile,
    streaks,
    thickened,
    through_8_bit_window,
    to_slices,
)

PLAIN = dataclasses.replace(
    Protocol.draw(np.random.default_rng(0)).undisturbed(),
    spacing_mm=(1.0, 1.0, 5.0),
    subslices=4,
    noise_hu=3.0,
    sharpness=0.0,
    beam=Beam(120.0, 6.0, 0.0),
    cupping_hu=0.0,
    bowl_hu=0.0,
    table_mm=None,
)


def ball_of_water(radius_mm: float = 30.0) -> tuple[torch.Tensor, Head]:
    """A ball of 30 HU in a shell of bone, fine slices of 1.25 mm."""
    size, spacing = (80, 80, 32), PLAIN.fine_spacing_mm
    x, y, z = (
        ((torch.arange(n) - (n - 1) / 2) * s).view([-1 if axis == other else 1 for other in range(3)])
        for axis, (n, s) in enumerate(zip(size, spacing, strict=True))
    )
    inside = radius_mm - (x**2 + y**2 + z**2).sqrt()
    hu = torch.where(inside > 0, 30.0, torch.where(inside > -4, 1000.0, -1000.0))
    blank = torch.zeros(size)
    return hu, Head(blank.to(torch.uint8), inside, blank, blank, blank, blank, spacing)


def test_slices_are_means_of_fine_slices() -> None:
    assert to_slices(torch.arange(6.0).view(1, 1, 6), 3).flatten().tolist() == [1.0, 4.0]


def test_an_8_bit_picture_loses_bone_and_air_and_gets_them_back() -> None:
    hu = torch.tensor([-1000.0, 0.0, 40.0, 99.0, 400.0])
    assert through_8_bit_window(hu).tolist() == pytest.approx([-1000, 0, 40, 99, 1000], abs=0.5)


def test_a_drawn_protocol_follows_its_seed() -> None:
    assert Protocol.draw(np.random.default_rng(1)) == Protocol.draw(np.random.default_rng(1))


def test_a_scan_keeps_the_density_of_what_is_large() -> None:
    hu, head = ball_of_water()
    ct = scan(hu, head, PLAIN)
    assert ct.shape == (80, 80, 8)
    middle = ct[30:50, 30:50, 3:5]
    assert float(middle.mean()) == pytest.approx(30, abs=1)
    assert float(ct[:5, :5].mean()) == pytest.approx(-1000, abs=2)


def test_noise_has_the_strength_that_was_asked_for() -> None:
    grain = noise(torch.full((100, 100, 6), 13.0), PLAIN)
    assert float(grain.std()) == pytest.approx(3.0 * (0.7 + 0.6 * 13 / 30), rel=0.1)
    assert abs(float(grain.mean())) < 0.3


def test_cupping_brightens_next_to_the_skull_and_not_beyond() -> None:
    hu, head = ball_of_water()
    hardened = add_cupping(hu, head, dataclasses.replace(PLAIN, cupping_hu=10.0, cupping_depth_mm=4.0)) - hu
    rim = (head.cavity_mm > 0) & (head.cavity_mm < 2)
    assert float(hardened[rim].mean()) > 5
    assert float(hardened[head.cavity_mm > 25].abs().mean()) < 0.5
    assert float(hardened[head.cavity_mm <= 0].abs().max()) == 0


def test_streaks_need_bone_and_follow_their_seed() -> None:
    hu, _ = ball_of_water()
    slices = to_slices(hu, 4)
    streaky = dataclasses.replace(PLAIN, streaks=4, streak_hu=10.0)
    assert float(streaks(slices, streaky).abs().max()) > 1
    assert torch.equal(streaks(slices, streaky), streaks(slices, streaky))
    assert float(streaks(torch.zeros_like(slices), streaky).abs().max()) == 0
    assert float(streaks(slices, PLAIN).abs().max()) == 0


def test_a_table_lies_in_the_air_behind_the_head() -> None:
    hu, _ = ball_of_water(20.0)
    slices = to_slices(hu, 4)
    before = slices.clone()
    add_table(slices, dataclasses.replace(PLAIN, table_mm=6.0))
    changed = slices != before
    assert bool(changed.any())
    assert float(before[changed].max()) < -300
    assert int(changed.nonzero()[:, 1].max()) < 40


def step_of_fine_slices() -> torch.Tensor:
    """Air below, 30 HU from the middle on; 8 slices of 4."""
    return torch.where(torch.arange(32) < 16, 0.0, 30.0).expand(2, 2, 32)


def test_a_profile_sums_to_one_and_lies_in_the_middle_of_its_slice() -> None:
    for subslices, coverage, spread in ((4, 1.0, 0.3), (3, 0.5, 0.0), (5, 1.9, 0.2), (2, 0.6, 0.4)):
        places, weights = slice_profile(subslices, coverage, spread)
        assert sum(weights) == pytest.approx(1)
        middle = sum(p * w for p, w in zip(places, weights, strict=True))
        assert middle == pytest.approx((subslices - 1) / 2)


def test_a_slice_without_overlap_or_spread_is_the_mean_of_its_own() -> None:
    volume = torch.rand(3, 3, 12)
    places, weights = slice_profile(4, 1.0, 0.0)
    assert places == [0, 1, 2, 3]
    assert weights == pytest.approx([0.25] * 4)
    assert torch.allclose(to_slices(volume, 4, 1.0, 1e-6), to_slices(volume, 4), atol=1e-6)


def test_overlapping_slices_see_what_is_beside_them_and_slices_with_gaps_miss_what_lies_in_between() -> None:
    step = step_of_fine_slices()
    assert to_slices(step, 4)[0, 0].tolist() == [0, 0, 0, 0, 30, 30, 30, 30]
    overlapping = to_slices(step, 4, coverage=2.0)[0, 0]
    assert 5 < float(overlapping[3]) < 10
    dot = torch.zeros(1, 1, 12)
    dot[0, 0, 4] = 100.0  # at the border of the second slice
    assert float(to_slices(dot, 4, coverage=0.5).abs().max()) == 0
    assert float(to_slices(dot, 4).max()) == 25


def test_thickened_slices_are_blurred_along_z_at_their_end_alone() -> None:
    stripes = torch.tensor([0.0, 10.0]).repeat(6).expand(2, 2, 12)
    below, above = thickened(stripes, 0.5)[0, 0], thickened(stripes, -0.5)[0, 0]
    assert below.tolist() == [5.0] * 6 + [0.0, 10.0] * 3
    assert above.tolist() == [0.0, 10.0] * 3 + [5.0] * 6
    assert torch.equal(thickened(stripes, 0.0), stripes)
    ramp = torch.arange(12.0).expand(1, 1, 12)
    assert torch.allclose(thickened(ramp, 1.0)[0, 0, 1:-1], ramp[0, 0, 1:-1])  # what is even stays in its place


def test_a_resampled_scan_keeps_its_grid_and_loses_its_noise() -> None:
    grain = torch.randn(60, 70, 2, generator=torch.Generator().manual_seed(0))
    again = coarsened(grain, 1.5)
    assert again.shape == grain.shape
    assert float(again.std()) < 0.8
    assert torch.equal(coarsened(grain, 1.0), grain)


def test_outside_the_round_field_stands_the_padding_value() -> None:
    slices = torch.zeros(80, 80, 2)
    after = padded(slices, dataclasses.replace(PLAIN, field_mm=60.0, padding_hu=-2000.0))
    outside = float((after == -2000).float().mean())
    assert outside == pytest.approx(1 - np.pi * 30**2 / 80**2, abs=0.01)
    assert float(after[40, 40, 0]) == 0
    assert torch.equal(padded(slices, PLAIN), slices)


def test_a_scan_has_twelve_bits() -> None:
    hu, head = ball_of_water()
    hu[36:44, 36:44] = 8000.0
    ct = scan(hu, head, PLAIN)
    assert float(ct.max()) == 3071
    assert float(ct.min()) >= -1024


def test_the_grain_of_a_seed_is_drawn_alike_on_every_device() -> None:
    state = torch.get_rng_state()
    depth = torch.full((20, 20, 3), 13.0)
    assert torch.equal(noise(depth, PLAIN), noise(depth, PLAIN))
    assert torch.equal(state, torch.get_rng_state())


def test_most_protocols_are_ordinary_and_every_rarity_occurs() -> None:
    drawn = [Protocol.draw(np.random.default_rng(seed)) for seed in range(500)]
    ordinary = [p.coverage == 1 and p.motion is None and p.thickened == 0 and p.coarser == 1 for p in drawn]
    assert 0.55 < np.mean(ordinary) < 0.8
    assert min(p.coverage for p in drawn) < 0.7
    assert max(p.coverage for p in drawn) > 1.5
    for rare in ([p.motion is not None for p in drawn], [p.thickened != 0 for p in drawn],
                 [p.coarser != 1 for p in drawn], [p.field_mm is not None for p in drawn]):  # fmt: skip
        assert 0.02 < np.mean(rare) < 0.2
    assert 0.3 <= min(p.spacing_mm[0] for p in drawn) < 0.4
    assert min(p.spacing_mm[2] for p in drawn) < 0.7
    assert max(p.spacing_mm[2] for p in drawn) > 7.5
