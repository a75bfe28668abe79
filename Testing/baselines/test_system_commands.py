"""`ich train-system` and `ich predict`, as a user would call them, also wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ICHSegmentationLib.baselines.tiled import TiledPredictor
from ICHSegmentationLib.cli import main
from ICHSegmentationLib.data.nnunet import LabelledScan
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.image_files import read_image_file

SMALL = {"width": 2, "levels": 1, "diameter": 1, "training": {"patch": [8, 8, 4], "networks": 1}}


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> list[Volume]:
    """The volumes that networks were asked about, in their order."""
    volumes: list[Volume] = []
    probability = TiledPredictor.probability

    def noted(predictor: TiledPredictor, volume: Volume) -> np.ndarray:
        volumes.append(volume)
        return probability(predictor, volume)

    monkeypatch.setattr(TiledPredictor, "probability", noted)
    return volumes


def test_a_system_is_trained_and_its_masks_lie_on_the_scans_own_voxels(
    raw: Path, scans: list[LabelledScan], predicted: list[Volume], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "small.json").write_text(json.dumps(SMALL))
    run, out = str(tmp_path / "run"), tmp_path / "out"
    train = ["train-system", "gcnn", "--data", str(raw), "--out", run, "--config", str(tmp_path / "small.json")]
    assert main([*train, "--steps", "2", "--device", "cpu"]) == 0
    assert "Group-convolutional U-Net" in capsys.readouterr().out
    assert main(["predict", "gcnn", run, str(raw / "imagesTr"), "--out", str(out), "--probabilities"]) == 0
    assert "Research use only" in capsys.readouterr().out
    assert len(predicted) == len(scans)  # once each, though their probabilities are written too
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{scan.name}{part}.nii.gz" for scan in scans for part in ("", "_probability")
    )
    mask = read_image_file(out / "case_1.nii.gz")
    np.testing.assert_allclose(mask.affine, scans[1].volume.affine, atol=1e-4)
    assert set(np.unique(mask.hu)) <= {0.0, 1.0}
    assert main(["predict", "gcnn", run, str(raw / "imagesTr"), "--out", str(out)]) == 3  # not empty
    again = ["predict", "gcnn", run, str(raw / "imagesTr"), "--out", str(out), "--overwrite"]
    assert main(again) == 0
    (out / "other.nii.gz").write_bytes((out / "case_1.nii.gz").read_bytes())
    capsys.readouterr()
    assert main(again) == 2
    assert "other.nii.gz, which is of no scan of this run" in capsys.readouterr().err
    assert main(["predict", "se-unet", run, str(raw / "imagesTr"), "--out", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"system": "unet"}, "the system must be one of scan-e3nn, so3-steerable, se-unet, nnunet, coarse-fine, gcnn"),
        ({"--data": "nowhere"}, "nowhere is no nnU-Net raw data set"),
        ({"--steps": "0"}, "the number of steps must be 1 or more; found 0"),
        ({"--minutes": "-1"}, "the minutes of training must be more than 0; found -1.0"),
        ({"--config": "nowhere.json"}, "nowhere.json holds no settings"),
        ({"--device": "gpu"}, "the device must be auto, cpu, cuda, cuda:N or mps; found 'gpu'"),
    ],
)
def test_wrong_wishes_get_a_sentence(
    changes: dict[str, str], sentence: str, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    options = {"--data": str(raw), "--out": str(tmp_path / "run"), "--device": "cpu"} | changes
    system = options.pop("system", "gcnn")
    arguments = [word for pair in options.items() for word in pair]
    assert main(["train-system", system, *arguments]) in (2, 5)
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_two_scans_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    names = [str(tmp_path / folder / "head_0000.nii.gz") for folder in ("a", "b")]
    assert main(["predict", "gcnn", str(tmp_path), *names, "--out", str(tmp_path / "out")]) == 2
    assert "would both be written as head.nii.gz" in capsys.readouterr().err
