"""Three published data sets in their published layouts, converted, and what is wrong with them told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ICHSegmentationLib.cli import main
from ICHSegmentationLib.data.nnunet import SUBTYPE_LABELS, read_raw, read_raw_case
from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.volume import as_volume

SPACING = (0.45, 0.45, 5.0)
HU = np.random.default_rng(0).integers(-1000, 1500, (16, 12, 6)).astype(np.int16)
LAYOUTS = {
    "instance2022": ("train_2/data/001.nii.gz", "train_2/label/001.nii.gz", {1: 1}),
    "bhsd": ("label_192/images/ID_1_ID_2.nii.gz", "label_192/ground truths/ID_1_ID_2.nii.gz",
             {1: 5, 2: 1, 3: 2, 4: 3, 5: 4}),
    "ct-ich": ("ct_scans/049.nii", "masks/049.nii", {255: 1}),
}  # fmt: skip


def publish(root: Path, layout: str, spacing: tuple[float, float, float] = SPACING) -> np.ndarray:
    """Writes one case as published; returns the labels that it should get."""
    scan, mask, labels = LAYOUTS[layout]
    theirs, ours = np.zeros(HU.shape, np.uint8), np.zeros(HU.shape, np.uint8)
    for place, (their_label, our_label) in enumerate(labels.items()):
        theirs[2 * place : 2 * place + 2, 3:7, 2:4], ours[2 * place : 2 * place + 2, 3:7, 2:4] = their_label, our_label
    for name, array, steps in ((scan, HU, SPACING), (mask, theirs, spacing)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_image_file(root / name, array, as_volume(array, steps).affine, {})
    return ours


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_published_data_set_becomes_a_raw_one(layout: str, tmp_path: Path) -> None:
    expected = publish(tmp_path / "download", layout)
    assert main(["convert", layout, str(tmp_path / "download"), "--out", str(tmp_path / "raw")]) == 0
    dataset = read_raw(tmp_path / "raw")
    assert len(dataset.cases) == 1
    scan = read_raw_case(dataset, dataset.cases[0])
    assert np.array_equal(scan.volume.hu, HU)
    assert np.array_equal(scan.label, expected)
    assert scan.volume.spacing_mm == pytest.approx(SPACING)
    assert (dataset.labels == SUBTYPE_LABELS) == (layout == "bhsd")


def test_the_inner_folder_may_be_named_as_well(tmp_path: Path) -> None:
    publish(tmp_path, "instance2022")
    assert main(["convert", "instance2022", str(tmp_path / "train_2"), "--out", str(tmp_path / "raw")]) == 0


def test_masks_of_another_grid_are_refused_unless_their_voxels_are_trusted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = publish(tmp_path / "download", "ct-ich", spacing=(1.0, 1.0, 1.0))
    command = ["convert", "ct-ich", str(tmp_path / "download"), "--out", str(tmp_path / "raw")]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert "0.45x0.45x5 mm" in said
    assert "1x1x1 mm" in said
    assert "--trust-voxels" in said
    assert not (tmp_path / "raw").exists()
    assert main([*command, "--trust-voxels"]) == 0
    dataset = read_raw(tmp_path / "raw")
    scan = read_raw_case(dataset, dataset.cases[0])
    assert scan.volume.spacing_mm == pytest.approx(SPACING)
    assert np.array_equal(scan.label, expected)


def test_what_is_not_as_published_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def converted(layout: str) -> str:
        assert main(["convert", layout, str(tmp_path / "download"), "--out", str(tmp_path / "raw")]) == 2
        assert not (tmp_path / "raw").exists()
        return capsys.readouterr().err

    assert "no BHSD as published: the folders images and ground truths are wanted" in converted("bhsd")
    publish(tmp_path / "download", "instance2022")
    label = tmp_path / "download" / LAYOUTS["instance2022"][1]
    write_image_file(label, np.full(HU.shape, 7, np.uint8), as_volume(HU, SPACING).affine, {})
    assert "the mask holds 7; INSTANCE 2022 has the labels 0, 1" in converted("instance2022")
    label.unlink()
    assert "001 is in data but not in label" in converted("instance2022")
