"""Runs become a bundle: averaged weights, the recipe beside them; runs that do not belong together are refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from helpers import SMALL
from systems import tiny_system

from ICHSegmentationLib.ensemble import load_bundle
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.bundling import bundle_runs
from ICHSegmentationLib.training.cases import TrainingCases
from ICHSegmentationLib.training.loop import LoopConfig, train_system
from ICHSegmentationLib.training.train import TrainingConfig, train

CONFIG = TrainingConfig(SMALL, steps=2, learning_rate=1e-2, patch_sizes=((16, 16, 4),), subset=1.0)


def test_a_bundle_holds_the_averaged_weights_and_the_recipe(cases: TrainingCases, tmp_path: Path) -> None:
    runs = [train(dataclasses.replace(CONFIG, member=m), cases, tmp_path / str(m)) for m in (0, 1)]
    sha256 = bundle_runs([tmp_path / "0", tmp_path / "1"], tmp_path / "bundle", "pair", "1", 0.4, "three balls")
    ensemble = load_bundle(tmp_path / "bundle")
    assert ensemble.sha256 == sha256
    assert (ensemble.info.name, ensemble.info.version, ensemble.info.threshold) == ("pair", "1", 0.4)
    assert ensemble.info.preset == "custom"
    for member, run in zip(ensemble.members, runs, strict=True):
        for name, value in member.state_dict().items():
            assert torch.allclose(value, run.kept_weights()[name], rtol=1e-3, atol=1e-6), name
    training = json.loads((tmp_path / "bundle" / "bundle.json").read_text())["training"]
    assert training["data"] == "three balls"
    assert [recipe["member"] for recipe in training["members"]] == [0, 1]
    assert [recipe["steps_done"] for recipe in training["members"]] == [2, 2]


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no checkpoint"):
        bundle_runs([tmp_path], tmp_path / "bundle", "none", "0", 0.5, "nothing")


def test_members_of_different_networks_are_refused(cases: TrainingCases, tmp_path: Path) -> None:
    train(CONFIG, cases, tmp_path / "a")
    other = dataclasses.replace(CONFIG, network=dataclasses.replace(SMALL, num_radial_basis=(3, 3)))
    train(other, cases, tmp_path / "b")
    with pytest.raises(InputError, match="different networks"):
        bundle_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "bundle", "mixed", "0", 0.5, "balls")


def test_a_run_of_another_system_is_refused(tmp_path: Path) -> None:
    train_system(tiny_system(), LoopConfig(1), {"depth": 3}, tmp_path)
    with pytest.raises(InputError, match="is no run of `ich train`"):
        bundle_runs([tmp_path], tmp_path / "bundle", "other", "0", 0.5, "noise")
