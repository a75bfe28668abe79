"""A whole case: replayed from its parameters, labelled as it looks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.simulation.anatomy import Anatomy
from ICHSegmentationLib.simulation.artefacts import Motion
from ICHSegmentationLib.simulation.blood import Subtype
from ICHSegmentationLib.simulation.case import IGNORED, CaseParameters, label_slices, simulate
from ICHSegmentationLib.simulation.extraaxial import Extraaxial
from ICHSegmentationLib.simulation.fluid_bleeds import Intraventricular, Subarachnoid
from ICHSegmentationLib.simulation.hardware import Device
from ICHSegmentationLib.simulation.look_alikes import Spot, Tumour
from ICHSegmentationLib.simulation.parenchymal import Parenchymal
from ICHSegmentationLib.simulation.pose import Step
from ICHSegmentationLib.simulation.procedural import procedural_anatomy
from ICHSegmentationLib.simulation.surgery import Opening

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


def test_parameters_come_back_from_json_as_they_were() -> None:
    for seed in range(150):
        drawn = CaseParameters.draw(np.random.default_rng(seed), 3)
        assert CaseParameters.from_json(json.loads(json.dumps(drawn.to_json()))) == drawn


def rich() -> CaseParameters:
    """A case with one of everything."""
    rng = np.random.default_rng(0)
    bleeds = (
        dataclasses.replace(Parenchymal.draw(rng, contusion=False), satellites=2),
        Extraaxial.draw(rng, epidural=True),
        Subarachnoid.draw(rng),
        Intraventricular.draw(rng),
    )
    drawn = small(3, bleeds=bleeds, openings=(Opening.draw(rng),), devices=(Device("clip", 0.5, 20, 1, 0, 8000, 0),))
    densities = dataclasses.replace(drawn.densities, tumours=(Tumour.draw(rng),), spots=(Spot("falx", *[0.5] * 5, 1),))
    protocol = dataclasses.replace(
        drawn.protocol, motion=Motion.draw(rng), thickened=0.5, coarser=1.2, coverage=1.5, field_mm=220.0
    )
    pose = dataclasses.replace(drawn.pose, step=Step.draw(rng), gantry_tilt_deg=15.0)
    return dataclasses.replace(drawn, densities=densities, protocol=protocol, pose=pose)


def test_a_case_is_replayed_to_the_last_bit_from_its_json(anatomy: Anatomy) -> None:
    parameters = rich()
    first = simulate(parameters, anatomy)
    again = simulate(CaseParameters.from_json(json.loads(json.dumps(parameters.to_json()))), anatomy)
    assert torch.equal(first.hu, again.hu)
    assert torch.equal(first.subtype, again.subtype)
    assert first.volume_ml == again.volume_ml


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v["pose"].pop("shear"), r"CaseParameters\.pose has other entries .*shear"),
        (lambda v: v["protocol"].update(colour=1), r"protocol has other entries .*colour"),
        (lambda v: v["bleeds"][0].update(type="Chronic"), r"bleeds\[0\] must be one of Parenchymal, .*'Chronic'"),
        (lambda v: v.update(slices="many"), r"slices must be of type int; found 'many'"),
        (lambda v: v["protocol"].update(windowed=1), r"windowed must be of type bool; found 1"),
        (lambda v: v.update(width_mm=[3.0]), r"width_mm must be a list of 2 values; found \[3.0\]"),
        (lambda v: v.update(pose=None), r"pose must be an object .*found None"),
    ],
)
def test_parameters_that_are_none_are_refused(change: Callable[[dict[str, Any]], object], says: str) -> None:
    values = json.loads(json.dumps(rich().to_json()))
    change(values)
    with pytest.raises(InputError, match=says):
        CaseParameters.from_json(values)


def test_metal_plastic_and_missing_bone_are_no_bleed(anatomy: Anatomy) -> None:
    opening = dataclasses.replace(Opening.draw(np.random.default_rng(1)), kind="flap", where=0.5)
    devices = (Device("drain", 0.5, 0, 2, 0, 300, 0), Device("clip", 0.5, 30, 1, 0, 8000, 0))
    plain = simulate(small(3, bleeds=(), openings=(), devices=()), anatomy)
    case = simulate(small(3, bleeds=(), openings=(opening,), devices=devices), anatomy)
    assert int(case.subtype.sum()) == 0
    assert float((case.hu - plain.hu).abs().max()) > 200


def test_the_finest_pixels_show_a_part_of_the_head_and_a_few_slices() -> None:
    drawn = [CaseParameters.draw(np.random.default_rng(seed), 1) for seed in range(400)]
    narrow = [case for case in drawn if case.width_mm[0] < 176]
    assert narrow
    assert all(case.slices == 4 for case in narrow if case.pose.offset_mm[2] < 45)


def test_a_voxel_is_labelled_if_blood_fills_half_of_it_and_shows() -> None:
    fine = torch.zeros(1, 1, 8, dtype=torch.uint8)
    fine[0, 0, :2] = Subtype.SDH  # fills the first slice
    fine[0, 0, 2] = Subtype.SDH  # half of the second
    fine[0, 0, 6:] = Subtype.SAH  # the last, without contrast
    visible = torch.tensor([True, True, False, False]).view(1, 1, 4)
    assert label_slices(fine, Subtype, visible, 2).flatten().tolist() == [Subtype.SDH, Subtype.SDH, 0, IGNORED]


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


def test_what_looks_like_bone_is_not_taught_as_blood(anatomy: Anatomy) -> None:
    rng = np.random.default_rng(0)
    along_the_skull = dataclasses.replace(
        Extraaxial.draw(rng, epidural=False), along="convexity", thickness_mm=6.0, extent_mm=80.0
    )
    case = simulate(small(3, bleeds=(along_the_skull,)), anatomy)
    blood = (case.subtype > 0) & (case.subtype != IGNORED)
    assert int(blood.sum()) > 50
    assert float(case.hu[blood].max()) <= 100
    assert bool(((case.subtype == IGNORED) & (case.hu > 100)).any())  # there was such blood
