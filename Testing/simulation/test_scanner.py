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
    noise,
    scan,
    streaks,
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
