"""Bleeds lie where their kind lies, with about the volume that was drawn."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from test_anatomy import REST

from ICHSegmentationLib.simulation.anatomy import Head, Tissue
from ICHSegmentationLib.simulation.blood import Blood, Subtype
from ICHSegmentationLib.simulation.extraaxial import Extraaxial, Fluid
from ICHSegmentationLib.simulation.fluid_bleeds import Intraventricular, Subarachnoid
from ICHSegmentationLib.simulation.hemorrhage import draw_bleeds, place_bleeds
from ICHSegmentationLib.simulation.parenchymal import Parenchymal
from ICHSegmentationLib.simulation.places import pick_voxel
from ICHSegmentationLib.simulation.pose import pose_head
from ICHSegmentationLib.simulation.procedural import procedural_anatomy

CPU = torch.device("cpu")


def head() -> Head:
    pose = dataclasses.replace(REST, brain_growth_mm=-1.0, ventricle_growth_mm=1.5)
    return pose_head(ANATOMY, pose, (110, 130, 100), (1.5, 1.5, 1.5), CPU)


ANATOMY = procedural_anatomy(0, spacing_mm=3.0)
RNG = np.random.default_rng


def placed(*bleeds: object) -> tuple[Head, torch.Tensor]:
    after, bleeding = place_bleeds(head(), list(bleeds))
    return after, bleeding.subtype


@pytest.mark.parametrize("volume_ml", [1.0, 10.0, 40.0])
def test_a_parenchymal_bleed_has_about_its_volume(volume_ml: float) -> None:
    bleed = dataclasses.replace(Parenchymal.draw(RNG(0), contusion=False), region="lobar", volume_ml=volume_ml)
    bleed = dataclasses.replace(bleed, where=0.5, roughness=0.1, fine_roughness=0.0)
    _, subtype = placed(bleed)
    assert float((subtype == Subtype.IPH).sum()) * 1.5**3 / 1000 == pytest.approx(volume_ml, rel=0.35)


def test_satellites_lie_free_of_the_bleed_but_near() -> None:
    alone = dataclasses.replace(
        Parenchymal.draw(RNG(0), contusion=False),
        region="lobar",
        volume_ml=12.0,
        where=0.5,
        roughness=0.1,
        satellites=0,
    )
    _, without = placed(alone)
    _, with_some = placed(dataclasses.replace(alone, satellites=4))
    added = (with_some > 0) & (without == 0)
    _, parts = ndimage.label((with_some > 0).numpy())
    assert int(added.sum()) > 5
    assert parts >= 3
    assert bool((with_some[without > 0] > 0).all())
    apart_mm = ndimage.distance_transform_edt((without == 0).numpy()) * 1.5
    assert apart_mm[added.numpy()].max() < 40


def test_an_epidural_bleed_lies_against_the_skull_and_pushes_the_brain_away() -> None:
    before = head()
    bleed = dataclasses.replace(Extraaxial.draw(RNG(0), epidural=True), thickness_mm=12.0, extent_mm=35.0, push=1.0)
    after, subtype = placed(bleed)
    blood = subtype == Subtype.EDH
    assert int(blood.sum()) > 100
    depth = before.cavity_mm[blood]
    assert float(depth.min()) < 2.5
    assert float(depth.max()) < 12 * 1.8
    assert float(after.brain_mm[blood].mean()) < float(before.brain_mm[blood].mean()) - 2


def test_fluid_in_the_pocket_of_a_bleed_lies_on_the_side_of_the_skull_and_is_no_blood() -> None:
    before = head()
    fluid = Fluid(share=0.5, lobed=0.0, hu=12.0, air=1.5, air_hu=-700.0, seed=1)
    bleed = Extraaxial.draw(RNG(0), epidural=True)
    bleed = dataclasses.replace(bleed, thickness_mm=14.0, extent_mm=35.0, fluid=fluid)
    _, without = place_bleeds(head(), [dataclasses.replace(bleed, fluid=None)])
    _, bleeding = place_bleeds(head(), [bleed])
    assert without.fluid_hu is None
    assert bleeding.fluid_hu is not None
    dark = ~bleeding.fluid_hu.isnan()
    blood = bleeding.subtype == Subtype.EDH
    assert not bool((dark & blood).any())
    assert torch.equal(dark | blood, without.subtype == Subtype.EDH)  # the pocket is as large
    assert float(before.cavity_mm[dark].mean()) < float(before.cavity_mm[blood].mean()) - 2
    assert set(bleeding.fluid_hu[dark].tolist()) == {12.0, -700.0}


def test_later_bleeds_leave_that_fluid_as_it_is() -> None:
    fluid = Fluid(share=0.6, lobed=0.0, hu=12.0, air=9.0, air_hu=-700.0, seed=1)
    first = dataclasses.replace(Extraaxial.draw(RNG(0), epidural=True), thickness_mm=14.0, extent_mm=35.0, fluid=fluid)
    _, alone = place_bleeds(head(), [first])
    second = dataclasses.replace(first, epidural=False, thickness_mm=20.0, extent_mm=45.0, fluid=None)
    _, both = place_bleeds(head(), [first, second])
    assert alone.fluid_hu is not None
    assert both.fluid_hu is not None
    assert torch.equal(alone.fluid_hu.isnan(), both.fluid_hu.isnan())
    assert not bool((both.subtype[~both.fluid_hu.isnan()] > 0).any())
    assert bool((both.subtype == Subtype.SDH).any())


def test_the_brain_gives_way_as_far_whatever_the_grid() -> None:
    bleed = dataclasses.replace(Extraaxial.draw(RNG(0), epidural=False), along="convexity", thickness_mm=10.0, push=1.0)
    depths = []
    for size, spacing in (((110, 130, 100), (1.5, 1.5, 1.5)), ((110, 130, 5), (1.5, 1.5, 3.0))):
        pose = dataclasses.replace(REST, offset_mm=(0.0, 0.0, 25.0))
        before = pose_head(ANATOMY, pose, size, spacing, CPU)
        after, bleeding = place_bleeds(before, [dataclasses.replace(bleed, where=0.5, extent_mm=60.0)])
        middle = size[2] // 2
        blood = bleeding.subtype[:, :, middle] > 0
        depths.append(float((before.brain_mm - after.brain_mm)[:, :, middle][blood].mean()))
    assert depths[0] > 1
    assert depths[1] == pytest.approx(depths[0], rel=0.5)


@pytest.mark.parametrize("along", ["convexity", "falx", "tentorium"])
def test_a_subdural_bleed_follows_the_membrane_it_is_named_for(along: str) -> None:
    bleed = dataclasses.replace(Extraaxial.draw(RNG(3), epidural=False), along=along, thickness_mm=6.0, extent_mm=45.0)
    before = head()
    _, subtype = placed(bleed)
    blood = subtype == Subtype.SDH
    assert int(blood.sum()) > 50
    distance = {"convexity": before.cavity_mm, "falx": before.midline_mm.abs(), "tentorium": before.tentorium_mm.abs()}
    assert float(distance[along][blood].quantile(0.9)) < 6 * 1.6


def test_subarachnoid_blood_lies_in_fluid_and_parts_the_surfaces_of_the_brain_by_as_much_as_drawn() -> None:
    beyond = []
    for opening_mm in (0.0, 2.0):
        bleed = dataclasses.replace(
            Subarachnoid.draw(RNG(0)), basal=True, radius_mm=30.0, seed=2, opening_mm=opening_mm
        )
        after, subtype = placed(bleed)
        blood = subtype == Subtype.SAH
        beyond_fluid = blood & (after.tissue != Tissue.CSF)
        assert bool((after.brain_mm[beyond_fluid] < opening_mm + max(0.0, after.growth_mm)).all())
        assert bool((after.cavity_mm[blood] > 0).all())
        assert int(blood.sum()) > 50
        beyond.append(int(beyond_fluid.sum()))
    assert beyond[0] < 0.1 * beyond[1]


def test_settled_intraventricular_blood_lies_at_the_back_of_the_ventricles() -> None:
    bleed = dataclasses.replace(Intraventricular.draw(RNG(0)), form="settled", level=0.2)
    after, subtype = placed(bleed)
    blood = (subtype == Subtype.IVH).nonzero()
    ventricle = (after.tissue == Tissue.VENTRICLE).nonzero()
    assert 0.1 < len(blood) / len(ventricle) < 0.4
    assert blood[:, 1].max() <= ventricle[:, 1].float().quantile(0.25)


def test_a_cast_fills_the_ventricles() -> None:
    after, subtype = placed(dataclasses.replace(Intraventricular.draw(RNG(0)), form="cast"))
    assert torch.equal(subtype == Subtype.IVH, after.tissue == Tissue.VENTRICLE)


def test_no_bleeds_leave_the_head_as_it_was() -> None:
    before = head()
    after, subtype = placed()
    assert int(subtype.sum()) == 0
    assert torch.equal(after.tissue, before.tissue)


def test_a_quarter_of_heads_has_no_bleed_and_all_kinds_occur() -> None:
    drawn = [draw_bleeds(RNG(seed)) for seed in range(600)]
    assert sum(not bleeds for bleeds in drawn) / 600 == pytest.approx(0.25, abs=0.06)
    assert {bleed.subtype for bleeds in drawn for bleed in bleeds} == set(Subtype)


def test_drawn_volumes_span_what_real_ones_do() -> None:
    volumes = [Parenchymal.draw(RNG(seed), contusion=False).volume_ml for seed in range(500)]
    assert min(volumes) >= 0.05
    assert max(volumes) <= 120
    assert np.median(volumes) == pytest.approx(7.0, rel=0.35)


def test_picking_from_nothing_gives_nothing() -> None:
    assert pick_voxel(torch.zeros(2, 2, 2, dtype=torch.bool), 0.5) is None
    assert pick_voxel(torch.ones(1, 1, 1, dtype=torch.bool), 1.0) is not None


def test_a_satellite_beyond_the_slices_of_a_slab_is_left_out() -> None:
    slab = pose_head(ANATOMY, REST, (110, 130, 4), (1.5, 1.5, 1.5), CPU)
    bleed = dataclasses.replace(Parenchymal.draw(RNG(0), contusion=False), region="lobar", volume_ml=60.0, where=0.5)
    for seed in range(5):
        place_bleeds(slab, [dataclasses.replace(bleed, satellites=4, turn_seed=seed)])


def test_bleeds_are_about_as_dense_as_real_ones(shared_data: Path) -> None:
    """A little denser than whole real lesions, whose rim is diluted; the faint ones are not left out."""
    with (shared_data / "hemorrhage-statistics" / "BHSD_HU_distributions.csv").open() as file:
        rows = list(csv.DictReader(file))
    rng = RNG(0)
    for subtype in Subtype:
        hu, weight = (np.array([float(row[f"{subtype.name}_{column}"]) for row in rows]) for column in ("HU", "weight"))
        faintest_fifth = float(hu[np.cumsum(weight) / weight.sum() < 0.2].max())  # the densities rise
        drawn = np.array([Blood.draw(rng, subtype).hu for _ in range(2000)])
        assert np.average(hu, weights=weight) < drawn.mean() < np.average(hu, weights=weight) + 8, subtype
        assert np.quantile(drawn, 0.2) < faintest_fifth + 6, subtype
