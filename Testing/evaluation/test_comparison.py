"""`ich compare`: the same cases for all, each in its own process, nothing done twice, failures told."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from stand_ins import CATALOGUE

from ICHSegmentationLib.cli import main
from ICHSegmentationLib.data.nnunet import read_raw
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.child import find_system, merged
from ICHSegmentationLib.evaluation.comparison import Spent, alone
from ICHSegmentationLib.evaluation.split import split_of

pytest.importorskip("surface_distance", reason="surface-distance is not installed (pip install '.[evaluate]')")


def command(raw: Path, out: Path, *more: str) -> list[str]:
    base = ["compare", "--data", str(raw), "--out", str(out), "--catalogue", CATALOGUE, "--steps", "7"]
    return [*base, "--device", "cpu", *more]


def trainings(out: Path, system: str) -> list[dict]:
    return [json.loads(line) for line in (out / system / "run" / "trainings.jsonl").read_text().splitlines()]


def test_all_systems_appear_in_one_table_of_one_command(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(command(raw, out)) == 0
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.startswith(("everywhere", "upper"))]
    assert [row.split()[0] for row in rows] == ["everywhere", "upper"]  # the better first
    assert "Research use only" in printed
    assert {file.name for file in out.glob("comparison.*")} == {
        f"comparison.{kind}" for kind in ("md", "csv", "json", "png")
    }
    assert "Wilcoxon" in (out / "comparison.md").read_text()
    systems = json.loads((out / "comparison.json").read_text())["systems"]
    assert systems[0]["evaluation"]["overall"]["metrics"]["dice"]["mean"] == pytest.approx(1)
    assert systems[0]["parameters"] == 1
    assert all(system["training"]["memory_mb"] > 50 for system in systems)
    assert all(system["training"]["processor_seconds"] > 0.1 for system in systems)
    # the same cases for both, none of them judged on
    seen = [trainings(out, name) for name in ("everywhere", "upper")]
    assert seen[0] == seen[1]
    assert (len(seen[0]), seen[0][0]["steps"], len(seen[0][0]["cases"])) == (1, 7, 3)
    assert set(systems[0]["dice"]) == {f"case_{number}" for number in range(4)} - set(seen[0][0]["cases"])

    before = (out / "comparison.json").read_text()
    assert main(command(raw, out)) == 0  # nothing is left to do
    assert len(trainings(out, "everywhere")) == 1
    assert (out / "comparison.json").read_text() == before
    assert main([*command(raw, out), "--seed", "1"]) == 2
    assert "holds other cases" in capsys.readouterr().err


def test_a_system_that_fails_is_named_and_does_not_stop_the_others(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text('{"everywhere": {"fails": true}, "upper": {"threshold_hu": 60}}')
    out = tmp_path / "out"
    assert main(command(raw, out, "--settings", str(settings))) == 2
    printed = capsys.readouterr()
    assert "1 of 2 systems failed" in printed.err
    assert "this stand-in was told to fail" in printed.err
    values = json.loads((out / "comparison.json").read_text())
    assert [system["entrant"]["label"] for system in values["systems"]] == ["upper"]
    assert values["systems"][0]["entrant"]["settings"] == {"threshold_hu": 60}
    assert values["failed"][0]["label"] == "everywhere"


def test_finished_runs_are_judged_without_training(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs" / "upper").mkdir(parents=True)
    out = tmp_path / "out"
    more = ("--systems", "upper", "--runs", str(tmp_path / "runs"))
    assert main(command(raw, out, *more)) == 0
    assert json.loads((out / "comparison.json").read_text())["systems"][0]["training"] is None
    assert not (out / "upper" / "run").exists()
    (tmp_path / "others" / "upper").mkdir(parents=True)
    assert main(command(raw, out, "--systems", "upper", "--runs", str(tmp_path / "others"))) == 2
    assert "was begun with run" in capsys.readouterr().err
    assert main(command(raw, out, "--runs", str(tmp_path / "runs"))) == 2
    assert "there is no run" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on Unix")
def test_when_the_comparison_is_killed_its_child_ends_too_and_the_next_run_goes_on(raw: Path, tmp_path: Path) -> None:
    settings, out = tmp_path / "settings.json", tmp_path / "out"
    settings.write_text('{"upper": {"seconds": 60}}')
    arguments = command(raw, out, "--systems", "everywhere,upper", "--settings", str(settings))
    process = subprocess.Popen([sys.executable, "-m", "ICHSegmentationLib", *arguments], stderr=subprocess.DEVNULL)
    note = out / "upper" / "run" / "pid"
    until = time.monotonic() + 90
    while not (note.exists() and note.read_text()) and time.monotonic() < until:
        time.sleep(0.05)
    child = psutil.Process(int(note.read_text()))
    process.send_signal(signal.SIGKILL)
    process.wait()
    child.wait(timeout=20)  # raises if it lives on
    assert len(trainings(out, "everywhere")) == 1
    assert (out / "everywhere" / "prediction.json").exists()
    assert not (out / "upper" / "training.json").exists()


def test_two_comparisons_do_not_work_on_one_system_at_a_time(tmp_path: Path) -> None:
    mark = tmp_path / "training_job.pid"
    with alone(mark), pytest.raises(InputError, match=f"process {os.getpid()} is at work"), alone(mark):
        pass
    mark.write_text("4194305")  # more than Linux gives out: a process that ended without a word
    with alone(mark):
        assert mark.read_text() == str(os.getpid())
    assert not mark.exists()


def test_sittings_add_up() -> None:
    both = Spent(10, 5, 300).and_then(Spent(2, 1, 200))
    assert both == Spent(12, 6, 300)


def test_the_data_sets_own_test_cases_are_taken_where_it_has_them(raw: Path, tmp_path: Path) -> None:
    for part in ("images", "labels"):
        (raw / f"{part}Ts").mkdir()
        for file in (raw / f"{part}Tr").glob("case_0*"):
            (raw / f"{part}Ts" / file.name.replace("case_0", "held")).write_bytes(file.read_bytes())
    split = split_of(raw, tmp_path, test_share=0.5, seed=0)
    assert split.training_data == raw
    assert [test.case for test in split.tests] == ["held"]
    (raw / "imagesTs" / "held_0000.nii.gz").unlink()
    with pytest.raises(InputError, match="held has a label in"):
        split_of(raw, tmp_path, test_share=0.5, seed=0)


def test_a_share_of_the_cases_is_held_out_by_the_seed(raw: Path, tmp_path: Path) -> None:
    first, again = (split_of(raw, tmp_path / name, 0.5, seed=3) for name in ("a", "b"))
    assert [test.case for test in first.tests] == [test.case for test in again.tests]
    assert len(first.tests) == len(first.training) == 2
    assert {test.case for test in first.tests}.isdisjoint(first.training)
    assert [case.name for case in read_raw(first.training_data).cases] == list(first.training)
    others = {tuple(test.case for test in split_of(raw, tmp_path / str(seed), 0.5, seed).tests) for seed in range(6)}
    assert len(others) > 1
    with pytest.raises(InputError, match="4 cases and no labelsTs; a test share of 1 leaves 4 to judge on and 0"):
        split_of(raw, tmp_path / "c", 1.0, seed=0)


def test_settings_change_level_by_level() -> None:
    assert merged({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 4}}) == {"a": 1, "b": {"c": 2, "d": 4}}
    system = find_system(CATALOGUE, "upper", {"threshold_hu": 61.0})
    assert dataclasses.asdict(system.settings)["threshold_hu"] == 61  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--systems", "unet"], "no system 'unet'; known are everywhere, upper"),
        (["--systems", "upper,upper"], "named once"),
        (["--catalogue", "nowhere:systems"], "is no catalogue"),
        (["--steps", "0"], "steps must be 1 or more"),
        (["--settings", "missing.json"], "is no settings file"),
        (["--data", "nowhere"], "nowhere is no nnU-Net raw data set"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main(command(raw, tmp_path / "out", *more)) == 2
    assert said in capsys.readouterr().err


def test_unknown_settings_are_refused_before_anything_trains(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.json"
    wrong = {
        '{"upper": {"depth": 3}}': "has no setting 'depth'",
        '{"unet": {}}': "settings for unet",
        "[]": "no settings file",
    }
    for content, said in wrong.items():
        settings.write_text(content)
        assert main(command(raw, tmp_path / "out", "--settings", str(settings))) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "upper").exists()
