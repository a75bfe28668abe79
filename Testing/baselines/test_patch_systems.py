"""Systems trained on patches: each trains on an nnU-Net raw folder and predicts on a scan's own voxels."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from baselines.conftest import small_systems
from helpers import head_with_ball
from programs import python, wait_until

from ICHSegmentationLib.baselines import patch_system
from ICHSegmentationLib.baselines.cases import prepare_cases
from ICHSegmentationLib.baselines.patch_system import PatchSystem
from ICHSegmentationLib.baselines.runs import Shares, changed, from_json, trained_networks
from ICHSegmentationLib.baselines.se_system import GironaSettings, se_unet
from ICHSegmentationLib.baselines.system import Budget, systems
from ICHSegmentationLib.data.nnunet import LabelledScan
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.patches import Tiling
from ICHSegmentationLib.training.checkpoint import kept_weights

CPU = torch.device("cpu")
SYSTEMS = small_systems()


def test_the_six_systems_have_their_names() -> None:
    found = systems()
    assert list(found) == ["scan-e3nn", "so3-steerable", "se-unet", "nnunet", "coarse-fine", "gcnn"]
    assert all(name == system.name for name, system in found.items())


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_system_trains_and_predicts_on_the_scans_own_voxels(
    name: str, raw: Path, scans: list[LabelledScan], tmp_path: Path
) -> None:
    system = SYSTEMS[name]
    system.train(raw, tmp_path, Budget(steps=6, networks=2), CPU, seed=0)
    predictor = system.load(tmp_path, CPU)
    assert predictor.parameters == len(predictor.networks) * sum(
        value.numel() for value in predictor.networks[0].parameters()
    )
    for volume in (scans[1].volume, sagittal(scans[0].volume)):
        probability = predictor.probability(volume)
        assert probability.shape == volume.hu.shape
        assert probability.dtype == np.float32
        assert 0 <= probability.min() < probability.max() <= 1
        assert predictor.mask(volume).dtype == bool
        np.testing.assert_array_equal(predictor.mask(volume, probability), predictor.mask(volume))


def sagittal(volume: Volume) -> Volume:
    """The same voxels in another order of axes, one of them reversed."""
    order = np.zeros((4, 4))
    order[1, 0], order[2, 1], order[0, 2], order[3, 3] = 1, 1, -1, 1
    order[0, 3] = volume.hu.shape[0] - 1
    return Volume(np.asfortranarray(volume.hu[::-1].transpose(1, 2, 0)), volume.affine @ order)


def test_a_steerable_prediction_does_not_depend_on_the_order_of_the_axes(
    raw: Path, scans: list[LabelledScan], tmp_path: Path
) -> None:
    settings = dataclasses.replace(SYSTEMS["scan-e3nn"].settings, tiling=Tiling((99, 99, 99)))
    system = dataclasses.replace(SYSTEMS["scan-e3nn"], settings=settings)
    system.train(raw, tmp_path, Budget(steps=5, networks=1), CPU, seed=0)
    predictor, volume = system.load(tmp_path, CPU), scans[0].volume
    turned = predictor.probability(sagittal(volume)).transpose(2, 0, 1)[::-1]
    np.testing.assert_allclose(turned, predictor.probability(volume), atol=1e-4)


def test_a_system_learns_to_find_the_bleed(raw: Path, scans: list[LabelledScan], tmp_path: Path) -> None:
    system = SYSTEMS["se-unet"]
    system.train(raw, tmp_path, Budget(steps=150, networks=1), CPU, seed=0)
    predictor = system.load(tmp_path, CPU)
    for scan in scans:
        mask, truth = predictor.mask(scan.volume), scan.label == 1
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.6


def test_members_differ_and_a_seed_gives_the_same_ones(raw: Path, tmp_path: Path) -> None:
    system = SYSTEMS["scan-e3nn"]
    for run, seed, networks in (("one", 0, 2), ("again", 0, 1), ("other", 1, 1)):
        system.train(raw, tmp_path / run, Budget(steps=2, networks=networks), CPU, seed)
    first, second = (vector(folder) for folder in trained_networks(tmp_path / "one"))
    assert not torch.equal(first, second)
    assert torch.equal(first, vector(tmp_path / "again/network_0"))
    assert not torch.equal(first, vector(tmp_path / "other/network_0"))


def vector(folder: Path) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in kept_weights(folder)[0].values()])


KILLED = """
import sys
import torch
from pathlib import Path
sys.path.insert(0, {testing!r})
from baselines.conftest import small_systems
from ICHSegmentationLib.baselines.system import Budget
small_systems()["se-unet"].train(Path({raw!r}), Path({out!r}), Budget(steps=100000, networks=2), torch.device("cpu"), 0)
"""


def test_a_run_stopped_in_a_first_network_ends_like_one_that_was_not(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "stopped"
    code = KILLED.format(testing=str(Path(__file__).parents[1]), raw=str(raw), out=str(out))
    with python("-c", code) as process:
        wait_until((out / "network_0/log.csv").exists, process)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=120)
    assert "StoppedError: stopped at step" in errors
    assert not (out / "network_1").exists()  # the signal ended the whole system
    stopped_at = kept_weights(out / "network_0")[1]
    budget = Budget(steps=stopped_at + 3, networks=2)
    SYSTEMS["se-unet"].train(raw, out, budget, CPU, seed=0)
    SYSTEMS["se-unet"].train(raw, tmp_path / "whole", budget, CPU, seed=0)
    for network in ("network_0", "network_1"):
        assert kept_weights(out / network)[1] == budget.steps
        assert torch.equal(vector(out / network), vector(tmp_path / "whole" / network))


def test_minutes_that_one_network_leaves_go_to_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    shares = Shares(10.0, tmp_path)
    assert shares.next(0, 5) == 2.0
    now[0] += 60.0  # it took one of its two
    shares.note()
    assert shares.next(1, 5) == 9 / 4
    now[0] += 100 * 60.0
    shares.note()
    assert shares.next(2, 5) == 0.0
    assert Shares(math.inf, tmp_path).next(0, 8) == math.inf


def test_all_sittings_at_a_run_have_one_budget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    first = Shares(10.0, tmp_path)
    for network in (0, 1):
        minutes = first.next(network, 2)
        now[0] += 60 * (minutes if network == 0 else 4)
        first.note()
    now[0] += 3600  # killed in its ninth minute, and gone on with an hour later
    second = Shares(10.0, tmp_path)
    assert [second.next(network, 2) for network in (0, 1)] == [0.0, 1.0]
    assert second.used_minutes == 9.0
    assert Shares(20.0, tmp_path).next(0, 2) == 5.0  # a larger budget is a whole one


def test_preparation_takes_no_minutes_of_training(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def slowly(*arguments: object) -> list:
        now[0] += 3600
        return prepare_cases(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(patch_system, "prepare_cases", slowly)
    SYSTEMS["scan-e3nn"].train(raw, tmp_path, Budget(steps=1, minutes=0.01, networks=1), CPU, seed=0)
    assert kept_weights(tmp_path / "network_0")[1] == 1


def test_a_network_that_saw_no_step_is_not_judged(raw: Path, tmp_path: Path) -> None:
    system = SYSTEMS["scan-e3nn"]
    system.train(raw, tmp_path, Budget(steps=1, networks=2, minutes=1e-9), CPU, seed=0)
    assert len(list(tmp_path.glob("network_*"))) == 2
    with pytest.raises(InputError, match=r"none of the 2 networks .* has seen a step"):
        system.load(tmp_path, CPU)
    system.train(raw, tmp_path, Budget(steps=1, networks=1), CPU, seed=0)
    assert [folder.name for folder in trained_networks(tmp_path)] == ["network_0"]
    assert len(system.load(tmp_path, CPU).networks) == 1


def test_more_networks_than_the_papers_are_trained_and_told(raw: Path, tmp_path: Path) -> None:
    system = SYSTEMS["so3-steerable"]
    assert system.settings.training.networks == 1
    system.train(raw, tmp_path, Budget(steps=1, networks=2), CPU, seed=0)
    assert len(trained_networks(tmp_path)) == 2
    assert json.loads((tmp_path / "run.json").read_text())["networks"] == 2


@pytest.mark.parametrize("name", ["scan-e3nn", "so3-steerable"])
def test_a_batch_of_several_cases_is_refused_where_kernels_are_in_mm(name: str, raw: Path, tmp_path: Path) -> None:
    system = SYSTEMS[name]
    several = dataclasses.replace(system, settings=changed(system.settings, {"training": {"patches_per_step": 2}}))
    with pytest.raises(InputError, match=r"patches_per_step must be 1; found 2\. Set batches_per_step to 2"):
        several.train(raw, tmp_path, Budget(steps=1), CPU, seed=0)


def test_cases_of_one_head_lie_on_one_side(raw: Path, tmp_path: Path) -> None:
    data = shutil.copytree(raw, tmp_path / "raw")
    (data / "groups.json").write_text('{"case_0": "head", "case_2": "head"}')
    for seed in range(4):
        out = tmp_path / f"run_{seed}"
        SYSTEMS["scan-e3nn"].train(data, out, Budget(steps=1, networks=1), CPU, seed)
        seen = json.loads((out / "network_0/config.json").read_text())["cases"]
        assert seen in (["case_0", "case_2"], ["case_1"])
    (data / "groups.json").write_text('{"case_0": "head", "case_1": "head", "case_2": "head"}')
    with pytest.raises(InputError, match="are of one head"):
        SYSTEMS["scan-e3nn"].train(data, tmp_path / "other", Budget(steps=1), CPU, seed=0)


def test_minutes_end_a_training(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = itertools.count()
    monkeypatch.setattr("time.monotonic", lambda: next(readings))  # each look takes a second
    SYSTEMS["scan-e3nn"].train(raw, tmp_path, Budget(steps=10**6, minutes=1), CPU, seed=0)
    assert len(trained_networks(tmp_path)) == 2  # the second was begun as well
    assert all(0 < kept_weights(folder)[1] < 60 for folder in trained_networks(tmp_path))


def test_a_run_keeps_its_settings_for_prediction(raw: Path, tmp_path: Path) -> None:
    SYSTEMS["gcnn"].train(raw, tmp_path, Budget(steps=1), CPU, seed=0)
    predictor = systems()["gcnn"].load(tmp_path, CPU)  # built with the paper's settings, which are larger
    assert predictor.parameters == SYSTEMS["gcnn"].load(tmp_path, CPU).parameters


def test_a_folder_of_another_run_is_refused(raw: Path, tmp_path: Path) -> None:
    SYSTEMS["gcnn"].train(raw, tmp_path, Budget(steps=1), CPU, seed=0)
    with pytest.raises(InputError, match="'gcnn' with seed 0, of which the seed differ"):
        SYSTEMS["gcnn"].train(raw, tmp_path, Budget(steps=1), CPU, seed=1)
    with pytest.raises(InputError, match="a run of 'gcnn'; one of 'se-unet' is wanted"):
        SYSTEMS["se-unet"].load(tmp_path, CPU)


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_settings_survive_json(system: PatchSystem) -> None:
    settings = system.settings
    assert from_json(type(settings), dataclasses.asdict(settings)) == settings


def test_settings_change_by_nested_names() -> None:
    settings = changed(GironaSettings(), {"width": 8, "training": {"patch": [24, 24, 8]}})
    assert (settings.width, settings.training.patch, settings.training.patience) == (8, (24, 24, 8), 10)
    with pytest.raises(InputError, match="GironaSettings has no setting 'widht'"):
        changed(GironaSettings(), {"widht": 8})


def test_one_case_is_too_few(scans: list[LabelledScan], tmp_path: Path) -> None:
    from ICHSegmentationLib.data.nnunet import write_nnunet_raw

    write_nnunet_raw(scans[:1], tmp_path / "raw")
    with pytest.raises(InputError, match="holds one labelled case; two or more are wanted"):
        se_unet().train(tmp_path / "raw", tmp_path / "out", Budget(steps=1), CPU, seed=0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("wish", [{"steps": 0}, {"networks": 0}, {"minutes": 0.0}, {"minutes": float("nan")}])
def test_a_budget_of_nothing_is_refused(wish: dict) -> None:
    with pytest.raises(InputError, match="must be"):
        Budget(**wish)


def test_a_head_without_bleed_is_no_error(raw: Path, tmp_path: Path) -> None:
    SYSTEMS["se-unet"].train(raw, tmp_path, Budget(steps=1, networks=1), CPU, seed=0)
    predictor = SYSTEMS["se-unet"].load(tmp_path, CPU)
    empty = head_with_ball((6.0, 6.0, 12.0), radius_mm=0.0)
    assert predictor.mask(empty).shape == empty.hu.shape


def test_two_processes_of_torchrun_train_what_one_does(raw: Path, tmp_path: Path) -> None:
    code = TOGETHER.format(testing=str(Path(__file__).parents[1]), raw=str(raw), out=str(tmp_path / "two"))
    (tmp_path / "together.py").write_text(code)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*torchrun, str(tmp_path / "together.py")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    together_system().train(raw, tmp_path / "one", Budget(steps=3, networks=1), CPU, seed=0)
    two, one = (vector(tmp_path / run / "network_0") for run in ("two", "one"))
    assert torch.allclose(two, one, atol=1e-5)


TOGETHER = """
import sys
import torch
from pathlib import Path
sys.path.insert(0, {testing!r})
from baselines.test_patch_systems import together_system
from ICHSegmentationLib.baselines.system import Budget
together_system().train(Path({raw!r}), Path({out!r}), Budget(steps=3, networks=1), torch.device("cpu"), 0)
"""


def together_system() -> PatchSystem:
    """A system whose step has two batches, of which each of two processes takes one."""
    system = SYSTEMS["scan-e3nn"]
    settings = changed(system.settings, {"training": {"batches_per_step": 2}})
    return dataclasses.replace(system, settings=settings)
