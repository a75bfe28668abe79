"""The scripts that judge a bundle count what they say they count."""

from __future__ import annotations

import dataclasses

import inserted
import numpy as np
import pytest
from helpers import head_with_ball
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


@pytest.fixture(scope="module")
def tilted_head() -> inserted.RealHead:
    """A head without blood whose slices are shifted against each other and lie 5 and 7 mm apart."""
    head = head_with_ball((1.0, 1.0, 5.0), radius_mm=0.0, extent_mm=(180.0, 210.0, 100.0))
    steps = np.where(np.arange(head.hu.shape[2]) < 10, 5.0, 7.0)
    height = np.concatenate([[0], np.cumsum(steps[:-1])]) - 50
    origins = head.affine[:3, 3] + np.stack([0 * height, 0.2 * height, height - head.affine[2, 3]], axis=1)
    return inserted.RealHead.of(dataclasses.replace(head, slice_origins_mm=origins))


def test_a_ball_has_its_volume_on_slices_that_are_uneven_and_tilted(tilted_head: inserted.RealHead) -> None:
    for centre, volume_ml in (((10.0, 5.0, -20.0), 10.0), ((-20.0, -10.0, 12.0), 30.0)):
        share = tilted_head.ball(np.array(centre), volume_ml)
        told = inserted.bled_into(tilted_head, "ball", volume_ml, 20.0, share)
        assert told.true_ml == pytest.approx(volume_ml, rel=0.03)
        index = np.argwhere(share > 0)
        middle = np.average(
            [tilted_head.volume.origins_mm[z] + (x, y, 0) for x, y, z in index], axis=0, weights=share[share > 0]
        )
        assert middle == pytest.approx(centre, abs=1.5)


def test_a_lens_lies_on_the_inner_table_and_nowhere_else(tilted_head: inserted.RealHead) -> None:
    x, y, z = np.argwhere(tilted_head.cavity & (tilted_head.depth_mm <= 1))[1000]
    share = tilted_head.lens(tilted_head.volume.origins_mm[z] + (x, y, 0), 8.0)
    assert share[x, y, z] == pytest.approx(1)
    assert 0 < tilted_head.depth_mm[share > 0].max() < 8
    assert not share[~tilted_head.cavity].any()


def test_blood_adds_its_contrast_to_brain_and_leaves_the_rest(tilted_head: inserted.RealHead) -> None:
    told = inserted.bled_into(tilted_head, "ball", 30.0, 20.0, tilted_head.ball(np.array((0.0, 0.0, 0.0)), 30.0))
    added = told.volume.hu - tilted_head.volume.hu
    assert added[told.share > 0.99] == pytest.approx(20, abs=0.3)
    assert not added[told.share == 0].any()


def test_an_inserted_bleed_is_judged_by_what_it_changes(tilted_head: inserted.RealHead) -> None:
    told = inserted.bled_into(tilted_head, "ball", 30.0, 20.0, tilted_head.ball(np.array((0.0, 0.0, 0.0)), 30.0))
    mask = told.share >= 0.5
    figures = inserted.judge(told, mask, healthy_ml=0.0)
    assert figures["dice"] == figures["found"] == 1
    assert figures["volume_ml"] == pytest.approx(30, rel=0.03)
    mask[:4, :4] = True  # called before, too
    false_ml = float((mask[:4, :4] * tilted_head.volume.voxel_volumes_ml).sum())
    assert inserted.judge(told, mask, false_ml)["volume_ml"] == pytest.approx(figures["volume_ml"])


def test_every_size_and_contrast_is_put_in_once_at_each_place(tilted_head: inserted.RealHead) -> None:
    drawn = [(each.kind, each.size, each.contrast_hu) for each in inserted.insertions(tilted_head, 1, seed=0)]
    assert len(set(drawn)) == len(drawn) == 3 * 7
