"""nnU-Net's raw layout: what is written is read back the same, and what does not fit is said in one sentence."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import head_with_ball

from ICHSegmentationLib.data.nnunet import (
    LabelledScan,
    RawDataset,
    groups_of,
    read_raw,
    read_raw_case,
    write_nnunet_raw,
)
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.volume import as_volume

HEAD = head_with_ball((8.0, 8.0, 12.0))
# oblique, mirrored, anisotropic: what a scanner may give
TURNED = np.array([[-7.6, 1.7, 0.0, 100.0], [-2.47, -5.23, 0.0, 80.0], [0.0, 0.0, 12.0, -40.0], [0.0, 0.0, 0.0, 1.0]])


def scan(name: str, affine: np.ndarray = HEAD.affine) -> LabelledScan:
    label = (HEAD.hu > 60) & (HEAD.hu < 200)
    return LabelledScan(name, Volume(HEAD.hu, affine), label.astype(np.uint8))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    assert write_nnunet_raw([scan("ICH_001"), scan("ICH_002", TURNED)], tmp_path / "raw") == 2
    return tmp_path / "raw"


def test_what_is_written_is_read_back_with_its_geometry(raw: Path) -> None:
    dataset = read_raw(raw)
    assert [case.name for case in dataset.cases] == ["ICH_001", "ICH_002"]
    assert (dataset.labels, dataset.ignored) == ({"background": 0, "hemorrhage": 1}, None)
    for case, affine in zip(dataset.cases, (HEAD.affine, TURNED), strict=True):
        found = read_raw_case(dataset, case)
        assert np.array_equal(found.volume.hu, np.rint(HEAD.hu))
        assert np.array_equal(found.label, scan("x").label)
        assert found.label.any()
        assert np.allclose(found.volume.affine, affine, atol=1e-4)


def test_cases_of_one_head_are_written_and_read_with_their_group(tmp_path: Path) -> None:
    scans = [
        dataclasses.replace(scan(name), group=group) for name, group in (("a", "head"), ("b", "head"), ("c", None))
    ]
    write_nnunet_raw(scans, tmp_path)
    assert groups_of(tmp_path) == {"a": "head", "b": "head"}
    dataset = read_raw(tmp_path)
    assert [case.group for case in dataset.cases] == ["head", "head", "c"]
    assert read_raw_case(dataset, dataset.cases[1]).group == "head"
    (tmp_path / "groups.json").write_text('["head"]')
    with pytest.raises(InputError, match="names no groups; an object"):
        read_raw(tmp_path)


def test_without_groups_each_case_stands_alone(raw: Path) -> None:
    assert groups_of(raw) == {}
    assert not (raw / "groups.json").exists()
    assert [case.group for case in read_raw(raw).cases] == ["ICH_001", "ICH_002"]


def test_a_folder_is_a_data_set_only_when_all_of_it_is_written(tmp_path: Path) -> None:
    wrong = dataclasses.replace(scan("b"), label=np.full(HEAD.hu.shape, 3, np.uint8))
    with pytest.raises(InputError, match="case b: its label holds 3"):
        write_nnunet_raw([scan("a"), wrong], tmp_path)
    with pytest.raises(InputError, match="it has no readable"):
        read_raw(tmp_path)
    assert write_nnunet_raw([scan("a")], tmp_path / "again") == 1
    with pytest.raises(InputError, match="already holds a data set"):
        write_nnunet_raw([scan("a")], tmp_path / "again")


def change(**entries: object) -> Callable[[Path], None]:
    def do(raw: Path) -> None:
        path = raw / "dataset.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))

    return do


def write_label(array: np.ndarray, affine: np.ndarray = HEAD.affine) -> Callable[[Path], None]:
    return lambda raw: write_image_file(raw / "labelsTr" / "ICH_001.nii.gz", array.astype(np.uint8), affine, {})


def moved(mm: float) -> np.ndarray:
    affine = HEAD.affine.copy()
    affine[0, 3] += mm
    return affine


NO_LABEL = np.zeros(HEAD.hu.shape)
LABELS = {"background": 0, "hemorrhage": 1}
MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no dataset.json": (lambda raw: (raw / "dataset.json").unlink(), "no readable dataset.json"),
    "dataset.json is no JSON": (lambda raw: (raw / "dataset.json").write_text("{"), "is not valid JSON"),
    "dataset.json is a list": (lambda raw: (raw / "dataset.json").write_text("[]"), "holds list; an object"),
    "no channels": (change(channel_names={}), 'no "channel_names"'),
    "several channels": (change(channel_names={"0": "CT", "1": "T1"}), r"has 2 channels \(CT, T1\); scans of one"),
    "a list of files": (change(dataset={"a": {}}), "lists its files itself"),
    "labels as in nnU-Net v1": (change(labels={"0": "background", "1": "bleed"}), r'"background": 0'),
    "a label in words": (change(labels={"background": 0, "bleed": "1"}), "the label 'bleed' the value '1'"),
    "nothing but background": (change(labels={"background": 0}), "names no label but background"),
    "an unknown ending": (change(file_ending=".png"), "'.png'; one of .nii, .nii.gz"),
    "another number of cases": (change(numTraining=9), '"numTraining": 9; imagesTr holds 2 cases'),
    "no imagesTr": (lambda raw: (raw / "imagesTr").rename(raw / "images"), "no folder .*imagesTr"),
    "no cases": (lambda raw: [file.unlink() for file in (raw / "imagesTr").iterdir()], "holds no case"),
    "a missing label": (lambda raw: (raw / "labelsTr" / "ICH_001.nii.gz").unlink(), "no ICH_001.nii.gz in labelsTr"),
    "a missing image": (lambda raw: (raw / "imagesTr" / "ICH_001_0000.nii.gz").unlink(), "no ICH_001_0000.nii.gz"),
    "an image without its channel": (
        lambda raw: (raw / "imagesTr" / "ICH_001_0000.nii.gz").rename(raw / "imagesTr" / "ICH_001.nii.gz"),
        "is not named CASE_0000.nii.gz",
    ),
    "another shape": (write_label(NO_LABEL[1:]), r"ICH_001: the image has \[22, 26, 12\] voxels and its label \[21"),
    "another spacing": (
        write_label(NO_LABEL, as_volume(NO_LABEL, (8.0, 8.0, 11.0)).affine),
        r"voxels of \(8.0, 8.0, 12.0\) mm and its label of \(8.0, 8.0, 11.0\) mm",
    ),
    "another place": (write_label(NO_LABEL, moved(3.0)), "image and label lie up to 3.00 mm apart"),
    "a value of no name": (write_label(NO_LABEL + 4), r"its label holds 4, .* \(it names 0, 1\)"),
    "a damaged image": (
        lambda raw: (raw / "imagesTr" / "ICH_001_0000.nii.gz").write_bytes(b"no image"),
        "case ICH_001: .*damaged",
    ),
}


@pytest.mark.parametrize(("mistake", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_data_set_that_does_not_fit_is_refused_in_one_sentence(
    raw: Path, mistake: Callable[[Path], object], message: str
) -> None:
    mistake(raw)
    with pytest.raises(InputError, match=message) as refused:
        read_all(raw)
    assert "\n" not in str(refused.value)


def read_all(raw: Path) -> RawDataset:
    dataset = read_raw(raw)
    for case in dataset.cases:
        read_raw_case(dataset, case)
    return dataset


def test_a_grid_that_is_off_by_rounding_is_the_same(raw: Path) -> None:
    write_label(NO_LABEL, moved(1e-3))(raw)
    read_all(raw)


def test_regions_and_an_ignore_label_are_understood(raw: Path) -> None:
    change(labels={"background": 0, "whole": [1, 2], "core": 2, "ignore": 3})(raw)
    write_label(np.arange(NO_LABEL.size).reshape(NO_LABEL.shape) % 4)(raw)
    dataset = read_all(raw)
    assert (dataset.values, dataset.ignored) == ({0, 1, 2, 3}, 3)
