"""What surgery leaves: bone is gone where it was cut and nowhere else; air and bleeds lie under it, scalp swells."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from test_hemorrhage import head
from test_tissue import PLAIN, no_bleeding

from ICHSegmentationLib.simulation.anatomy import BONE, is_tissue
from ICHSegmentationLib.simulation.hemorrhage import place_bleeds
from ICHSegmentationLib.simulation.places import pick_voxel, under_vault
from ICHSegmentationLib.simulation.surgery import BLED, OPERATED, Opening, draw_beds, draw_openings, open_skull
from ICHSegmentationLib.simulation.tissue import paint

HEAD = head()
BEFORE, _ = paint(HEAD, PLAIN, no_bleeding())
BONY = is_tissue(HEAD.tissue, BONE)


def opened(kind: str, **changes: object) -> torch.Tensor:
    drawn = Opening.draw(np.random.default_rng(0))
    plain = {"kind": kind, "where": 0.4, "radius_mm": 30.0, "cut_mm": 4.0, "filling_hu": 25.0, "swollen": 0.0}
    opening = dataclasses.replace(drawn, **{**plain, "air_mm": 0.0, "roughness": 0.0, **changes})
    after = BEFORE.clone()
    open_skull(after, HEAD, opening)
    return after


def removed_ml(after: torch.Tensor) -> float:
    return float(((after == 25.0) & BONY).sum()) * HEAD.voxel_ml


def test_a_defect_takes_more_bone_than_the_cut_around_a_flap_and_that_more_than_a_hole() -> None:
    hole, flap, defect = (removed_ml(opened(kind, radius_mm=6.5 if kind == "hole" else 30.0))
                          for kind in ("hole", "flap", "defect"))  # fmt: skip
    assert 0.2 < hole < flap < defect
    assert defect < 60


@pytest.mark.parametrize("kind", ["hole", "flap", "defect"])
def test_without_swelling_and_air_only_bone_changes(kind: str) -> None:
    changed = opened(kind) != BEFORE
    assert bool(changed.any())
    assert bool(BONY[changed].all())


def test_a_flap_stays_in_the_middle_of_its_cut() -> None:
    gone = (opened("flap") == 25.0) & BONY
    middle = gone.nonzero().float().mean(0)
    apart_mm = (gone.nonzero().float() - middle).norm(dim=1) * 1.5
    assert float(apart_mm.quantile(0.05)) > 12


def test_the_scalp_swells_outside_the_cavity_and_air_rises_inside() -> None:
    swollen = (opened("hole", swollen=1.0, swelling_hu=60.0) != BEFORE) & ~BONY
    assert int(swollen.sum()) > 100
    assert bool((HEAD.cavity_mm[swollen] <= 0).all())
    airy = opened("flap", air_mm=5.0) == -900.0
    assert int(airy.sum()) > 20
    depth = HEAD.cavity_mm[airy]
    assert 0 < float(depth.min()) < float(depth.max()) < 5


def test_few_heads_were_operated_on() -> None:
    share = np.mean([bool(draw_openings(np.random.default_rng(seed))) for seed in range(1000)])
    assert share == pytest.approx(OPERATED, abs=0.025)


@pytest.mark.parametrize("where", [0.2, 0.4, 0.7])
def test_a_bleed_of_an_opening_lies_under_it(where: float) -> None:
    opening = dataclasses.replace(Opening.draw(np.random.default_rng(1)), kind="flap", where=where, radius_mm=25.0)
    beds = [bed for seed in range(20) for bed in draw_beds(np.random.default_rng(seed), (opening,))]
    assert 5 < len(beds) < 20
    centre = pick_voxel(under_vault(HEAD), where)
    assert centre is not None
    for bed in beds[:3]:
        _, bleeding = place_bleeds(HEAD, [bed])
        blood = (bleeding.subtype > 0).nonzero()
        assert len(blood) > 0
        assert float(((blood - centre).float().norm(dim=1) * 1.5).max()) < 1.5 * bed.extent_mm
        assert float(HEAD.cavity_mm[bleeding.subtype > 0].max()) < 2 * bed.thickness_mm + 1


def test_most_openings_have_a_bleed_under_them_and_a_whole_skull_has_none() -> None:
    rng = np.random.default_rng(0)
    opening = Opening.draw(rng)
    assert draw_beds(rng, ()) == ()
    assert len(draw_beds(rng, (opening,) * 1000)) == pytest.approx(1000 * BLED, abs=60)
