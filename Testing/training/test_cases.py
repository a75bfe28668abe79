"""Which cases a member sees, and those that are still being simulated."""

from __future__ import annotations

import json
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.simulation.procedural import procedural_anatomy
from ICHSegmentationLib.training.cases import TrainingCases, cases_of, cases_of_fold, cases_to_come
from ICHSegmentationLib.training.pool import case_folders, group_of, parameters_of
from ICHSegmentationLib.training.simulating import Simulators

RNG = np.random.default_rng


def test_a_member_sees_its_share_of_the_heads(pool: Path) -> None:
    for number, folder in enumerate(case_folders(pool)):
        (folder / "case.json").write_text(json.dumps({"spacing_mm": [1, 1, 5], "group": f"head {number // 2}"}))
    cases = cases_of(case_folders(pool), 0.5, seed=0, member=0)
    assert {len(cases.training), len(cases.validation)} == {1, 2}


def test_pools_of_earlier_versions_still_tell_their_heads(pool: Path) -> None:
    folder = case_folders(pool)[0]
    assert group_of(folder) == "case_000000"
    (folder / "case.json").write_text(json.dumps({"spacing_mm": [1, 1, 5], "parameters": {"anatomy": 4}}))
    assert group_of(folder) == "anatomy 4"


def test_a_fold_parts_the_cases_as_nnunet_did(pool: Path, tmp_path: Path) -> None:
    splits = tmp_path / "splits_final.json"
    splits.write_text(json.dumps([{"train": ["case_000002"], "val": ["case_000000"]}]))
    cases = cases_of_fold(case_folders(pool), splits, 0)
    assert [folder.name for folder in cases.training] == ["case_000002"]
    assert [folder.name for folder in cases.validation] == ["case_000000"]


def test_a_growing_pool_is_drawn_from_by_number_and_not_by_the_clock(pool: Path, tmp_path: Path) -> None:
    template = case_folders(pool)[0]
    folders = tuple(tmp_path / "grown" / f"case_{number:06d}" for number in range(40))
    for folder in folders:
        shutil.copytree(template, folder)
    growing = TrainingCases(folders, growing=True)
    early = {growing.drawn(number, RNG(number)).name for number in range(100)}
    assert early <= {folder.name for folder in folders[:12]}
    assert len(early) > 8
    late = {growing.drawn(100_000, RNG(number)).name for number in range(400)}
    assert len(late) == 40


def test_a_case_that_is_not_there_yet_is_waited_for(pool: Path, tmp_path: Path) -> None:
    folder = tmp_path / "case_000000"
    timer = threading.Timer(0.3, lambda: shutil.copytree(case_folders(pool)[0], folder))
    timer.start()
    started = time.monotonic()
    assert TrainingCases((folder,), growing=True).drawn(0, RNG(0)).name == "case_000000"
    assert time.monotonic() - started > 0.25
    timer.join()


def test_simulators_fill_a_pool_with_the_cases_that_were_foretold(tmp_path: Path) -> None:
    head = tmp_path / "head.npz"
    procedural_anatomy(0, 6.0).save(head)
    pool = tmp_path / "pool"
    to_come = cases_to_come(pool, 1, 5, anatomies=2, share=1.0, seed=0, member=0)
    with Simulators([head, head], pool, 1, seed=5, processes=1) as simulators:
        stored = to_come.drawn(0, RNG(0))
        simulators.check()
    assert stored.name == "case_000000"
    description = json.loads((pool / "case_000000" / "case.json").read_text())
    assert description["parameters"] == json.loads(json.dumps(parameters_of(5, 0, 2).to_json()))
    assert description["group"] == f"anatomy {parameters_of(5, 0, 2).anatomy}"


def test_the_heads_of_cases_to_come_are_never_parted(tmp_path: Path) -> None:
    parted = cases_to_come(tmp_path, 30, 5, anatomies=4, share=0.5, seed=0, member=0)
    assert len(parted.training) + len(parted.validation) == 30
    heads = [
        {parameters_of(5, int(folder.name.split("_")[1]), 4).anatomy for folder in folders}
        for folders in (parted.training, parted.validation)
    ]
    assert [len(side) for side in heads] == [2, 2]
    assert heads[0].isdisjoint(heads[1])


def test_simulators_that_fail_are_not_waited_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Simulators([tmp_path / "absent.npz"], tmp_path / "pool", 1, 0, processes=1) as simulators:
        cases = TrainingCases((tmp_path / "pool" / "case_000000",), growing=True, check=simulators.check)
        with pytest.raises(InputError, match="simulator 0 of the simulation ended with code 1"):
            cases.drawn(0, RNG(0))
    assert "absent.npz" in capfd.readouterr().err
