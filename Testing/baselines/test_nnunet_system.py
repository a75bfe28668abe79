"""nnU-Net as a system: the real package plans, trains and predicts; without it one sentence says so."""

from __future__ import annotations

import os
import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from ICHSegmentationLib.baselines import nnunet
from ICHSegmentationLib.baselines.nnunet import NnUNet, NnUNetSettings
from ICHSegmentationLib.baselines.nnunet_files import PlanSettings, nnunet_folders, read_plans
from ICHSegmentationLib.baselines.system import Budget
from ICHSegmentationLib.data.nnunet import LabelledScan
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.checkpoint import kept_weights
from ICHSegmentationLib.training.loop import Progress, Sitting

CPU = torch.device("cpu")
SMALL = NnUNet(NnUNetSettings(networks=2, plan=PlanSettings(features=2, most_features=4), mirror=False))


@pytest.mark.skipif(find_spec("nnunetv2") is not None, reason="nnunetv2 is installed")
def test_without_the_package_a_sentence_says_how_to_get_it(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs the package nnunetv2, which is not installed; `make nnunet`"):
        SMALL.train(raw, tmp_path / "run", Budget(steps=1), CPU, seed=0)
    assert not (tmp_path / "run").exists()


def test_nnunets_environment_and_words_are_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("nnUNet_raw", "mine")
    monkeypatch.delenv("nnUNet_results", raising=False)
    with nnunet_folders(tmp_path):
        assert os.getenv("nnUNet_raw") == str(tmp_path / "raw")  # noqa: SIM112 (nnU-Net's spelling)
        print("nnU-Net talks")
    assert os.getenv("nnUNet_raw") == "mine"  # noqa: SIM112
    assert "nnUNet_results" not in os.environ
    assert capsys.readouterr().out == ""


@pytest.fixture(scope="module")
def run(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folds of three steps."""
    if find_spec("nnunetv2") is None:
        pytest.skip("nnunetv2 is not installed (make nnunet)")
    folder = tmp_path_factory.mktemp("nnunet")
    SMALL.train(raw, folder, Budget(steps=3, networks=2), CPU, seed=0)
    return folder


def test_the_network_is_nnunets_full_resolution_plan(run: Path) -> None:
    plan = read_plans(run / "nnunet").plans["configurations"]["3d_fullres"]
    assert plan["normalization_schemes"] == ["CTNormalization"]
    assert plan["architecture"]["network_class_name"].endswith("PlainConvUNet")
    assert plan["architecture"]["arch_kwargs"]["features_per_stage"][0] == 2


def test_folds_predict_together_on_the_scans_own_voxels(run: Path, scans: list[LabelledScan]) -> None:
    predictor, volume = SMALL.load(run, CPU), scans[1].volume
    assert len(predictor.folds.weights) == 2
    probability = predictor.probability(volume)
    assert probability.shape == volume.hu.shape
    assert 0 <= probability.min() < probability.max() <= 1


def test_a_killed_and_resumed_fold_ends_like_one_that_was_not(
    run: Path, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = tmp_path / "again"
    shutil.copytree(run, again, ignore=shutil.ignore_patterns("network_*"))  # with what is preprocessed

    def kill(progress: Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(nnunet, "Sitting", partial(Sitting, save_every_s=0.0, on_step=kill))
        with pytest.raises(KeyboardInterrupt):
            SMALL.train(raw, again, Budget(steps=3, networks=1), CPU, seed=0)
    assert kept_weights(again / "network_0")[1] == 1
    SMALL.train(raw, again, Budget(steps=3, networks=1), CPU, seed=0)
    resumed, whole = (kept_weights(folder / "network_0")[0] for folder in (again, run))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    other = kept_weights(run / "network_1")[0]
    assert not all(torch.equal(other[name], whole[name]) for name in whole)
