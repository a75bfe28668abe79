"""The worker: answers, survives bad requests, dies with its starter, leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from helpers import head_with_ball

from ICHSegmentationLib.image_files import read_image_file, write_image_file
from ICHSegmentationLib.worker_process import WorkerProcess

HEAD = head_with_ball(spacing_mm=(2.0, 2.0, 5.0))
LONGEST_WAIT_S = 120.0


def wait_for(worker: WorkerProcess, done: Callable[[dict[str, Any]], bool], count: int = 1) -> list[dict[str, Any]]:
    """All messages up to the one that is the `count`-th that `done` accepts."""
    heard: list[dict[str, Any]] = []
    until = time.monotonic() + LONGEST_WAIT_S
    while time.monotonic() < until:
        for message in worker.messages():
            heard.append(message)
            if sum(map(done, heard)) == count:
                return heard
            assert message["message"] != "ended", message
        time.sleep(0.01)
    raise AssertionError(f"waited in vain; heard {heard}, last lines {list(worker.last_lines)}")


def is_kind(*kinds: str) -> Callable[[dict[str, Any]], bool]:
    return lambda message: message["message"] in kinds


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    started = WorkerProcess(environment={"OMP_NUM_THREADS": "1"})
    yield started
    started.end()


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    folder = tmp_path / "Scans of Müller, 頭"
    folder.mkdir()
    path = folder / "head scan.nrrd"
    write_image_file(path, HEAD.hu, HEAD.affine, {})
    return path


def request(scan: Path, out: Path, bundle: Path, **options: object) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    return {"scan": str(scan), "out": str(out), "bundle": str(bundle), "options": {"device": "cpu", **options}}


def test_a_worker_segments_scan_after_scan(worker: WorkerProcess, scan: Path, small_bundle: Path) -> None:
    (ready,) = wait_for(worker, is_kind("ready"))
    assert "torch" in ready["versions"]
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


STAGES = ["reading", "segmenting", "writing"]


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
    worker.requests.put(b"\x00\xff no json\n{\n")
    errors = [message for message in wait_for(worker, is_kind("error"), count=2) if message["message"] == "error"]
    assert [error["exit_code"] for error in errors] == [2, 2]
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


def test_a_worker_dies_with_its_starter_even_in_the_midst_of_work(scan: Path, small_bundle: Path) -> None:
    """A Slicer that was killed must not leave a process that holds the GPU."""
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from ICHSegmentationLib.worker_process import WorkerProcess\n"
        "worker = WorkerProcess(); print(worker.process.pid, flush=True)\n"
        "import json; worker.ask(json.loads(sys.argv[2])); time.sleep(60)"
    )
    library = str(Path(__file__).resolve().parents[1])
    ask = json.dumps(request(scan, scan.parent / "out", small_bundle))
    starter = subprocess.Popen([sys.executable, "-c", code, library, ask], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    child = psutil.Process(int(starter.stdout.readline()))
    time.sleep(1.0)
    starter.kill()
    starter.wait()
    starter.stdout.close()
    assert not psutil.wait_procs([child], timeout=5)[1]


def test_killed_at_random_moments_nothing_hangs_and_nothing_is_left(scan: Path, small_bundle: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(8):
        worker = WorkerProcess(environment={"OMP_NUM_THREADS": "1"})
        worker.ask(request(scan, scan.parent / f"out {number}", small_bundle))
        time.sleep(float(rng.uniform(0, 3.0)))
        worker.process.kill()
        wait_for(worker, is_kind("ended"))
        worker.end()
        assert not worker.folder.exists()


def test_an_ended_worker_leaves_no_half_written_results(scan: Path, small_bundle: Path) -> None:
    worker = WorkerProcess()
    out = scan.parent / "out"
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
    assert np.array_equal(mask > 0, probability >= 0.5)
    assert spread["input"]["spacing_mm"][2] == pytest.approx(1.2 * plain["input"]["spacing_mm"][2])
    assert any(m["message"] == "warning" and m["text"] == "A note of Slicer's." for m in heard)
    worker.ask({**request(scan, arrays, small_bundle), "scan_info": {"slice_origins_mm": [[0, 0, 0]]}})
    assert "1 slice origins were sent for" in wait_for(worker, is_kind("error"))[-1]["text"]
