"""Training: patches, losses, averaging, and a run that survives being stopped."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SMALL

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.loop import Sitting
from ICHSegmentationLib.training.train import TrainingConfig, member_cases, train

RNG = np.random.default_rng
CONFIG = TrainingConfig(SMALL, steps=6, learning_rate=1e-2, patch_sizes=((16, 16, 4), (24, 16, 2)), subset=1.0)


def test_a_run_learns(pool: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    config = dataclasses.replace(
        CONFIG, steps=80, loss="cross_entropy_and_dice", patch_sizes=((40, 44, 10),), learning_rate=0.03
    )
    run = train(config, pool, tmp_path / "run", sitting=Sitting(on_step=lambda progress: losses.append(progress.loss)))
    assert run.step == 80
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:10])


def test_a_run_that_was_stopped_ends_the_same_as_one_that_was_not(pool: Path, tmp_path: Path) -> None:
    whole = train(CONFIG, pool, tmp_path / "whole")
    train(CONFIG, pool, tmp_path / "stopped", sitting=Sitting(minutes=0.0))
    for steps in (2, 3, 6):
        resumed = train(
            dataclasses.replace(CONFIG, steps=steps), pool, tmp_path / "stopped", sitting=Sitting(resume=True)
        )
    assert resumed.step == whole.step == 6
    for name, value in whole.system.network.state_dict().items():
        assert torch.equal(value, resumed.system.network.state_dict()[name]), name
        assert torch.equal(whole.kept_weights()[name], resumed.kept_weights()[name]), name


def test_two_runs_of_one_seed_are_the_same_and_members_differ(pool: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=2)
    first, second = (train(config, pool, tmp_path / name) for name in "ab")
    other = train(dataclasses.replace(config, member=1), pool, tmp_path / "c")
    assert torch.equal(first.system.network.bias, second.system.network.bias)
    assert not torch.equal(first.system.network.bias, other.system.network.bias)


def test_members_see_different_cases(pool: Path) -> None:
    half = dataclasses.replace(CONFIG, subset=0.5)
    seen = set()
    for member in range(12):
        try:
            seen.add(tuple(path.name for path in member_cases(pool, dataclasses.replace(half, member=member))))
        except InputError:
            continue
    assert len(seen) > 2


def test_a_run_of_another_network_is_not_continued(pool: Path, tmp_path: Path) -> None:
    train(dataclasses.replace(CONFIG, steps=1), pool, tmp_path / "run")
    other = dataclasses.replace(CONFIG, network=dataclasses.replace(SMALL, num_radial_basis=(3, 3)))
    with pytest.raises(InputError, match=r"another configuration \(network\)"):
        train(other, pool, tmp_path / "run", sitting=Sitting(resume=True))


def test_an_empty_pool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no complete case"):
        train(CONFIG, tmp_path, tmp_path / "run")


def test_the_learning_rate_decays_to_nothing_if_asked() -> None:
    config = dataclasses.replace(CONFIG, steps=100, decay=True)
    assert config.learning_rate_at(0) == pytest.approx(1e-2)
    assert config.learning_rate_at(50) == pytest.approx(5e-3)
    assert config.learning_rate_at(100) == pytest.approx(0)
    assert CONFIG.learning_rate_at(3) == 1e-2


def test_a_training_configuration_survives_json() -> None:
    assert TrainingConfig.from_json(json.loads(json.dumps(CONFIG.to_json()))) == CONFIG


def test_training_needs_only_torch_e3nn_numpy_and_scipy() -> None:
    """The lent GPU machines have no SimpleITK, pydicom or MONAI."""
    import subprocess
    import sys

    code = (
        "import sys; import ICHSegmentationLib.training.train, ICHSegmentationLib.training.pool;"
        "import ICHSegmentationLib.simulation.case, ICHSegmentationLib.simulation.procedural;"
        "sys.exit(bool({'SimpleITK', 'pydicom', 'matplotlib', 'psutil', 'monai'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
