"""Real cases into a pool: as the network will see them, once, and anew when their files change."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers import head_with_ball

from ICHSegmentationLib.data.nnunet import BLEED_LABELS, LabelledScan, read_raw, read_raw_case, write_nnunet_raw
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.training.importing import AS_BLEED, AS_SUBTYPES, import_raw, labelled_scan
from ICHSegmentationLib.training.pool import UNTOLD, claim, group_of, read_case

HEAD = head_with_ball((6.0, 6.0, 10.0))
BALL = ((HEAD.hu > 60) & (HEAD.hu < 200)).astype(np.uint8)
STACKED_FIRST = np.array([[0.0, 6.0, 0.0, 0.0], [0.0, 0.0, 6.0, 0.0], [10.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])


def write(raw: Path, hu: np.ndarray = HEAD.hu, label: np.ndarray = BALL, affine: np.ndarray = HEAD.affine) -> None:
    labels = {"background": 0, "SDH": 1, "haematoma": 2, "ignore": 3}
    write_nnunet_raw([LabelledScan("ICH_001", Volume(np.asfortranarray(hu), affine), label)], raw, labels)


def test_a_case_lies_in_the_pool_as_the_network_will_see_it(tmp_path: Path) -> None:
    hu, label = HEAD.hu.copy(), BALL.copy()
    hu[0, 0] = -3024  # a scanner's padding
    label[:2, :2, :2] = [[[2, 3], [2, 3]]] * 2
    write(tmp_path / "raw", hu, label)
    (folder,) = import_raw(read_raw(tmp_path / "raw"), tmp_path / "pool")
    case = read_case(folder)
    assert case.name == "ICH_001"
    assert case.spacing_mm == pytest.approx((6.0, 6.0, 10.0), rel=1e-5)
    assert np.array_equal(case.hu, np.rint(hu).clip(-1024))
    assert set(np.unique(case.label)) == {0, 4, UNTOLD, IGNORED}
    assert np.array_equal(case.label == 4, label == 1)


def test_slices_are_stacked_along_z_whatever_the_axes_of_the_file(tmp_path: Path) -> None:
    """The first axis of these files runs along the stack of thick slices."""
    write(tmp_path / "raw", HEAD.hu.transpose(2, 0, 1), BALL.transpose(2, 0, 1), STACKED_FIRST)
    (folder,) = import_raw(read_raw(tmp_path / "raw"), tmp_path / "pool")
    case = read_case(folder)
    assert case.spacing_mm == pytest.approx((6.0, 6.0, 10.0), rel=1e-5)
    assert case.hu.shape == HEAD.hu.shape
    assert int((case.label == 4).sum()) == int(BALL.sum())
    assert (case.hu[case.label == 4] == 70).all()


def test_a_case_is_read_once_and_again_when_its_files_change(tmp_path: Path) -> None:
    raw, pool = tmp_path / "raw", tmp_path / "pool"
    write(raw)
    (folder,) = import_raw(read_raw(raw), pool)
    written = (folder / "hu.npy").stat().st_mtime_ns
    import_raw(read_raw(raw), pool)
    assert (folder / "hu.npy").stat().st_mtime_ns == written
    write_image_file(raw / "labelsTr" / "ICH_001.nii.gz", BALL * 0, HEAD.affine, {})
    import_raw(read_raw(raw), pool)
    assert not np.asarray(read_case(folder).label).any()


def test_the_head_of_a_case_goes_from_pool_to_data_set_and_back(tmp_path: Path) -> None:
    raw, pool = tmp_path / "raw", tmp_path / "pool"
    scan = LabelledScan("a", HEAD, BALL, "head 7")
    write_nnunet_raw([scan, dataclasses.replace(scan, name="b", group=None)], raw, BLEED_LABELS)
    folders = import_raw(read_raw(raw), pool)
    assert [group_of(folder) for folder in folders] == ["head 7", "b"]
    assert labelled_scan(folders[0], AS_BLEED).group == "head 7"
    (raw / "groups.json").write_text('{"a": "head 8"}')
    assert group_of(import_raw(read_raw(raw), pool)[0]) == "head 8"


def test_a_pool_of_other_data_is_not_mixed_with_this(tmp_path: Path) -> None:
    write(tmp_path / "raw")
    claim(tmp_path / "pool", {"simulation seed": 3})
    with pytest.raises(InputError, match=r"is of simulation seed 3; this one is of nnU-Net raw data set .*raw"):
        import_raw(read_raw(tmp_path / "raw"), tmp_path / "pool")


def test_a_scan_that_is_no_ct_is_named(tmp_path: Path) -> None:
    write(tmp_path / "raw", np.abs(HEAD.hu) / 2000)
    with pytest.raises(InputError, match="case ICH_001: "):
        import_raw(read_raw(tmp_path / "raw"), tmp_path / "pool")


def test_a_simulated_case_is_exported_with_its_spacing_and_without_what_cannot_be_seen(
    pool: Path, tmp_path: Path
) -> None:
    folder = pool / "case_000001"
    case = read_case(folder)
    write_nnunet_raw([labelled_scan(folder, AS_BLEED)], tmp_path / "raw", BLEED_LABELS)
    dataset = read_raw(tmp_path / "raw")
    found = read_raw_case(dataset, dataset.cases[0])
    assert found.volume.spacing_mm == pytest.approx(case.spacing_mm)
    assert np.array_equal(found.volume.hu, case.hu)
    assert np.array_equal(found.label, (case.label > 0) & (np.asarray(case.label) != IGNORED))
    subtypes = dataclasses.replace(found, label=labelled_scan(folder, AS_SUBTYPES).label)
    assert set(np.unique(subtypes.label)) == {0, 1}
