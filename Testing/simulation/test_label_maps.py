"""Label maps from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.simulation.anatomy import BRAIN
from ICHSegmentationLib.simulation.label_maps import load_anatomies, read_label_map
from ICHSegmentationLib.simulation.procedural import procedural_anatomy, procedural_labels

LABELS = procedural_labels(0, 4.0).astype(np.int16)


@pytest.mark.parametrize("flips", [(), (0,), (0, 1, 2)])
def test_a_map_in_any_direction_is_turned_to_ras(tmp_path: Path, flips: tuple[int, ...]) -> None:
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    for axis in flips:
        affine[axis] *= -1
    write_image_file(tmp_path / "head.nii.gz", np.flip(LABELS, flips), affine, {})
    assert np.array_equal(read_label_map(tmp_path / "head.nii.gz").tissue, procedural_anatomy(0, 4.0).tissue)


def test_maps_are_measured_once(tmp_path: Path) -> None:
    write_image_file(tmp_path / "maps.nii.gz", LABELS, np.diag([4.0, 4.0, 4.0, 1.0]), {})
    (first,) = load_anatomies(tmp_path, tmp_path / "cache")
    kept = tmp_path / "cache" / "maps.npz"
    written = kept.stat().st_mtime_ns
    (second,) = load_anatomies(tmp_path, tmp_path / "cache")
    assert kept.stat().st_mtime_ns == written
    assert np.array_equal(first.distances, second.distances)


def test_voxels_that_are_no_cubes_are_refused(tmp_path: Path) -> None:
    write_image_file(tmp_path / "head.nii.gz", LABELS, np.diag([4.0, 4.0, 5.0, 1.0]), {})
    with pytest.raises(InputError, match="cubic voxels are wanted"):
        read_label_map(tmp_path / "head.nii.gz")


def test_a_folder_without_maps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no label maps"):
        load_anatomies(tmp_path, tmp_path / "cache")


def test_the_shared_label_maps_are_understood(shared_data: Path) -> None:
    anatomy = read_label_map(shared_data / "label-maps" / "training_seg_13.nii.gz")
    assert 900 < np.isin(anatomy.tissue, BRAIN).sum() / 1000 < 1600
