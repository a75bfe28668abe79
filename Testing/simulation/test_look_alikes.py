"""Look-alikes lie where their kind belongs and are less dense than blood where they could be taken for it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from test_hemorrhage import head
from test_tissue import PLAIN, no_bleeding

from ICHSegmentationLib.simulation.anatomy import CEREBRUM, Head, Tissue, is_tissue
from ICHSegmentationLib.simulation.blood import Subtype
from ICHSegmentationLib.simulation.look_alikes import (
    OVER_BLOOD,
    SPOTS,
    Spot,
    Tumour,
    draw_spots,
    draw_tumours,
    paint_spot,
    paint_tumour,
)
from ICHSegmentationLib.simulation.tissue import paint


def head_with_an_artery() -> Head:
    plain = head()
    plain.tissue[50:56, 60:80, 40] = Tissue.ARTERY  # the procedural head has none
    return plain


HEAD = head_with_an_artery()
BEFORE, _ = paint(HEAD, PLAIN, no_bleeding())
GREY = PLAIN.white + PLAIN.grey_above_white


NO_BLOOD = torch.zeros(HEAD.size, dtype=torch.uint8)


@pytest.mark.parametrize("kind", sorted(set(SPOTS) - {OVER_BLOOD}))
def test_a_look_alike_changes_the_head_where_its_kind_belongs(kind: str) -> None:
    after = BEFORE.clone()
    paint_spot(after, HEAD, Spot(kind, 0.5, 6.0, 0.1, 300.0, 1.0, 1), NO_BLOOD)
    changed = (after - BEFORE).abs() > 1
    assert 0 < int(changed.sum()) < 20000
    inside = HEAD.cavity_mm[changed] > 0
    assert bool(inside.all()) == (kind not in ("skull", "scalp"))
    assert bool(inside.any()) == (kind not in ("skull", "scalp"))


def test_the_scalp_is_swollen_over_blood_under_the_skull_and_not_in_other_heads() -> None:
    swelling = Spot(OVER_BLOOD, 0.5, 30.0, 0.1, 60.0, 1.0, 1)
    after = BEFORE.clone()
    paint_spot(after, HEAD, swelling, NO_BLOOD)
    assert torch.equal(after, BEFORE)
    shell = ((HEAD.cavity_mm > 0) & (HEAD.cavity_mm < 4)).nonzero()
    middle = shell[len(shell) // 3]
    blood = NO_BLOOD.clone()
    blood[tuple(middle)] = Subtype.EDH
    paint_spot(after, HEAD, swelling, blood)
    changed = (after - BEFORE).abs() > 1
    assert int(changed.sum()) > 100
    assert bool((HEAD.cavity_mm[changed] < 0).all())
    offset_mm = (changed.nonzero() - middle) * torch.tensor(HEAD.spacing_mm)
    assert float(offset_mm.norm(dim=1).max()) < 1.5 * 30


def tumour(**changes: object) -> Tumour:
    drawn = Tumour.draw(np.random.default_rng(0))
    plain = {"in_brain": True, "where": 0.5, "radius_mm": 9.0, "roughness": 0.0, "core": 0.5, "core_hu": 12.0}
    return dataclasses.replace(drawn, **{**plain, "above_grey_hu": 4.0, "edema_mm": 12.0, "edema_hu": 10.0, **changes})


def painted(one: Tumour) -> torch.Tensor:
    after = BEFORE.clone()
    paint_tumour(after, HEAD, one, GREY)
    return after


def test_a_tumour_has_a_dark_core_and_edema_in_white_matter_alone() -> None:
    after = painted(tumour())
    darker = after < BEFORE - 2
    assert float(after[darker].min()) == pytest.approx(12, abs=0.5)
    edema = painted(tumour(core=0.0)) < BEFORE - 2
    assert int(edema.sum()) > 500
    assert bool((HEAD.tissue[edema] == Tissue.WHITE).all())


def test_a_tumour_stays_within_the_skull_and_below_the_density_of_blood() -> None:
    for in_brain in (True, False):
        for where in (0.1, 0.9):
            after = painted(tumour(in_brain=in_brain, where=where, radius_mm=20.0))
            changed = after != BEFORE
            assert bool(changed.any())
            assert bool((HEAD.cavity_mm[changed] > 0).all())
            brighter = after > BEFORE + 0.01
            assert float(after[brighter].max()) < GREY + 6  # paint() gives blood this much at least


def test_few_heads_have_tumours_and_nearly_all_have_some_look_alike() -> None:
    drawn = [(draw_spots(np.random.default_rng(k)), draw_tumours(np.random.default_rng(k))) for k in range(500)]
    assert 0.01 < np.mean([bool(tumours) for _, tumours in drawn]) < 0.08
    assert np.mean([bool(spots) for spots, _ in drawn]) > 0.9
    assert {spot.kind for spots, _ in drawn for spot in spots} == set(SPOTS)


def test_a_head_without_brain_gets_no_tumour() -> None:
    empty = dataclasses.replace(HEAD, tissue=torch.where(is_tissue(HEAD.tissue, CEREBRUM), 0, HEAD.tissue))
    after = BEFORE.clone()
    paint_tumour(after, empty, tumour(), GREY)
    assert torch.equal(after, BEFORE)
