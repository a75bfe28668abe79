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
from ICHSegmentationLib.training.cases import TrainingCases
from ICHSegmentationLib.training.loop import Sitting
from ICHSegmentationLib.training.train import TrainingConfig, train

RNG = np.random.default_rng
CONFIG = TrainingConfig(SMALL, steps=6, learning_rate=1e-2, patch_sizes=((16, 16, 4), (24, 16, 2)), subset=1.0)


def test_a_run_learns(cases: TrainingCases, tmp_path: Path) -> None:
    losses: list[float] = []
    config = dataclasses.replace(
        CONFIG, steps=80, loss="cross_entropy_and_dice", patch_sizes=((40, 44, 10),), learning_rate=0.03
    )
    run = train(config, cases, tmp_path / "run", sitting=Sitting(on_step=lambda progress: losses.append(progress.loss)))
    assert run.step == 80
    assert np.mean(losses[-10:]) < 0.4 * np.mean(losses[:10])


def test_a_run_that_was_stopped_ends_the_same_as_one_that_was_not(cases: TrainingCases, tmp_path: Path) -> None:
    whole = train(CONFIG, cases, tmp_path / "whole")
    train(CONFIG, cases, tmp_path / "stopped", sitting=Sitting(minutes=0.0))
    for steps in (2, 3, 6):
        resumed = train(
            dataclasses.replace(CONFIG, steps=steps), cases, tmp_path / "stopped", sitting=Sitting(resume=True)
        )
    assert resumed.step == whole.step == 6
    for name, value in whole.system.network.state_dict().items():
        assert torch.equal(value, resumed.system.network.state_dict()[name]), name
        assert torch.equal(whole.kept_weights()[name], resumed.kept_weights()[name]), name


def test_two_runs_of_one_seed_are_the_same_and_members_differ(cases: TrainingCases, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, steps=2)
    first, second = (train(config, cases, tmp_path / name) for name in "ab")
    other = train(dataclasses.replace(config, member=1), cases, tmp_path / "c")
    assert torch.equal(first.system.network.bias, second.system.network.bias)
    assert not torch.equal(first.system.network.bias, other.system.network.bias)


def test_a_run_begins_with_the_weights_it_is_given(cases: TrainingCases, tmp_path: Path) -> None:
    before = train(dataclasses.replace(CONFIG, steps=2), cases, tmp_path / "before")
    start = before.kept_weights()
    hardly = dataclasses.replace(CONFIG, steps=1, member=1, learning_rate=1e-9, started_from="before, step 2")
    run = train(hardly, cases, tmp_path / "run", start=start)
    for name, value in start.items():
        assert torch.allclose(run.kept_weights()[name], value, atol=1e-6), name
    assert json.loads((tmp_path / "run" / "config.json").read_text())["started_from"] == "before, step 2"


def test_fixed_norms_are_measured_before_the_first_step_and_stay(cases: TrainingCases, tmp_path: Path) -> None:
    before = train(dataclasses.replace(CONFIG, steps=1), cases, tmp_path / "before").kept_weights()
    fixed = dataclasses.replace(CONFIG, network=dataclasses.replace(SMALL, norm="fixed"))
    whole = train(fixed, cases, tmp_path / "whole", start=before).kept_weights()
    assert whole.keys() - before.keys() == {name for name in whole if name.endswith(("fixed_mean", "fixed_variance"))}
    train(dataclasses.replace(fixed, steps=2), cases, tmp_path / "stopped", start=before)
    resumed = train(fixed, cases, tmp_path / "stopped", sitting=Sitting(resume=True), start=before).kept_weights()
    again = train(dataclasses.replace(fixed, member=1), cases, tmp_path / "again", start=resumed).kept_weights()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name
        if name.endswith("fixed_variance"):
            assert (value != 1).all()
            assert torch.equal(value, again[name]), "what was measured once must not be measured again"


def test_a_run_of_another_network_is_not_continued(cases: TrainingCases, tmp_path: Path) -> None:
    train(dataclasses.replace(CONFIG, steps=1), cases, tmp_path / "run")
    other = dataclasses.replace(CONFIG, network=dataclasses.replace(SMALL, num_radial_basis=(3, 3)))
    with pytest.raises(InputError, match=r"another configuration \(network\)"):
        train(other, cases, tmp_path / "run", sitting=Sitting(resume=True))


def test_a_training_that_is_refused_leaves_the_note_of_the_cases_alone(cases: TrainingCases, tmp_path: Path) -> None:
    train(dataclasses.replace(CONFIG, steps=1), cases, tmp_path / "run")
    noted = (tmp_path / "run" / "cases.json").read_text()
    for config, sitting in ((dataclasses.replace(CONFIG, seed=9), Sitting(resume=True)), (CONFIG, Sitting())):
        with pytest.raises(InputError):
            train(config, TrainingCases(cases.training[:1]), tmp_path / "run", sitting=sitting)
        assert (tmp_path / "run" / "cases.json").read_text() == noted


def test_a_run_that_goes_on_with_other_cases_says_so(
    cases: TrainingCases, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train(dataclasses.replace(CONFIG, steps=1), cases, tmp_path / "run")
    with pytest.raises(InputError, match="add --resume"):
        train(CONFIG, TrainingCases(cases.training[:1]), tmp_path / "run")
    train(CONFIG, cases, tmp_path / "run", sitting=Sitting(resume=True))
    assert not caplog.messages
    train(CONFIG, TrainingCases(cases.training[:1]), tmp_path / "run", sitting=Sitting(resume=True))
    assert "begun on other cases" in caplog.text
    assert json.loads((tmp_path / "run" / "cases.json").read_text())["training"] == ["case_000000"]


def test_a_member_is_validated_on_cases_it_does_not_see_and_stops_when_it_gets_no_better(
    cases: TrainingCases, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, steps=50, validate_every=2, patience=2, learning_rate=0.0)
    parted = TrainingCases(cases.training[:2], cases.training[2:])
    run = train(config, parted, tmp_path / "run")
    assert (run.step, run.best_step) == (6, 2)
    assert run.best_weights is not None
    with pytest.raises(InputError, match="a subset below 1"):
        train(config, cases, tmp_path / "none")


def trained_recipes(recipe: dict) -> list[dict]:
    """A recipe, or all those that a mean of weights goes back to."""
    if "average_of" not in recipe:
        return [recipe]
    assert len(recipe["average_of"]) == len(recipe["recipes"])
    return [each for part in recipe["recipes"] for each in trained_recipes(part)]


def test_the_recipes_of_the_bundled_ensemble_are_still_configurations() -> None:
    manifest = json.loads((Path(__file__).parents[2] / "Resources" / "ensemble" / "bundle.json").read_text())
    for recipe in [each for member in manifest["training"]["members"] for each in trained_recipes(member)]:
        notes = {"steps_done", "snapshot_of_run"}
        values = {name: value for name, value in recipe.items() if name not in notes}
        config = TrainingConfig.from_json({**values, "network": manifest["network"]})
        assert config.learning_rate == recipe["learning_rate"]
        config.check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "half"}, "precision must be one of float32, bfloat16"),
        ({"loss": "focal"}, "loss must be one of cross_entropy"),
        ({"steps": 0}, "steps must be 1 or more; found 0"),
        ({"member": -1}, "member must be 0 or more; found -1"),
        ({"seed": -1}, "seed must be 0 or more; found -1"),
        ({"patch_sizes": ((16, 16, 0),)}, "patch_sizes must name"),
        ({"patch_sizes": ((16.5, 16, 4),)}, "patch_sizes must name"),
    ],
)
def test_what_cannot_be_trained_is_said_before_it_is_tried(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        dataclasses.replace(CONFIG, **change).check()


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
