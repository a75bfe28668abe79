"""How tests talk to a worker: a scan for it, a request, and waiting for an answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers import head_with_ball

from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.worker_process import WorkerProcess

HEAD = head_with_ball(spacing_mm=(2.0, 2.0, 5.0))
LONGEST_WAIT_S = 120.0
STAGES = ["reading", "segmenting", "writing"]

Accepts = Callable[[dict[str, Any]], bool]


def write_scan(parent: Path) -> Path:
    """A small head in a folder that has a name with a space and letters beyond ASCII."""
    folder = parent / "Scans of Müller, 頭"
    folder.mkdir()
    path = folder / "head scan.nrrd"
    write_image_file(path, HEAD.hu, HEAD.affine, {})
    return path


def request(scan: Path, out: Path, bundle: Path, **options: object) -> dict[str, Any]:
    return {"scan": str(scan), "out": str(out), "bundle": str(bundle), "options": {"device": "cpu", **options}}


def is_kind(*kinds: str) -> Accepts:
    return lambda message: message["message"] in kinds


def has_reached(stage: str) -> Accepts:
    """This stage or a later one: of progress that nobody fetched, the newest alone waits."""
    return lambda message: message.get("stage") in STAGES[STAGES.index(stage) :] or message["message"] == "result"


def wait_for(worker: WorkerProcess, done: Accepts, count: int = 1) -> list[dict[str, Any]]:
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
