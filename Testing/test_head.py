"""The head and its cavity are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import head_with_ball

from ICHSegmentationLib.head import find_head
from ICHSegmentationLib.quality import mended_values
from ICHSegmentationLib.regular import RegularGrid
from ICHSegmentationLib.volume import read_volume


def test_the_box_holds_the_head_and_leaves_the_air_out() -> None:
    volume = head_with_ball(spacing_mm=(1.0, 1.0, 5.0), extent_mm=(300.0, 300.0, 170.0))
    box = find_head(volume.hu, volume.spacing_mm).box
    tissue = volume.hu > -500
    assert tissue[box].sum() == tissue.sum()
    assert 160 < box[0].stop - box[0].start < 200
    assert box[2] == slice(0, volume.hu.shape[2])


def test_the_cavity_has_the_volume_of_the_ellipsoid() -> None:
    volume = head_with_ball(spacing_mm=(1.0, 1.0, 2.0))
    expected = 4 / 3 * np.pi * 72 * 88 * 70 * 0.96**3 / 1000
    assert find_head(volume.hu, volume.spacing_mm).cavity_ml == pytest.approx(expected, rel=0.08)


def test_a_table_behind_the_head_is_not_part_of_it() -> None:
    volume = head_with_ball(extent_mm=(260.0, 300.0, 150.0))
    with_table = volume.hu.copy()
    with_table[:, 8:11, :] = 200
    assert find_head(with_table, volume.spacing_mm).box == find_head(volume.hu, volume.spacing_mm).box


def test_air_alone_gives_the_whole_volume_and_no_cavity() -> None:
    head = find_head(np.full((40, 40, 4), -1000.0, np.float32), (1.0, 1.0, 5.0))
    assert head.box == (slice(0, 40), slice(0, 40), slice(0, 4))
    assert head.cavity_ml == 0


def test_one_slice_will_do() -> None:
    volume = head_with_ball(extent_mm=(180.0, 210.0, 5.0))
    assert find_head(volume.hu, volume.spacing_mm).cavity_cm2[0] > 100


def test_the_real_head_has_the_cavity_of_a_head(shared_data: Path) -> None:
    volume = mended_values(read_volume(shared_data / "head-ct-dicom"))
    grid = RegularGrid(volume)
    assert 1000 < find_head(grid.forward(volume.hu), grid.spacing_mm).cavity_ml < 1700
