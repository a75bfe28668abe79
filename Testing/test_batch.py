"""A batch: every scan gets a row, none stops the rest, what is done stays done. (Folders: test_batch_files.py.)"""

from __future__ import annotations

import csv
import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicom_files import NAME, write_series
from helpers import head_with_ball, small_info, small_network

from ICHSegmentationLib.batch import STATE, TABLE, Batch, Settings, read_records
from ICHSegmentationLib.batch_files import find_cases
from ICHSegmentationLib.ensemble import save_bundle
from ICHSegmentationLib.errors import BundleError, InputError, OutputError
from ICHSegmentationLib.image_files import read_image_file, write_image_file
from ICHSegmentationLib.terminology import DISCLAIMER
from ICHSegmentationLib.worker_keeper import WorkerKeeper

HEAD = head_with_ball(spacing_mm=(4.0, 4.0, 8.0))
LONGEST_WAIT_S = 120.0
STATISTICS = {
    "volume_ml": 12.5, "volume_ml_range": [11.0, 14.0], "threshold": 0.5, "quality": "fast", "device": "cpu",
    "lesions": [{"volume_ml": 9.0, "abc2_ml": 10.0}, {"volume_ml": 3.5, "abc2_ml": 3.0}], "warnings": ["Thick slices."],
    "bundle": {"name": "small", "version": "0", "sha256": "0" * 64},
}  # fmt: skip


@dataclass
class PlayedWorker:
    """Answers as told, at once: by the name of the scan, else with a result. Writes what FileCase looks for."""

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    waiting: list[dict[str, Any]] = field(default_factory=list)
    is_silent: bool = False

    def ask(self, request: dict[str, Any]) -> None:
        name = Path(request["scan"]).name
        self.asked.append(name)
        answer = self.answers.get(name, {"message": "result", "statistics": STATISTICS})
        if answer["message"] == "result":
            Path(request["out"]).mkdir(parents=True, exist_ok=True)
            for file in ("statistics.json", "segmentation.nii.gz"):
                (Path(request["out"]) / file).touch()
        self.waiting = [] if self.is_silent else [answer]

    def messages(self) -> list[dict[str, Any]]:
        said, self.waiting = self.waiting, []
        return said


@pytest.fixture
def played() -> PlayedWorker:
    return PlayedWorker()


@pytest.fixture(scope="module")
def keeper() -> Iterator[WorkerKeeper]:
    kept = WorkerKeeper()
    yield kept
    kept.end()


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Three files that a played worker takes for scans."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in ("a", "b", "c"):
        (folder / f"{name}.nii.gz").write_text(name)
    return folder


def batch_of(
    scans: Path, bundle: Path, worker: Callable[[], Any], resume: bool = True, **options: object
) -> tuple[Batch, Path]:
    out = scans.parent / "out"
    return Batch(find_cases([scans], out), out, Settings(bundle, options), worker, resume), out


def run(batch: Batch) -> Batch:
    until = time.monotonic() + LONGEST_WAIT_S
    while not batch.is_over:
        assert time.monotonic() < until
        if not batch.listen():
            time.sleep(0.01)
    return batch


def table(out: Path) -> list[dict[str, str]]:
    with (out / TABLE).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_scans_of_all_kinds_are_segmented_and_bad_ones_told_and_passed_over(
    tmp_path: Path, small_bundle: Path, keeper: WorkerKeeper, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "scans"
    origins = HEAD.origins_mm * [-1, -1, 1]
    write_series(folder / "exam", HEAD.hu, origins, (-1, 0, 0), (0, -1, 0), pixel_mm=4.0, SliceThickness=8.0)
    write_image_file(folder / "head.nrrd", HEAD.hu, HEAD.affine, {})
    (folder / "damaged.nii.gz").write_bytes(b"no scan")
    with caplog.at_level(logging.DEBUG):
        batch, out = batch_of(folder, small_bundle, keeper.running, quality="full", threshold=0.4)
        run(batch)
    failed, exam, head = table(out)
    assert (failed["scan"], failed["state"]) == ("damaged.nii.gz", "failed")
    assert "header is damaged" in failed["problem"]
    assert not (out / "damaged.nii.gz").exists()
    assert (exam["state"], head["state"]) == ("done", "done")
    assert {"volume_ml", "volume_low_ml", "lesions", "largest_ml", "largest_abc2_ml", "seconds"} <= head.keys()
    statistics = json.loads((out / "exam" / "statistics.json").read_text())
    assert float(exam["volume_ml"]) == pytest.approx(statistics["volume_ml"], abs=1e-3)
    assert exam["sha256"] == statistics["bundle"]["sha256"]
    assert exam["note"] == DISCLAIMER
    masks = [read_image_file(out / name / "segmentation.nii.gz").hu for name in ("exam", "head.nrrd")]
    assert np.array_equal(*masks)
    written = (out / TABLE).read_text() + (out / STATE).read_text() + caplog.text
    assert not any(part.lower() in written.lower() for part in (*NAME.split("^"), "4711"))


def test_a_finished_scan_is_not_run_again(scans: Path, small_bundle: Path, played: PlayedWorker) -> None:
    first, out = batch_of(scans, small_bundle, lambda: played)
    run(first)
    before = table(out)
    (scans / "d.nii.gz").write_text("new")
    second, _ = batch_of(scans, small_bundle, lambda: played)
    assert table(out) == before
    run(second)
    assert played.asked == ["a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii.gz"]
    assert second.skipped == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    assert [row["scan"] for row in table(out)] == ["a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nii.gz"]


@pytest.mark.parametrize("change", ["scan", "result", "options", "bundle", "wish"])
def test_what_has_changed_is_run_again(
    change: str, scans: Path, small_bundle: Path, tmp_path: Path, played: PlayedWorker
) -> None:
    _, out = run(batch_of(scans, small_bundle, lambda: played, quality="fast")[0]), scans.parent / "out"
    options: dict[str, object] = {"quality": "fast"}
    again = ["b.nii.gz"]
    if change == "scan":
        (scans / "b.nii.gz").write_text("another")
    elif change == "result":
        (out / "b.nii.gz" / "segmentation.nii.gz").unlink()
    elif change == "bundle":
        small_bundle = tmp_path / "other"
        save_bundle(small_bundle, small_info(version="1"), [small_network(3).state_dict()])
    elif change == "options":
        options = {"quality": "full"}
    if change not in ("scan", "result"):
        again = ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    played.asked.clear()
    run(batch_of(scans, small_bundle, lambda: played, resume=change != "wish", **options)[0])
    assert played.asked == again


def test_a_failed_scan_is_tried_again(scans: Path, small_bundle: Path, played: PlayedWorker) -> None:
    played.answers["b.nii.gz"] = {"message": "error", "text": "the disk was away."}
    batch, out = batch_of(scans, small_bundle, lambda: played)
    assert [(row.scan, row.problem) for row in run(batch).failures] == [("b.nii.gz", "the disk was away.")]
    played.answers.clear()
    run(batch_of(scans, small_bundle, lambda: played)[0])
    assert played.asked[3:] == ["b.nii.gz"]
    assert [row["state"] for row in table(out)] == ["done"] * 3


def test_a_batch_that_is_stopped_goes_on_where_it_was(scans: Path, small_bundle: Path, played: PlayedWorker) -> None:
    batch, out = batch_of(scans, small_bundle, lambda: played)
    while not batch.rows:
        batch.listen()
    batch.stop()
    assert batch.is_over
    assert [row["scan"] for row in table(out)] == ["a.nii.gz"]
    run(batch_of(scans, small_bundle, lambda: played)[0])
    assert played.asked.count("a.nii.gz") == 1
    assert len(table(out)) == 3


def test_a_worker_that_dies_costs_one_scan(scans: Path, small_bundle: Path) -> None:
    dies = {"b.nii.gz": {"message": "ended", "exit_code": -9, "last_lines": []}}
    workers = [PlayedWorker(dies)]

    def running() -> PlayedWorker:
        if workers[-1].asked[-1:] == ["b.nii.gz"]:
            workers.append(PlayedWorker())
        return workers[-1]

    batch = run(batch_of(scans, small_bundle, running)[0])
    assert [row.scan for row in batch.failures] == ["b.nii.gz"]
    assert "ended unexpectedly (exit code -9)" in batch.failures[0].problem
    assert batch.problem == ""


def test_a_worker_that_always_dies_ends_the_batch(scans: Path, small_bundle: Path) -> None:
    for name in ("d", "e"):
        (scans / f"{name}.nii.gz").write_text(name)
    ended = {"message": "ended", "exit_code": 1, "last_lines": []}
    played = PlayedWorker({file.name: ended for file in scans.iterdir()})
    batch = run(batch_of(scans, small_bundle, lambda: played)[0])
    assert len(batch.rows) == 3
    assert "3 times in a row" in batch.problem


def test_crashes_with_an_answer_between_them_are_not_in_a_row(scans: Path, small_bundle: Path) -> None:
    for name in ("d", "e"):
        (scans / f"{name}.nii.gz").write_text(name)
    ended = {"message": "ended", "exit_code": 1, "last_lines": []}
    refused = {"message": "error", "text": "no scan."}
    answers = [ended, refused, ended, refused, ended]
    played = PlayedWorker({file.name: answer for file, answer in zip(sorted(scans.iterdir()), answers, strict=True)})
    batch = run(batch_of(scans, small_bundle, lambda: played)[0])
    assert len(batch.rows) == 5
    assert batch.problem == ""


def test_progress_counts_scans_and_what_is_done_of_the_current_one(
    scans: Path, small_bundle: Path, played: PlayedWorker
) -> None:
    played.is_silent = True
    batch, _ = batch_of(scans, small_bundle, lambda: played)
    batch.listen()
    assert batch.fraction == 0
    played.waiting = [{"message": "progress", "stage": "segmenting", "fraction": 0.5, "detail": "", "seconds_left": 3}]
    assert batch.listen()
    assert batch.fraction == pytest.approx(0.5 / 3)
    played.waiting = [{"message": "error", "text": "no."}]
    batch.listen()
    assert batch.fraction == pytest.approx(1 / 3)


def test_what_a_batch_cannot_start_with_is_said_before_the_first_scan(
    scans: Path, small_bundle: Path, tmp_path: Path, played: PlayedWorker
) -> None:
    out = tmp_path / "results"
    settings = Settings(small_bundle, {})
    cases = find_cases([scans], out)
    with pytest.raises(InputError, match="no scan to segment"):
        Batch([], out, settings, lambda: played, resume=True)
    with pytest.raises(BundleError, match="is no bundle"):
        Batch(cases, out, Settings(tmp_path, {}), lambda: played, resume=True)
    out.write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        Batch(cases, out, settings, lambda: played, resume=True)
    assert played.asked == []


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 9, "cases": {}}', '{"format": 1, "cases": {"a": 3}}'])
def test_a_damaged_note_of_an_earlier_batch_is_said(content: str, tmp_path: Path) -> None:
    (tmp_path / STATE).write_text(content)
    with pytest.raises(InputError, match=r"batch\.json was not written by this program"):
        read_records(tmp_path)
