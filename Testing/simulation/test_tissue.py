"""Densities: tissues in their order, blood on top, look-alikes where they belong."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from test_hemorrhage import head

from ICHSegmentationLib.simulation.anatomy import Tissue
from ICHSegmentationLib.simulation.blood import Subtype
from ICHSegmentationLib.simulation.hemorrhage import Bleeding
from ICHSegmentationLib.simulation.tissue import Densities, paint

HEAD = head()
PLAIN = dataclasses.replace(
    Densities.draw(np.random.default_rng(0)),
    spots=(),
    tumours=(),
    leukoaraiosis=0.0,
    rim_mm=0.0,
    slow_texture=0.0,
    fine_texture=0.0,
)


def no_bleeding() -> Bleeding:
    return Bleeding.none(HEAD)


def test_tissues_have_their_order_of_density() -> None:
    hu, without = paint(HEAD, PLAIN, no_bleeding())
    assert torch.equal(hu, without)
    deep = HEAD.cavity_mm > 8
    mean = {kind: float(hu[(HEAD.tissue == kind) & deep].median()) for kind in
            (Tissue.VENTRICLE, Tissue.WHITE, Tissue.CORTEX)}  # fmt: skip
    assert mean[Tissue.VENTRICLE] < mean[Tissue.WHITE] < mean[Tissue.CORTEX] < 50
    assert float(hu[HEAD.tissue == Tissue.CORTICAL_BONE].mean()) > 500
    assert float(hu[HEAD.tissue == Tissue.AIR].max()) == -1000


def test_fluid_beside_blood_is_there_without_the_blood_too() -> None:
    bleeding = no_bleeding()
    bleeding.fluid_hu = torch.full(HEAD.size, torch.nan)
    bleeding.fluid_hu[40:50, 60:70, 50:60] = 12.0
    hu, without = paint(HEAD, PLAIN, bleeding)
    assert torch.equal(hu, without)
    untouched, _ = paint(HEAD, PLAIN, no_bleeding())
    assert set(hu[40:50, 60:70, 50:60].flatten().tolist()) == {12.0}
    assert int((hu != untouched).sum()) <= 1000


def test_blood_keeps_a_least_contrast_to_grey_matter() -> None:
    bleeding = no_bleeding()
    bleeding.subtype[40:50, 60:70, 50:60] = Subtype.IPH
    bleeding.hu[:] = 20.0  # drawn too dark to be seen
    hu, without = paint(HEAD, PLAIN, bleeding)
    blood = bleeding.subtype > 0
    assert float(hu[blood].min()) >= PLAIN.white + PLAIN.grey_above_white + 6 - 1e-4
    assert torch.equal(hu[~blood], without[~blood])


def test_edema_darkens_the_brain_only() -> None:
    bleeding = no_bleeding()
    bleeding.edema_hu[:] = 10.0
    plain, _ = paint(HEAD, PLAIN, no_bleeding())
    swollen, _ = paint(HEAD, PLAIN, bleeding)
    white = (HEAD.tissue == Tissue.WHITE) & (HEAD.cavity_mm > 0)
    assert float((plain - swollen)[white].mean()) == pytest.approx(10)
    assert torch.equal(plain[HEAD.tissue == Tissue.CORTICAL_BONE], swollen[HEAD.tissue == Tissue.CORTICAL_BONE])


def test_drawn_densities_are_json_and_follow_their_seed() -> None:
    first, second = (Densities.draw(np.random.default_rng(3)) for _ in range(2))
    assert first == second
    assert json.loads(json.dumps(dataclasses.asdict(first)))["white"] == first.white
