"""Training from the command line: on a data set of one's own, resumed, stopped, refused."""

from __future__ import annotations

import dataclasses
import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SMALL, head_with_ball
from programs import ich, wait_until

from ICHSegmentationLib import cli
from ICHSegmentationLib.cli import main
from ICHSegmentationLib.data.nnunet import SIMULATED, LabelledScan, read_description, read_raw, write_nnunet_raw
from ICHSegmentationLib.training import commands
from ICHSegmentationLib.training.checkpoint import CHECKPOINT
from ICHSegmentationLib.training.loop import Progress
from ICHSegmentationLib.training.loss import bleed_logit
from ICHSegmentationLib.training.sources import source_for, sources_of
from ICHSegmentationLib.training.train import chosen_config
from ICHSegmentationLib.unet import PRESETS, SUBTYPES_OUT, EquivariantUNet, UNetConfig

SETTINGS = {"network": dataclasses.asdict(SMALL), "patch_sizes": [[16, 16, 2]], "validate_every": 2}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps(SETTINGS))
    return path


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    scans = []
    for number in range(5):
        volume = head_with_ball((8.0, 8.0, 12.0), centre_mm=(20.0, 10.0 - 8 * number, 0.0))
        label = ((volume.hu > 60) & (volume.hu < 200)).astype(np.uint8)
        scans.append(LabelledScan(f"ICH_{number:03d}", volume, label))
    write_nnunet_raw(scans, tmp_path / "Dataset501_ICH")
    return tmp_path / "Dataset501_ICH"


def test_one_command_trains_on_an_nnunet_data_set_and_another_goes_on(
    raw: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data", str(raw), "--out", str(tmp_path / "run"), "--config", str(config), "--steps"]
    assert main([*command, "2"]) == 0
    assert (tmp_path / "Dataset501_ICH-pool" / "ICH_004" / "case.json").exists()
    seen = json.loads((tmp_path / "run" / "cases.json").read_text())
    assert (len(seen["training"]), len(seen["validation"])) == (4, 1)
    assert main([*command, "4"]) == 2
    assert "add --resume" in capsys.readouterr().err
    assert main([*command, "4", "--resume"]) == 0
    said = capsys.readouterr().out
    assert "Member 0 stands at step 4 of 4" in said
    assert "Best score on cases it did not train on: 0." in said
    assert main([*command, "4", "--resume", "--precision", "bfloat16"]) == 2
    assert "another configuration (precision)" in capsys.readouterr().err


def test_a_member_begins_with_weights_of_a_bundle_and_says_so(raw: Path, tmp_path: Path, small_bundle: Path) -> None:
    config = tmp_path / "patches.json"
    config.write_text(json.dumps({"patch_sizes": [[16, 16, 4]], "steps": 1}))
    command = ["train", "--data", str(raw), "--out", str(tmp_path / "run"), "--config", str(config)]
    assert main([*command, "--member", "3", "--start", str(small_bundle), "--device", "cpu"]) == 0
    described = json.loads((tmp_path / "run" / "config.json").read_text())
    assert described["started_from"].startswith("member 1 of small 0 (")
    assert described["network"]["irreps_levels"] == list(SMALL.irreps_levels)


def test_a_member_begins_with_instance_norms_and_goes_on_with_fixed_ones(
    raw: Path, tmp_path: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "fixed.json"
    command = ["train", "--data", str(raw), "--config", str(config), "--start", str(small_bundle), "--device", "cpu"]
    same = {**dataclasses.asdict(SMALL), "norm": "fixed"}
    config.write_text(json.dumps({"network": same, "patch_sizes": [[16, 16, 4]], "steps": 1}))
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    described = json.loads((tmp_path / "run" / "config.json").read_text())
    assert described["network"]["norm"] == "fixed"
    assert described["started_from"].startswith("member 0 of small 0 (")
    config.write_text(json.dumps({"network": {**same, "parity": False}, "patch_sizes": [[16, 16, 4]]}))
    assert main([*command, "--out", str(tmp_path / "other")]) == 2
    assert "describes another network" in capsys.readouterr().err


def test_a_member_that_tells_bleed_learns_to_tell_subtypes_and_begins_with_as_much_bleed(
    pool: Path, tmp_path: Path, small_bundle: Path
) -> None:
    config = tmp_path / "subtypes.json"
    wished = {**dataclasses.asdict(SMALL), "irreps_out": SUBTYPES_OUT}
    config.write_text(json.dumps({"network": wished, "patch_sizes": [[16, 16, 4]], "steps": 2}))
    source = source_for(small_bundle, 0)
    begun = EquivariantUNet(UNetConfig.from_json(wished))
    begun.load_state_dict(source.weights_for(begun.config))
    channels = torch.randn(1, 3, 12, 12, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = source.built()(channels, (1.0, 1.0, 2.0)), begun(channels, (1.0, 1.0, 2.0))
    assert torch.allclose(bleed_logit(after), before, atol=1e-5)
    assert torch.allclose(after[:, 1:2].expand(-1, 5, -1, -1, -1), after[:, 1:], atol=1e-6)

    command = ["train", "--data", str(pool), "--config", str(config), "--start", str(small_bundle), "--device", "cpu"]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    [trained] = sources_of(tmp_path / "run")
    assert trained.network.irreps_out == SUBTYPES_OUT
    assert not torch.equal(trained.weights["bias"][1:], trained.weights["bias"][1:].mean().expand(5))


def test_a_member_takes_its_fold_of_nnunets_splits(raw: Path, config: Path, tmp_path: Path) -> None:
    splits = tmp_path / "splits_final.json"
    splits.write_text(json.dumps([{"train": ["ICH_000"], "val": ["ICH_001"]}, {"train": ["ICH_002"], "val": []}]))
    command = ["train", "--data", str(raw), "--config", str(config), "--splits", str(splits), "--steps", "1"]
    for member, case in ((0, "ICH_000"), (1, "ICH_002")):
        out = tmp_path / f"run{member}"
        assert main([*command, "--out", str(out), "--member", str(member)]) == 0
        assert json.loads((out / "cases.json").read_text())["training"] == [case]
    assert main([*command, "--out", str(tmp_path / "none"), "--member", "2"]) == 2


def test_a_configuration_file_may_change_everything_and_names_nothing_unknown(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**SETTINGS, "learning_rate": 0.02, "loss": "cross_entropy_and_dice"}))
    command = ["train", "--data", str(pool), "--out", str(tmp_path / "run"), "--config", str(config)]
    assert main([*command, "--steps", "1", "--member", "3"]) == 0
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (written["learning_rate"], written["steps"], written["member"]) == (0.02, 1, 3)
    assert chosen_config("compact", None).network == PRESETS["compact"]
    config.write_text(json.dumps({"network": {"norm": "fixed"}}))
    assert chosen_config("compact", config).network == dataclasses.replace(PRESETS["compact"], norm="fixed")
    for wrong in ('{"no such setting": 1}', '{"steps": "many"}', '{"loss": ["dice"]}', "[1]", "{", '{"network": 1}'):
        config.write_text(wrong)
        assert main(command) == 2
        assert "no training configuration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (["--data", "absent"], "there is no folder"),
        (["--data", "."], "no complete case of `ich simulate`, and no dataset.json"),
        (["--simulate", "."], "holds no label maps"),
        (["--simulate", ".", "--splits", "x.json"], "--splits names cases of --data"),
        (["--simulate", ".", "--cases", "0"], "--cases must be 1 or more; found 0"),
        (["--data", ".", "--preset", "large"], "the preset must be one of"),
        (["--data", ".", "--precision", "float16"], "the precision must be one of float32, bfloat16"),
        (["--data", ".", "--steps", "0"], "steps must be 1 or more"),
        (["--data", ".", "--member", "-1"], "member must be 0 or more; found -1"),
        (["--data", ".", "--minutes", "nan"], "--minutes must be more than 0; found nan"),
        (["--simulate", ".", "--simulation-seed", "-1"], "--simulation-seed must be 0 or more; found -1"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_sentence_and_leaves_no_run(
    wish: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", *wish, "--out", "run"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_cannot_be_written_is_told_in_one_sentence(
    pool: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "--data", str(pool), "--config", str(config), "--steps", "1", "--out", str(config / "run")]
    assert main(command) == 3
    assert capsys.readouterr().err == f"ich: results cannot be written to {config / 'run'}: Not a directory.\n"


def test_sigterm_ends_training_with_a_checkpoint_and_a_word_on_how_to_go_on(
    pool: Path, config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    with ich("train", "--data", pool, "--config", config, "--out", run) as process:
        wait_until((run / "log.csv").exists, process)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "--resume goes on" in said
    assert (run / CHECKPOINT).exists()


def test_ctrl_c_before_the_training_began_is_one_line(
    pool: Path, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ICHSegmentationLib.training.commands.cases_for", pressed)
    before = signal.getsignal(signal.SIGTERM)
    assert main(["train", "--data", str(pool), "--config", str(config), "--out", str(tmp_path / "run")]) == 130
    assert capsys.readouterr().err == "\nich: stopped.\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_training_from_hard_places_takes_patches_there_and_resumes_the_same(
    pool: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hard, run = tmp_path / "hard.json", tmp_path / "run"
    for file in pool.glob("case_*/hu.npy"):
        hu = np.load(file)
        hu[:4] = -1000  # air beside the head, without which it would be no CT
        np.save(file, hu)
    train = ["train", "--data", str(pool), "--config", str(config), "--device", "cpu"]
    assert main([*train, "--steps", "2", "--out", str(run)]) == 0
    assert main(["mine", str(run), "--data", str(pool), "--out", str(hard), "--device", "cpu"]) == 0
    assert "mL missed" in capsys.readouterr().out
    assert json.loads(hard.read_text())["network"] == ["run, step 2"]
    begun = [*train, "--hard", str(hard), "--start", str(run)]
    for name, steps in (("whole", "4"), ("stopped", "2"), ("stopped", "4")):
        assert main([*begun, "--steps", steps, "--out", str(tmp_path / name), "--resume"]) == 0
    whole, stopped = ((tmp_path / name / "checkpoint.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert whole == stopped
    assert len(json.loads((tmp_path / "whole" / "config.json").read_text())["hard_places"]) == 64
    assert main([*train, "--steps", "4", "--out", str(tmp_path / "whole"), "--resume"]) == 2  # without the places
    assert "hard_places" in capsys.readouterr().err


def test_an_export_is_an_nnunet_data_set_that_says_it_is_simulated(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(pool), "--out", str(tmp_path / "raw")]) == 0
    assert read_description(tmp_path / "raw")["description"] == SIMULATED
    assert main(["export", str(pool), "--out", str(tmp_path / "subtypes"), "--subtypes"]) == 0
    assert [case.name for case in read_raw(tmp_path / "raw").cases] == [f"case_{number:06d}" for number in range(3)]
    assert read_raw(tmp_path / "subtypes").labels["EDH"] == 5
    assert main(["export", str(tmp_path / "raw"), "--out", str(tmp_path / "none")]) == 2
    assert "a folder of `ich simulate` is wanted" in capsys.readouterr().err


def test_without_a_terminal_progress_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Progress(10, 100, 0.25, 1800.0, 0.02, 0.5)
    with cli.Bar() as bar:
        commands.show_training(bar, progress)
        assert capsys.readouterr().err == ""
        monkeypatch.setattr(cli, "SECONDS_BETWEEN_LINES", 0.0)
        commands.show_training(bar, progress)
    said = "training 10%: step 10 of 100, loss 0.250, Dice 0.500, 30 min left, 2% of the time waiting for data\n"
    assert capsys.readouterr().err == said
