"""The worker: answers, survives bad requests, dies with its starter, leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from worker_talk import HEAD, STAGES, is_kind, request, wait_for, write_scan

from ICHSegmentationLib.image_files import read_image_file
from ICHSegmentationLib.worker_process import WorkerProcess


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerProcess]:
    """A worker that the tests share: starting one takes longer than most of them."""
    started = WorkerProcess(environment={"OMP_NUM_THREADS": "1"})
    (ready,) = wait_for(started, is_kind("ready"))
    assert "torch" in ready["versions"]
    yield started
    assert started.is_running
    started.end()


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_scan(tmp_path)


def test_a_worker_segments_scan_after_scan(worker: WorkerProcess, scan: Path, small_bundle: Path) -> None:
    for number in range(2):
        out = scan.parent / f"results {number}"
        worker.ask(request(scan, out, small_bundle))
        heard = wait_for(worker, is_kind("result", "error"))
        assert heard[-1]["message"] == "result"
        assert heard[-1]["statistics"] == json.loads((out / "statistics.json").read_text())
        assert np.array_equal(read_image_file(out / "segmentation.nii.gz").hu.shape, HEAD.hu.shape)
        progress = [message for message in heard if message["message"] == "progress"]
        assert [p["stage"] for p in progress] == sorted((p["stage"] for p in progress), key=STAGES.index)
        assert any(p["seconds_left"] is not None for p in progress)


def test_a_scan_in_the_workers_folder_goes_when_it_is_answered_and_one_elsewhere_stays(
    worker: WorkerProcess, scan: Path, small_bundle: Path
) -> None:
    copy = worker.folder / "a patient.nrrd"
    for bundle in (small_bundle, scan.parent / "no bundle"):
        copy.write_bytes(scan.read_bytes())
        worker.ask(request(copy, worker.folder / "out", bundle))
        wait_for(worker, is_kind("result", "error"))
        worker.ask({})  # answered after the scan went
        wait_for(worker, is_kind("error"))
        assert not copy.exists()
    assert scan.exists()


def test_a_request_that_fails_is_one_message_and_the_next_one_works(
    worker: WorkerProcess, scan: Path, small_bundle: Path
) -> None:
    out = scan.parent / "out"
    bad: list[Any] = [
        request(scan.parent / "absent.nrrd", out, small_bundle),
        request(scan, out, scan.parent / "no bundle"),
        request(scan, out, small_bundle, quality="best"),
        request(scan, out, small_bundle, no_such_option=1),
        {"scan": str(scan)},
        {**request(scan, out, small_bundle), "out": str(scan)},
        ["no", "object"],
    ]
    for each in bad:
        worker.ask(each)
        (error,) = [m for m in wait_for(worker, is_kind("error", "result")) if m["message"] in ("error", "result")]
        assert error["message"] == "error"
        assert error["text"].endswith(".")
        assert error["exit_code"] in (2, 3, 4)
    worker.ask(request(scan, out, small_bundle))
    assert wait_for(worker, is_kind("error", "result"))[-1]["message"] == "result"


def test_garbage_among_the_requests_is_answered_and_survived(worker: WorkerProcess) -> None:
    worker.requests.put(b"\x00\xff no json\n{\n" + b"[" * 100_000 + b"\n")
    errors = [message for message in wait_for(worker, is_kind("error"), count=3) if message["message"] == "error"]
    assert [error["exit_code"] for error in errors] == [2, 2, 2]
    assert worker.is_running


def test_an_ended_worker_is_gone_within_two_seconds_with_its_children_and_its_folder(
    scan: Path, small_bundle: Path
) -> None:
    worker = WorkerProcess()
    worker.ask(request(scan, scan.parent / "out", small_bundle, quality="full"))
    wait_for(worker, is_kind("progress"))
    assert worker.folder.is_dir()
    if os.name == "posix":
        assert worker.folder.stat().st_mode & 0o077 == 0
    tree = [psutil.Process(worker.process.pid), *psutil.Process(worker.process.pid).children(recursive=True)]
    started = time.monotonic()
    worker.end()
    assert time.monotonic() - started < 2.0
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in tree)
    assert not worker.folder.exists()


def test_a_crashed_worker_shows_its_last_lines_once_and_a_new_one_works(scan: Path, small_bundle: Path) -> None:
    worker = WorkerProcess()
    wait_for(worker, is_kind("ready"))
    worker.process.send_signal(signal.SIGABRT if os.name == "posix" else signal.SIGTERM)
    ended = wait_for(worker, is_kind("ended"))[-1]
    assert ended["exit_code"] != 0
    assert worker.messages() == []
    worker.ask({"scan": ""})  # nobody is there; must not raise or hang
    worker.end()
    assert not worker.folder.exists()


def test_a_python_without_the_library_says_why() -> None:
    worker = WorkerProcess(environment={"PYTHONHOME": "/nonexistent"})
    ended = wait_for(worker, is_kind("ended"))[-1]
    assert ended["exit_code"] != 0
    assert ended["last_lines"]
    worker.end()


def test_an_ended_worker_leaves_no_half_written_results(scan: Path, small_bundle: Path) -> None:
    worker = WorkerProcess()
    out = scan.parent / "out"
    out.mkdir()
    worker.ask(request(scan, out, small_bundle, quality="full"))
    wait_for(worker, is_kind("progress"))
    assert [path for path in scan.parent.iterdir() if path.name.endswith(".partial")]
    worker.end()
    assert sorted(path.name for path in scan.parent.iterdir()) == ["head scan.nrrd", "out"]
    assert list(out.iterdir()) == []


def test_arrays_are_those_of_the_files_and_slice_origins_reach_the_measurement(
    worker: WorkerProcess, scan: Path, small_bundle: Path
) -> None:
    files, arrays = scan.parent / "files", scan.parent / "arrays"
    worker.ask(request(scan, files, small_bundle))
    plain = wait_for(worker, is_kind("result"))[-1]["statistics"]
    origins = HEAD.origins_mm * [1.0, 1.0, 1.2]  # the slices lie further apart than the file says
    info = {"slice_origins_mm": origins.tolist(), "notes": ["A note of Slicer's."]}
    worker.ask({**request(scan, arrays, small_bundle), "arrays": True, "scan_info": info})
    heard = wait_for(worker, is_kind("result", "error"))
    spread = heard[-1]["statistics"]
    assert sorted(path.name for path in arrays.iterdir()) == ["mask.npy", "probability.npy", "statistics.json"]
    mask, probability = (np.load(arrays / f"{name}.npy") for name in ("mask", "probability"))
    assert mask.shape == probability.shape == HEAD.hu.shape[::-1]
    assert ((mask > 0) <= (probability >= 0.5)).all()  # less the specks
    cleared = (probability.T >= 0.5) & ~(mask.T > 0)
    assert spread["specks_ml"] == pytest.approx(cleared.sum() * 1.2 * np.prod(HEAD.spacing_mm) / 1000)
    assert spread["input"]["spacing_mm"][2] == pytest.approx(1.2 * plain["input"]["spacing_mm"][2])
    assert any(m["message"] == "warning" and m["text"] == "A note of Slicer's." for m in heard)
    worker.ask({**request(scan, arrays, small_bundle), "scan_info": {"slice_origins_mm": [[0, 0, 0]]}})
    assert "1 slice origins were sent for" in wait_for(worker, is_kind("error"))[-1]["text"]
