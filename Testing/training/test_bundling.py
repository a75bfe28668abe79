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
from ICHSegmentationLib.training.sources import source_for
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
    assert len({path.stat().st_mode for path in (tmp_path / "bundle").iterdir()}) == 1  # who reads one reads all
    training = json.loads((tmp_path / "bundle" / "bundle.json").read_text())["training"]
    assert training["data"] == "three balls"
    assert [recipe["member"] for recipe in training["members"]] == [0, 1]
    assert [recipe["steps_done"] for recipe in training["members"]] == [2, 2]


def test_an_earlier_bundle_gives_its_members_and_their_recipes(cases: TrainingCases, tmp_path: Path) -> None:
    for member in (0, 1):
        train(dataclasses.replace(CONFIG, member=member), cases, tmp_path / str(member))
    bundle_runs([tmp_path / "0"], tmp_path / "first", "pair", "1", 0.4, "three balls")
    bundle_runs([tmp_path / "first", tmp_path / "1"], tmp_path / "second", "pair", "2", 0.4, "three balls")
    first, second = (load_bundle(tmp_path / name) for name in ("first", "second"))
    for name, value in first.members[0].state_dict().items():
        assert torch.equal(value, second.members[0].state_dict()[name]), name
    assert [recipe["member"] for recipe in second.info.training["members"]] == [0, 1]


def test_the_average_of_runs_is_one_member_with_the_mean_of_their_weights(cases: TrainingCases, tmp_path: Path) -> None:
    folders = [tmp_path / "0", tmp_path / "1"]
    runs = [train(dataclasses.replace(CONFIG, member=m), cases, folder) for m, folder in enumerate(folders)]
    bundle_runs(folders, tmp_path / "bundle", "one", "1", 0.4, "three balls", average=True)
    ensemble = load_bundle(tmp_path / "bundle")
    (member,) = ensemble.members
    first, second = (run.kept_weights() for run in runs)
    for name, value in member.state_dict().items():
        assert torch.allclose(value, (first[name] + second[name]) / 2, rtol=1e-3, atol=1e-6), name
    (recipe,) = ensemble.info.training["members"]
    assert recipe["average_of"] == ["0, step 2", "1, step 2"]
    assert [part["member"] for part in recipe["recipes"]] == [0, 1]


def test_members_moved_towards_a_run_are_weighted_means_and_tell_of_what(cases: TrainingCases, tmp_path: Path) -> None:
    folders = [tmp_path / "0", tmp_path / "1", tmp_path / "on"]
    *runs, on = [train(dataclasses.replace(CONFIG, member=m), cases, folder) for m, folder in enumerate(folders)]
    made = tmp_path / "bundle"
    bundle_runs(folders[:2], made, "moved", "1", 0.4, "three balls", towards=folders[2], share=0.25)
    ensemble = load_bundle(made)
    for member, run in zip(ensemble.members, runs, strict=True):
        for name, value in member.state_dict().items():
            wanted = 0.75 * run.kept_weights()[name] + 0.25 * on.kept_weights()[name]
            assert torch.allclose(value, wanted, rtol=1e-3, atol=1e-6), name
    first, second = ensemble.info.training["members"]
    assert first["average_of"] == ["0, step 2", "on, step 2"]
    assert second["shares"] == [0.75, 0.25]
    with pytest.raises(InputError, match=r"between 0 and 1; found 1\.5"):
        bundle_runs(folders[:2], tmp_path / "far", "far", "1", 0.4, "balls", towards=folders[2], share=1.5)
    with pytest.raises(InputError, match="no run to move towards"):
        bundle_runs(folders[:2], tmp_path / "far", "far", "1", 0.4, "balls", share=0.25)


def test_members_of_a_new_ensemble_begin_with_those_of_an_old_one_in_turns(small_bundle: Path) -> None:
    first, second, third = (source_for(small_bundle, member) for member in range(3))
    assert [source.told.split(" (")[0] for source in (first, second, third)] == [
        f"member {number} of small 0" for number in (0, 1, 0)
    ]
    old = load_bundle(small_bundle)
    for source, network in ((first, old.members[0]), (second, old.members[1])):
        assert all(torch.equal(value, source.weights[name]) for name, value in network.state_dict().items())
        assert source.network == SMALL


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a run of `ich train` with a checkpoint nor a bundle"):
        bundle_runs([tmp_path], tmp_path / "bundle", "none", "0", 0.5, "nothing")


def test_members_of_different_networks_are_refused(cases: TrainingCases, tmp_path: Path) -> None:
    train(CONFIG, cases, tmp_path / "a")
    other = dataclasses.replace(CONFIG, network=dataclasses.replace(SMALL, num_radial_basis=(3, 3)))
    train(other, cases, tmp_path / "b")
    with pytest.raises(InputError, match="different networks"):
        bundle_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "bundle", "mixed", "0", 0.5, "balls")
    with pytest.raises(InputError, match="different networks"):
        bundle_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "mean", "mixed", "0", 0.5, "balls", average=True)


def test_a_run_of_another_system_is_refused(tmp_path: Path) -> None:
    train_system(tiny_system(), LoopConfig(1), {"depth": 3}, tmp_path)
    with pytest.raises(InputError, match="is no run of `ich train`"):
        bundle_runs([tmp_path], tmp_path / "bundle", "other", "0", 0.5, "noise")
