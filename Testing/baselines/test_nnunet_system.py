"""nnU-Net as a system: the real package plans, trains and predicts; without it one sentence says so."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from ICHSegmentationLib.baselines import nnunet
from ICHSegmentationLib.baselines.cases import prepare_cases
from ICHSegmentationLib.baselines.nnunet import NnUNet, NnUNetSettings, refuse_minutes_alone
from ICHSegmentationLib.baselines.nnunet_files import PlanSettings, nnunet_folders, read_plans, stamp_of
from ICHSegmentationLib.baselines.preparation import densities
from ICHSegmentationLib.baselines.system import Budget
from ICHSegmentationLib.data.nnunet import LabelledScan, read_raw
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


def test_minutes_without_steps_are_refused() -> None:
    for budget in (Budget(minutes=9.0, steps=4), Budget()):
        refuse_minutes_alone(budget)
    with pytest.raises(InputError, match="and 9 minutes tell no number of them: give --steps as well"):
        refuse_minutes_alone(Budget(minutes=9.0))


def test_what_is_prepared_is_known_by_its_files_and_masks(raw: Path, tmp_path: Path) -> None:
    data, masks = shutil.copytree(raw, tmp_path / "raw"), tmp_path / "masks"
    masks.mkdir()
    for number in range(3):
        np.save(masks / f"case_{number}.npy", np.zeros(3, np.uint8))

    def stamp() -> dict:
        return json.loads(json.dumps(stamp_of(prepare_cases(read_raw(data), tmp_path / "cases", densities), [masks])))

    before = stamp()
    np.save(masks / "case_1.npy", np.zeros(3, np.uint8))  # written again, but the same
    assert stamp() == before
    np.save(masks / "case_1.npy", np.ones(3, np.uint8))
    other_mask = stamp()
    assert other_mask != before
    os.utime(data / "labelsTr/case_2.nii.gz", ns=(1, 1))
    assert stamp() != other_mask


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
    network = predictor.folds.predictor.network
    assert predictor.parameters == 2 * sum(value.numel() for value in network.parameters())
    named = sum(value.numel() for weights in predictor.folds.weights for value in weights.values())
    assert predictor.parameters < named  # some twice
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
