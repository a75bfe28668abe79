"""Metal and motion: streaks where there is metal, a doubled rim where the head moved, nothing anywhere else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from test_beam_hardening import from_middle_mm, skull

from ICHSegmentationLib.simulation.artefacts import METAL_HU, Motion, metal_streaks_hu, motion_hu, moved
from ICHSegmentationLib.simulation.fields import blur

STILL = Motion(first=0.4, slices=1, shift_mm=(0.0, 0.0), turn_deg=0.0, moment=0.5, lasts=0.1)


def slices(count: int = 3) -> torch.Tensor:
    return skull(6.0).expand(-1, -1, count).clone()


def with_metal(radius_mm: float) -> torch.Tensor:
    hu = slices()
    hu[:, :, 1] = torch.where(from_middle_mm() < radius_mm, METAL_HU, hu[:, :, 1])
    return hu


def brain_beside(radius_mm: float) -> torch.Tensor:
    return (from_middle_mm() > radius_mm + 4) & (from_middle_mm() < 60)


def test_metal_spoils_its_slice_alone_and_large_metal_more() -> None:
    small, large = (metal_streaks_hu(with_metal(radius), 1.0, seed=0) for radius in (1.5, 5.0))
    for streaks in (small, large):
        assert float(streaks[:, :, [0, 2]].abs().max()) == 0
    spread = [float(s[:, :, 1][brain_beside(5.0)].std()) for s in (small, large)]
    assert 1 < spread[0] < spread[1] < 60


def test_metal_looks_thinner_than_it_is_and_follows_its_seed() -> None:
    streaks = metal_streaks_hu(with_metal(5.0), 1.0, seed=3)
    assert float(streaks[:, :, 1][from_middle_mm() < 3].mean()) < -500
    assert torch.equal(streaks, metal_streaks_hu(with_metal(5.0), 1.0, seed=3))
    assert not torch.equal(streaks, metal_streaks_hu(with_metal(5.0), 1.0, seed=4))


def test_a_head_without_metal_has_no_streaks() -> None:
    assert float(metal_streaks_hu(slices(), 1.0, seed=0).abs().max()) == 0


def test_who_lies_still_is_not_blurred() -> None:
    assert float(motion_hu(slices(), 1.0, STILL).abs().max()) < 0.1


def test_motion_changes_the_slices_of_its_time_and_those_at_the_skull_most() -> None:
    added = motion_hu(slices(), 1.0, dataclasses.replace(STILL, shift_mm=(2.0, 0.0)))
    assert float(added[:, :, [0, 2]].abs().max()) == 0
    radius = from_middle_mm()
    rim, middle = (float(added[:, :, 1][where].std()) for where in (((radius > 60) & (radius < 76)), radius < 30))
    assert rim > 5 * middle > 0


def test_a_motion_before_the_first_view_only_moves_the_head() -> None:
    hu = slices(1)
    motion = dataclasses.replace(STILL, first=0.0, shift_mm=(4.0, 0.0), moment=-1.0)
    wanted = moved(hu.permute(2, 0, 1)[:, None], 1.0, motion)[0, 0]
    got = (hu + motion_hu(hu, 1.0, motion))[:, :, 0]
    brain = brain_beside(0.0)
    assert float((got - wanted)[brain].abs().mean()) < 6
    # the coarse grid blurs the edges of bone, so those are compared blurred
    left, change = (
        blur(part[:, :, None], (3.0, 3.0, 0.0)).abs().mean() for part in (got - wanted, wanted - hu[:, :, 0])
    )
    assert float(left) < 0.25 * float(change)


def test_a_shift_goes_the_way_and_as_far_as_it_says() -> None:
    plane = torch.zeros(1, 1, 40, 60)
    plane[0, 0, 20, 30] = 1000.0
    there = moved(plane, 0.5, dataclasses.replace(STILL, shift_mm=(2.0, -3.0)))[0, 0]
    assert np.unravel_index(int(there.argmax()), there.shape) == (24, 24)
    assert float(there.max()) == pytest.approx(1000, abs=1)


def test_a_turn_keeps_what_is_round() -> None:
    hu = slices(1).permute(2, 0, 1)[:, None]
    turned = moved(hu, 1.0, dataclasses.replace(STILL, turn_deg=20.0))
    assert float((turned - hu)[0, 0][from_middle_mm() < 60].abs().max()) < 1
