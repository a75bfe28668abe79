"""Hardware lies where its kind lies, as thick and long as drawn."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from test_hemorrhage import head

from ICHSegmentationLib.simulation.anatomy import Head, Tissue
from ICHSegmentationLib.simulation.hardware import KINDS, Device, draw_devices, from_segment_mm, insert_device


def head_with_a_jaw() -> Head:
    plain = head()
    plain.tissue[45:65, 100:110, 2:8] = Tissue.CORTICAL_BONE  # the procedural head has none
    plain.cavity_mm[45:65, 100:110, 2:8] = -31.75
    return plain


HEAD = head_with_a_jaw()
BLANK = torch.full(HEAD.size, 30.0)


def inserted(device: Device, into: Head = HEAD) -> torch.Tensor:
    after = BLANK.clone()
    insert_device(after, into, device)
    return after


def test_a_rod_has_the_volume_of_its_length_and_radius() -> None:
    clip = Device("clip", 0.5, 40.0, 2.0, 0.0, 1030.0, 1)
    volume_mm3 = float((inserted(clip) - BLANK).sum()) / 1000 * HEAD.voxel_ml * 1000
    assert volume_mm3 == pytest.approx(math.pi * 4 * 40 + 4 / 3 * math.pi * 8, rel=0.15)


def test_a_clip_lies_on_the_scalp() -> None:
    changed = inserted(Device("clip", 0.5, 10.0, 1.0, 0.0, 8000.0, 1)) != BLANK
    assert float(HEAD.cavity_mm[changed].max()) < 0


def test_a_tube_is_hollow() -> None:
    after = inserted(Device("tube", 0.5, 60.0, 5.0, 1.6, 300.0, 1))
    assert float(after.max()) > 200
    assert float(after.min()) < -900


def test_a_drain_runs_from_outside_the_inner_table_into_a_ventricle() -> None:
    changed = inserted(Device("drain", 0.5, 0.0, 1.5, 0.0, 300.0, 1)) != BLANK
    assert float(HEAD.cavity_mm[changed].min()) < -3
    assert bool((HEAD.tissue[changed] == Tissue.VENTRICLE).any())


def test_a_coil_lies_in_the_basal_cisterns_and_a_filling_in_the_jaw() -> None:
    coil = inserted(Device("coil", 0.5, 0.0, 2.0, 0.0, 8000.0, 1)) != BLANK
    assert float(HEAD.cavity_mm[coil].min()) > 0
    tooth = inserted(Device("tooth", 0.5, 0.0, 2.0, 0.0, 8000.0, 1)) != BLANK
    assert int(tooth.nonzero()[:, 2].max()) < 12


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_head_without_the_place_gets_no_device(kind: str) -> None:
    nothing = dataclasses.replace(
        HEAD, tissue=torch.full_like(HEAD.tissue, Tissue.SOFT), brain_mm=torch.full_like(HEAD.brain_mm, -5.0)
    )
    assert torch.equal(inserted(Device(kind, 0.5, 10.0, 2.0, 0.0, 500.0, 1), nothing), BLANK)


def test_distances_from_a_segment_are_those_of_geometry() -> None:
    start, end = np.array([60.0, 60.0, 60.0]), np.array([60.0, 60.0, 90.0])
    box, distance = from_segment_mm(HEAD, start, end, reach_mm=10.0)
    x, _, z = (torch.arange(side.start, side.stop) * 1.5 for side in box)
    column = int((box[1].stop - box[1].start) // 2)
    y = (box[1].start + column) * 1.5 - 60
    beyond = (60 - z).clamp_min(0) + (z - 90).clamp_min(0)
    expected = ((x[:, None] - 60) ** 2 + y**2 + beyond[None] ** 2).sqrt()
    assert torch.allclose(distance[:, column], expected, atol=1e-3)


def test_all_kinds_are_drawn_and_most_heads_have_none() -> None:
    drawn = [draw_devices(np.random.default_rng(seed)) for seed in range(600)]
    assert {device.kind for devices in drawn for device in devices} == set(KINDS)
    assert np.mean([not devices for devices in drawn]) > 0.7
