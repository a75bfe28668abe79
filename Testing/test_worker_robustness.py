"""A worker in trouble: killed, flooded, not listened to, without disk. Nothing hangs, nothing is left behind.

`make soak` kills it more often: ICH_KILLS says how often.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from worker_talk import STAGES, has_reached, is_kind, request, wait_for, write_scan

from ICHSegmentationLib.staging import RESULTS
from ICHSegmentationLib.worker_process import LINES_KEPT, LONGEST_ERROR, MOST_WAITING, WorkerProcess

KILLS = int(os.environ.get("ICH_KILLS", "12"))
LIBRARY = str(Path(__file__).resolve().parents[1])
MOMENTS = ["starting", "ready", *STAGES, "result"]
ALWAYS = {"segmentation.nii.gz", "segmentation.seg.nrrd", "probability.nii.gz", "lesions.csv", "statistics.json"}

posix_only = pytest.mark.skipif(os.name != "posix", reason="a shell script stands for the interpreter")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, to see what is left in it."""
    folder = tmp_path / "temporary files é"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return write_scan(tmp_path)


@pytest.fixture
def pretender(tmp_path: Path) -> Iterator[Callable[[str], WorkerProcess]]:
    """`pretender(code)` starts a worker whose interpreter runs this code instead of the library's."""
    started = []

    def start(code: str) -> WorkerProcess:
        (tmp_path / "pretender.py").write_text(code)
        started.append(WorkerProcess(interpreter(tmp_path, f'exec "{sys.executable}" "{tmp_path}/pretender.py"')))
        return started[-1]

    yield start
    for worker in started:
        worker.end()


def interpreter(folder: Path, command: str) -> str:
    """A program that takes the place of the Python interpreter."""
    script = folder / "interpreter.sh"
    script.write_text(f"#!/bin/sh\n{command}\n")
    script.chmod(0o755)
    return str(script)


def is_gone(process: int) -> bool:
    return not psutil.pid_exists(process) or psutil.Process(process).status() == psutil.STATUS_ZOMBIE


def test_killed_at_any_stage_nothing_hangs_and_nothing_is_left(scan: Path, small_bundle: Path, temporary: Path) -> None:
    rng = np.random.default_rng(0)
    seen = dict.fromkeys(MOMENTS, 0)
    for number in range(KILLS):
        moment, out = MOMENTS[number % len(MOMENTS)], scan.parent / f"out {number}"
        if number % 2:
            out.mkdir()
        worker = WorkerProcess(environment={"OMP_NUM_THREADS": "1"})
        worker.ask(request(scan, out, small_bundle))
        if moment == "starting":
            time.sleep(float(rng.uniform(0, 2.0)))
        else:
            wait_for(worker, has_reached(moment) if moment in STAGES else is_kind(moment))
            time.sleep(float(rng.uniform(0, 0.15)))
        seen[moment] += 1
        if rng.random() < 0.7:  # a crash; otherwise the user cancels
            worker.process.kill()
            assert wait_for(worker, is_kind("ended"))[-1]["exit_code"] != 0
        started = time.monotonic()
        worker.end()
        assert time.monotonic() - started < 2.0
        assert is_gone(worker.process.pid)
        assert list(temporary.iterdir()) == []
        assert not list(scan.parent.glob(".*"))  # nothing half-written
        found = {path.name for path in out.iterdir()} if out.is_dir() else set()
        assert not found or found >= ALWAYS, f"{moment}: {found}"
        assert found <= set(RESULTS)
    assert len(MOMENTS) > KILLS or all(seen.values())


def test_a_starter_that_is_killed_leaves_neither_its_worker_nor_the_patients_scan(
    scan: Path, small_bundle: Path, temporary: Path
) -> None:
    """A Slicer that was killed must not leave a process that holds the GPU, nor a scan in a temporary folder."""
    code = (
        "import json, shutil, sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from ICHSegmentationLib.worker_process import WorkerProcess\n"
        "worker, ask = WorkerProcess(), json.loads(sys.argv[2])\n"
        "scan = shutil.copy(ask['scan'], worker.folder / 'scan.nrrd')\n"
        "worker.ask({**ask, 'scan': str(scan)})\n"
        "while not any(m.get('stage') == 'segmenting' for m in worker.messages()): time.sleep(0.01)\n"
        "print(worker.process.pid, flush=True); time.sleep(60)"
    )
    ask = json.dumps(request(scan, scan.parent / "out", small_bundle, quality="full"))
    starter = subprocess.Popen([sys.executable, "-c", code, LIBRARY, ask], stdout=subprocess.PIPE)
    assert starter.stdout is not None
    child = psutil.Process(int(starter.stdout.readline()))
    assert list(temporary.rglob("scan.nrrd"))
    starter.kill()
    starter.wait()
    starter.stdout.close()
    assert not psutil.wait_procs([child], timeout=5)[1]
    assert list(temporary.iterdir()) == []
    assert [path.name for path in scan.parent.iterdir()] == ["head scan.nrrd"]


@posix_only
def test_garbage_from_the_worker_is_kept_for_the_diagnosis_and_good_messages_still_come(
    pretender: Callable[[str], WorkerProcess],
) -> None:
    worker = pretender(
        "import os, sys\n"
        "out = sys.stdout.buffer\n"
        "out.write(os.urandom(5000) + b'\\n' + b'[' * 200_000 + b'\\n' + b'{}\\n3\\nnull\\n[\"message\"]\\n')\n"
        "out.write(b'{\"message\": \\xff}\\n' + b'x' * 20_000_000 + b'\\n')\n"
        'out.write(b\'{"message": "warning", "text": "still here"}\\n{"message": "res\')\n'
        "sys.stderr.write('y' * 1_000_000)\n"
    )
    heard = wait_for(worker, is_kind("ended"))
    assert [message["message"] for message in heard] == ["warning", "ended"]
    assert len(heard[-1]["last_lines"]) <= LINES_KEPT
    assert all(len(line) <= LONGEST_ERROR for line in heard[-1]["last_lines"])


@posix_only
def test_what_nobody_fetches_does_not_fill_the_memory(pretender: Callable[[str], WorkerProcess]) -> None:
    worker = pretender(
        "import json\n"
        "for number in range(100_000): print(json.dumps({'message': 'progress', 'number': number}))\n"
        "for number in range(5000): print(json.dumps({'message': 'warning', 'number': number}))\n"
        "print(json.dumps({'message': 'result'}), flush=True)\n"
    )
    worker.process.wait(60)
    for reader in worker.readers:
        reader.join(60)
    heard = worker.messages()
    assert len(heard) == MOST_WAITING + 1
    assert [message["message"] for message in heard[-2:]] == ["result", "ended"]


@posix_only
def test_of_progress_only_the_newest_waits(pretender: Callable[[str], WorkerProcess]) -> None:
    lines = [{"message": "progress", "number": number} for number in range(50)] + [{"message": "warning"}]
    lines += [{"message": "progress", "number": 50}, {"message": "result"}]
    worker = pretender(f"import json\nfor line in {lines!r}: print(json.dumps(line))")
    for reader in worker.readers:
        reader.join(60)
    worker.process.wait(60)
    heard = [(message["message"], message.get("number")) for message in worker.messages()]
    assert heard[:-1] == [("progress", 49), ("warning", None), ("progress", 50), ("result", None)]


def test_a_window_that_is_busy_for_seconds_gets_the_result_all_the_same(
    scan: Path, small_bundle: Path, temporary: Path
) -> None:
    worker = WorkerProcess(environment={"OMP_NUM_THREADS": "1"})
    worker.ask(request(scan, scan.parent / "out", small_bundle))
    until = time.monotonic() + 60
    while not (scan.parent / "out").exists() and time.monotonic() < until:
        time.sleep(0.1)  # without a look at the messages
    assert wait_for(worker, is_kind("result"))[-1]["message"] == "result"
    worker.end()


def test_a_worker_whose_pipe_is_full_goes_on_when_it_is_read_and_ends_when_it_is_not(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ICHSegmentationLib.worker"]
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": LIBRARY}, **pipes) as worker:
        worker.stdin.write(b"no json\n" * 3000)
        worker.stdin.flush()
        worker.stdout.readline()  # ready
        time.sleep(0.5)  # it fills the pipe meanwhile
        assert worker.poll() is None
        answers = [json.loads(worker.stdout.readline())["message"] for _ in range(3000)]
        assert answers == ["error"] * 3000
        worker.stdin.write(b"no json\n" * 3000)
        worker.stdin.flush()
        time.sleep(0.5)
        worker.stdout.close()
        worker.stdin.close()
        assert worker.wait(10) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the shell's ulimit stands for a full disk")
def test_a_full_disk_is_said_and_leaves_nothing_and_the_next_scan_works(
    scan: Path, small_bundle: Path, temporary: Path
) -> None:
    limited = interpreter(temporary.parent, f'ulimit -S -f 60\nexec "{sys.executable}" "$@"')  # 30 or 60 kB
    worker = WorkerProcess(limited, {"OMP_NUM_THREADS": "1"})
    out = scan.parent / "out"
    for arrays in (True, False):
        worker.ask({**request(scan, out, small_bundle), "arrays": arrays})
        error = wait_for(worker, is_kind("error", "result"))[-1]
        assert (error["message"], error["exit_code"]) == ("error", 3), error
        assert "disk may be full" in error["text"] or "too large" in error["text"], error
        assert sorted(path.name for path in scan.parent.iterdir()) == ["head scan.nrrd"]
        assert list(worker.folder.iterdir()) == []
    psutil.Process(worker.process.pid).rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
    worker.ask(request(scan, out, small_bundle))
    assert wait_for(worker, is_kind("error", "result"))[-1]["message"] == "result"
    worker.end()
    assert list(temporary.iterdir()) == []
