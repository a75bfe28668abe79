"""The scripts that judge a bundle count what they say they count."""

from __future__ import annotations

import numpy as np
import pytest
from robustness import quarter_turns
from simulated import judge, pooled, summary

from ICHSegmentationLib.evaluation.experiments.calibration import reliability
from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.training.pool import StoredCase

SPACING_MM = (1.0, 1.0, 5.0)
SIDE = 40


def stored(label: np.ndarray) -> StoredCase:
    hu = np.full(label.shape, 30, np.int16)
    hu[:3], hu[-3:], hu[:, :3], hu[:, -3:] = 1000, 1000, 1000, 1000
    return StoredCase(hu, label, SPACING_MM, "case")


def bleeding_case() -> StoredCase:
    label = np.zeros((SIDE, SIDE, 4), np.uint8)
    label[10:20, 10:20, :] = 1  # 2 mL
    label[10:20, 20:25, :] = IGNORED
    return stored(label)


def test_ignored_voxels_count_neither_in_a_case_nor_in_its_members_range() -> None:
    case = bleeding_case()
    bleed = (case.label == 1).astype(np.float32)
    hidden = (case.label == IGNORED).astype(np.float32)
    found = judge(case, np.stack([bleed + hidden, bleed * 0.9]), 0.5)
    assert found["true_ml"] == found["found_ml"] == pytest.approx(2.0)
    assert found["dice"] == 1
    assert found["member_ml"] == pytest.approx([2.0, 2.0])
    assert found["in_range"]


def test_a_range_that_lies_beside_the_truth_does_not_hold() -> None:
    case = bleeding_case()
    part = np.zeros(case.label.shape, np.float32)
    part[10:15, 10:20] = 1
    found = judge(case, np.stack([part, part]), 0.5)
    assert found["member_ml"] == pytest.approx([1.0, 1.0])
    assert not found["in_range"]


def test_the_summary_tells_bleeding_heads_from_the_others() -> None:
    bleeding, healthy = bleeding_case(), stored(np.zeros((SIDE, SIDE, 4), np.uint8))
    nothing = np.zeros((1, *bleeding.label.shape), np.float32)
    speck = nothing.copy()
    speck[0, 20, 20, :2] = 1
    told = summary([judge(bleeding, nothing, 0.5), judge(healthy, speck, 0.5)])
    assert (told["with_1_ml_or_more"], told["without_bleed"]) == (1, 1)
    assert told["median_dice"] == pytest.approx(0, abs=1e-6)
    assert told["median_signed_volume_error_share"] == -1
    assert told["false_ml_without_bleed"] == pytest.approx(0.01)


def test_pooled_bins_are_those_of_all_voxels_at_once() -> None:
    rng = np.random.default_rng(0)
    probability, bleed = rng.random(500), rng.random(500) < 0.3
    parts = [reliability(probability[:200], bleed[:200]), reliability(probability[200:], bleed[200:])]
    assert pooled(parts).expected_error == pytest.approx(reliability(probability, bleed).expected_error)


def test_the_24_turns_are_24_and_none_mirrors() -> None:
    volume = np.arange(24).reshape(2, 3, 4)
    turns = quarter_turns()
    assert len({turn(volume).tobytes() + bytes(turn(volume).shape) for turn in turns}) == len(turns) == 24
    corner = np.zeros((3, 3, 3), int)
    corner[0, 0, 0], corner[1, 0, 0], corner[0, 1, 0], corner[0, 0, 1] = 1, 2, 3, 4
    for turn in turns:
        turned = turn(corner)
        origin, *ends = (np.argwhere(turned == k)[0] for k in (1, 2, 3, 4))
        assert np.linalg.det(np.stack([end - origin for end in ends])) == pytest.approx(1)
