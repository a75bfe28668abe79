"""A whole case: replayed from its parameters, labelled as it looks."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from ICHSegmentationLib.simulation.anatomy import Anatomy
from ICHSegmentationLib.simulation.blood import Subtype
from ICHSegmentationLib.simulation.case import IGNORED, CaseParameters, label_slices, simulate
from ICHSegmentationLib.simulation.parenchymal import Parenchymal
from ICHSegmentationLib.simulation.procedural import procedural_anatomy

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return procedural_anatomy(0, spacing_mm=3.0)


def small(seed: int, **changes: object) -> CaseParameters:
    """A drawn case on a coarse grid, so that it takes a second."""
    drawn = CaseParameters.draw(np.random.default_rng(seed), 1)
    protocol = dataclasses.replace(drawn.protocol, spacing_mm=(2.0, 2.0, 5.0), subslices=2)
    return dataclasses.replace(drawn, protocol=protocol, slices=28, **changes)


def test_the_same_parameters_give_the_same_case(anatomy: Anatomy) -> None:
    first, second = simulate(small(3), anatomy), simulate(small(3), anatomy)
    assert torch.equal(first.hu, second.hu)
    assert torch.equal(first.subtype, second.subtype)
    assert not torch.equal(first.hu, simulate(small(4), anatomy).hu)


def test_a_case_looks_like_a_head_ct(anatomy: Anatomy) -> None:
    parameters = small(3)
    parameters = dataclasses.replace(parameters, protocol=dataclasses.replace(parameters.protocol, windowed=False))
    hu = simulate(parameters, anatomy).hu
    assert hu.dtype == torch.float32
    assert torch.equal(hu, hu.round())
    assert float((hu < -900).float().mean()) > 0.2
    assert float((hu > 500).float().mean()) > 0.02
    assert float(((hu > 15) & (hu < 60)).float().mean()) > 0.1


def test_a_bleed_is_brighter_than_the_brain_and_is_labelled(anatomy: Anatomy) -> None:
    bleed = Parenchymal.draw(np.random.default_rng(0), contusion=False)
    bleed = dataclasses.replace(bleed, region="lobar", volume_ml=30.0, where=0.5)
    case = simulate(small(3, bleeds=(bleed,)), anatomy)
    blood = case.subtype == Subtype.IPH
    labelled_ml = float(blood.sum()) * np.prod(case.spacing_mm) / 1000
    assert labelled_ml == pytest.approx(case.volume_ml["IPH"], rel=0.15)
    assert float(case.hu[blood].mean()) > 40


def test_a_head_without_bleeds_has_no_label(anatomy: Anatomy) -> None:
    case = simulate(small(3, bleeds=()), anatomy)
    assert int(case.subtype.sum()) == 0
    assert sum(case.volume_ml.values()) == 0


def test_parameters_are_json(anatomy: Anatomy) -> None:
    values = json.loads(json.dumps(small(5).to_json()))
    assert values["protocol"]["spacing_mm"] == [2.0, 2.0, 5.0]


def test_a_voxel_is_labelled_if_blood_fills_half_of_it_and_shows() -> None:
    fine = torch.zeros(1, 1, 8, dtype=torch.uint8)
    fine[0, 0, :2] = Subtype.SDH  # fills the first slice
    fine[0, 0, 2] = Subtype.SDH  # half of the second
    fine[0, 0, 6:] = Subtype.SAH  # the last, without contrast
    visible = torch.tensor([True, True, False, False]).view(1, 1, 4)
    assert label_slices(fine, visible, 2).flatten().tolist() == [Subtype.SDH, Subtype.SDH, 0, IGNORED]


def test_some_cases_show_the_vertex_or_the_base_alone_and_most_of_those_no_bleed() -> None:
    drawn = [CaseParameters.draw(np.random.default_rng(seed), 3) for seed in range(300)]
    slabs = [
        case for case in drawn if case.slices * case.protocol.spacing_mm[2] < 50 and abs(case.pose.offset_mm[2]) >= 50
    ]
    assert 15 < len(slabs) < 60
    assert np.mean([not case.bleeds for case in slabs]) > 0.5


def test_drawn_cases_stay_affordable() -> None:
    for seed in range(60):
        parameters = CaseParameters.draw(np.random.default_rng(seed), 3)
        x, y, z = parameters.protocol.fine_spacing_mm
        width, depth = parameters.width_mm
        voxels = width / x * depth / y * parameters.slices * parameters.protocol.subslices
        assert voxels < 8e6
        assert parameters.slices >= 3
        assert z <= 1.6
