"""`ich compare`: the same cases for all, each in its own process, nothing done twice, failures told."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from programs import ich, wait_until
from stand_ins import CATALOGUE

from ICHSegmentationLib.baselines.cases import prepare_cases
from ICHSegmentationLib.baselines.preparation import densities
from ICHSegmentationLib.baselines.runs import merged
from ICHSegmentationLib.cli import main
from ICHSegmentationLib.data.nnunet import read_raw
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.child import find_system
from ICHSegmentationLib.evaluation.jobs import Spent, alone
from ICHSegmentationLib.evaluation.split import link_cases, split_of
from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.volume import as_volume

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
    assert main([*command(raw, out), "--steps", "8"]) == 2
    assert "was begun with steps 7 and 8 is wanted now" in capsys.readouterr().err
    assert (out / "comparison.json").read_text() == before  # the finished table stays


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


def test_where_all_systems_fail_nothing_is_written(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, out = tmp_path / "settings.json", tmp_path / "out"
    settings.write_text('{"upper": {"fails": true}}')
    assert main(command(raw, out, "--settings", str(settings), "--systems", "upper")) == 2
    assert "none of the 1 systems could be judged; the first: " in capsys.readouterr().err
    assert not list(out.glob("comparison.*"))


def test_minutes_of_an_earlier_sitting_are_taken_off_once(raw: Path, tmp_path: Path) -> None:
    settings, out = tmp_path / "settings.json", tmp_path / "out"
    settings.write_text('{"upper": {"stops_after_minutes": 4}}')
    arguments = command(raw, out, "--settings", str(settings), "--systems", "upper", "--minutes", "10")
    assert main(arguments) == 2  # stopped
    assert main(arguments) == 0
    assert [each["minutes"] for each in trainings(out, "upper")] == [pytest.approx(6)]


def other_grid(raw: Path, held_out: str) -> None:
    label = as_volume(np.zeros((24, 24, 24), np.uint8), (3.0, 3.0, 3.2))
    write_image_file(raw / "labelsTr" / f"{held_out}.nii.gz", label.hu.astype(np.uint8), label.affine, {})


def strange_label(raw: Path, held_out: str) -> None:
    label = as_volume(np.full((24, 24, 24), 9, np.uint8), (3.0, 3.0, 3.0))
    write_image_file(raw / "labelsTr" / f"{held_out}.nii.gz", label.hu.astype(np.uint8), label.affine, {})


@pytest.mark.parametrize(("spoil", "said"), [(other_grid, "lie on different grids"), (strange_label, "it holds 9")])
def test_test_cases_that_cannot_be_judged_are_refused_before_anything_trains(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path, str], None], said: str
) -> None:
    held_out = split_of(raw, tmp_path / "first", 0.25, seed=0).tests[0].case
    spoil(raw, held_out)
    assert main(command(raw, tmp_path / "out")) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "upper").exists()


def test_a_missing_package_is_told_before_anything_trains(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "surface_distance", None)
    assert main(command(raw, tmp_path / "out")) == 2
    assert "surface-distance, which is not installed" in capsys.readouterr().err
    assert not (tmp_path / "out" / "upper").exists()


def test_what_the_second_system_would_refuse_is_told_before_the_first_trains(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.json"
    settings.write_text('{"upper": {"refuses": true}}')
    assert main(command(raw, tmp_path / "out", "--settings", str(settings))) == 2
    assert "told to refuse" in capsys.readouterr().err
    assert not (tmp_path / "out" / "everywhere").exists()


def test_a_run_is_not_judged_on_cases_that_it_was_trained_on(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, run = read_raw(raw), tmp_path / "runs" / "upper"
    prepare_cases(dataset, run / "cases", densities)
    assert main(command(raw, tmp_path / "out", "--systems", "upper", "--runs", str(run.parent))) == 2
    held_out = split_of(raw, tmp_path / "again", 0.25, seed=0).tests[0].case
    assert f"was trained on {held_out}, on which it would be judged" in capsys.readouterr().err


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
    note = out / "upper" / "run" / "pid"
    with ich(*arguments, stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: note.exists() and note.read_text(), process)
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
    mark.write_text("")
    with pytest.raises(InputError, match="holds '' and no process number"), alone(mark):
        pass


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


def grouped(raw: Path, groups: dict[str, str]) -> None:
    (raw / "groups.json").write_text(json.dumps(groups))


def test_cases_of_one_head_stay_on_one_side_and_are_known_as_such(raw: Path, tmp_path: Path) -> None:
    grouped(raw, {"case_0": "a", "case_1": "b", "case_2": "a", "case_3": "b"})
    for seed in range(4):
        split = split_of(raw, tmp_path / str(seed), 0.25, seed)  # one of four cases, but heads are not parted
        held_out = {test.case for test in split.tests}
        assert held_out in ({"case_0", "case_2"}, {"case_1", "case_3"})
        assert held_out.isdisjoint(split.training)
        linked = read_raw(split.training_data).cases
        assert len({case.group for case in linked}) == 1  # so that no system parts them to validate
    grouped(raw, {"case_0": "a", "case_2": "b"})
    with pytest.raises(InputError, match="other cases than are wanted now, or other groups"):
        link_cases(read_raw(raw), read_raw(raw).cases[:2], tmp_path / "0" / "training_data")
    grouped(raw, dict.fromkeys([f"case_{number}" for number in range(4)], "a"))
    with pytest.raises(InputError, match=r"leaves 4 to judge on and 0 to train on.*heads: 1"):
        split_of(raw, tmp_path / "one", 0.25, seed=0)


def test_own_test_cases_of_heads_that_are_trained_on_are_refused(raw: Path, tmp_path: Path) -> None:
    for part in ("images", "labels"):
        (raw / f"{part}Ts").mkdir()
        for file in (raw / f"{part}Tr").glob("case_0*"):
            (raw / f"{part}Ts" / file.name.replace("case_0", "held")).write_bytes(file.read_bytes())
    grouped(raw, {"held": "head 7", "case_1": "head 7"})
    with pytest.raises(InputError, match=r"held in .* and case_1 in labelsTr are of one head \(head 7\)"):
        split_of(raw, tmp_path, 0.5, seed=0)
    grouped(raw, {"held": "head 8", "case_1": "head 7"})
    assert len(split_of(raw, tmp_path, 0.5, seed=0).tests) == 1


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
        (["--seed", "-1"], "seed must be 0 or more; found -1"),
        (["--test-share", "nan"], "must lie between 0 and 1; found nan"),
        (["--minutes", "nan"], "minutes of training must be more than 0"),
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
