"""Heads: mended, measured, posed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ICHSegmentationLib.simulation.anatomy import (
    BRAIN,
    FIELDS,
    REACH_MM,
    STEPS_PER_MM,
    Anatomy,
    Tissue,
    is_tissue,
)
from ICHSegmentationLib.simulation.pose import Pose, Step, pose_head, pose_matrix
from ICHSegmentationLib.simulation.procedural import procedural_anatomy

CPU = torch.device("cpu")
REST = Pose((0, 0, 0), (1, 1, 1), (0, 0, 0), False, (0, 0, 0), 0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    return procedural_anatomy(0, spacing_mm=3.0)


def field(anatomy: Anatomy, name: str) -> np.ndarray:
    return anatomy.distances[FIELDS.index(name)].astype(float) / STEPS_PER_MM


def test_distances_are_positive_inside_and_negative_outside(anatomy: Anatomy) -> None:
    brain = np.isin(anatomy.tissue, [*BRAIN, Tissue.VENTRICLE])
    assert field(anatomy, "brain")[brain].min() > 0
    assert field(anatomy, "brain")[~brain].max() < 0
    assert field(anatomy, "cavity")[brain].min() > -2
    assert np.abs(anatomy.distances).max() <= 127
    assert REACH_MM > 30


def test_the_brain_has_the_volume_of_a_brain_and_lies_within_bone(anatomy: Anatomy) -> None:
    millilitres = np.isin(anatomy.tissue, BRAIN).sum() * 27 / 1000
    assert 900 < millilitres < 1700
    outside = (field(anatomy, "cavity") < 0) & (field(anatomy, "cavity") > -2)
    vault = outside & (np.arange(anatomy.tissue.shape[2]) > anatomy.tissue.shape[2] * 0.6)
    bone = np.isin(anatomy.tissue, [Tissue.CORTICAL_BONE, Tissue.CANCELLOUS_BONE])
    assert bone[vault].mean() > 0.95


def test_left_is_left_and_the_cerebellum_lies_below_the_tentorium(anatomy: Anatomy) -> None:
    x = np.arange(anatomy.tissue.shape[0])[:, None, None]
    middle = anatomy.tissue.shape[0] / 2
    brain = np.isin(anatomy.tissue, BRAIN)
    assert (field(anatomy, "midline")[brain & (x < middle - 5)] > 0).mean() > 0.95
    cerebellum = np.isin(anatomy.tissue, [Tissue.CEREBELLUM_GREY, Tissue.CEREBELLUM_WHITE])
    assert (field(anatomy, "tentorium")[cerebellum] < 0).all()


def test_an_anatomy_comes_back_from_disk(anatomy: Anatomy, tmp_path: Path) -> None:
    anatomy.save(tmp_path / "head.npz")
    loaded = Anatomy.load(tmp_path / "head.npz")
    assert np.array_equal(loaded.tissue, anatomy.tissue)
    assert np.array_equal(loaded.distances, anatomy.distances)
    assert loaded.spacing_mm == anatomy.spacing_mm


def test_a_head_at_rest_is_the_anatomy(anatomy: Anatomy) -> None:
    size = anatomy.tissue.shape
    head = pose_head(anatomy, REST, size, (3.0,) * 3, CPU)
    # the grid is centred on the brain: compare what both see of it
    brain = int(is_tissue(head.tissue, BRAIN).sum())
    assert brain == pytest.approx(np.isin(anatomy.tissue, BRAIN).sum(), rel=0.03)


def test_scaling_a_head_scales_its_brain(anatomy: Anatomy) -> None:
    size = (80, 90, 80)
    volumes = []
    for factor in (1.0, 1.1):
        pose = dataclasses.replace(REST, scale=(factor,) * 3)
        volumes.append(int(is_tissue(pose_head(anatomy, pose, size, (3.0,) * 3, CPU).tissue, BRAIN).sum()))
    assert volumes[1] / volumes[0] == pytest.approx(1.1**3, rel=0.03)


def test_a_pose_matrix_is_a_rotation_where_nothing_else_is_asked() -> None:
    matrix = pose_matrix(dataclasses.replace(REST, rotation_deg=(10.0, -20.0, 30.0)))
    assert matrix @ matrix.T == pytest.approx(np.eye(3))
    assert np.linalg.det(matrix) == pytest.approx(1)
    assert np.linalg.det(pose_matrix(dataclasses.replace(REST, mirrored=True))) == pytest.approx(-1)


def test_growth_fills_the_sulci_and_atrophy_widens_them(anatomy: Anatomy) -> None:
    size = (70, 80, 70)
    fluid = []
    for growth in (-2.0, 0.0, 3.0):
        head = pose_head(anatomy, dataclasses.replace(REST, brain_growth_mm=growth), size, (3.0,) * 3, CPU)
        fluid.append(int(((head.tissue == Tissue.CSF) & (head.cavity_mm > 0)).sum()))
    assert fluid[0] > fluid[1] > fluid[2]


def test_ventricles_grow_and_shrink(anatomy: Anatomy) -> None:
    size = (70, 80, 70)
    volumes = []
    for growth in (-1.5, 0.0, 3.0):
        head = pose_head(anatomy, dataclasses.replace(REST, ventricle_growth_mm=growth), size, (3.0,) * 3, CPU)
        volumes.append(int((head.tissue == Tissue.VENTRICLE).sum()))
    assert volumes[0] < volumes[1] < volumes[2]


def test_a_drawn_pose_is_json_and_follows_its_seed() -> None:
    first, second, other = (Pose.draw(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == second != other
    assert json.loads(json.dumps(dataclasses.asdict(first)))["warp_seed"] == first.warp_seed


def test_groups_of_tissues_are_found_whether_their_numbers_follow_or_not() -> None:
    tissue = torch.arange(len(Tissue), dtype=torch.uint8)
    for group in (BRAIN, (Tissue.SKIN, Tissue.SINUS, Tissue.CORD), (Tissue.AIR,)):
        found = is_tissue(tissue, group)
        assert found.nonzero().flatten().tolist() == sorted(group)


def test_a_tilted_gantry_shears_the_head_and_keeps_its_volume(anatomy: Anatomy) -> None:
    matrix = pose_matrix(dataclasses.replace(REST, gantry_tilt_deg=20.0))
    assert np.linalg.det(matrix) == pytest.approx(1)
    assert np.linalg.norm(matrix[:, 1]) == pytest.approx(1)  # pixels keep their size
    lean = np.degrees(np.arccos(matrix[:, 1] @ matrix[:, 2] / np.linalg.norm(matrix[:, 2])))
    assert lean == pytest.approx(70)
    straight, tilted = (
        pose_head(anatomy, dataclasses.replace(REST, gantry_tilt_deg=degrees), (64, 80, 70), (3.0, 3.0, 3.0), CPU)
        for degrees in (0.0, 20.0)
    )
    volumes = [float(is_tissue(head.tissue, BRAIN).sum()) for head in (straight, tilted)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.03)


def test_after_a_step_what_lies_above_is_moved_and_what_lies_below_is_not(anatomy: Anatomy) -> None:
    grid = ((64, 80, 60), (3.0, 3.0, 3.0))
    pose = dataclasses.replace(REST, offset_mm=(0.4, 0.4, 0.4))  # no voxel lies half way between two of the anatomy
    still = pose_head(anatomy, pose, *grid, CPU)
    moved = pose_head(anatomy, dataclasses.replace(pose, step=Step(0.5, (6.0, -3.0), 0.0)), *grid, CPU)
    assert torch.equal(still.tissue[:, :, :30], moved.tissue[:, :, :30])
    assert torch.equal(torch.roll(still.tissue, (2, -1), (0, 1))[4:-4, 4:-4, 30:], moved.tissue[4:-4, 4:-4, 30:])
