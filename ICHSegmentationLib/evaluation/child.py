"""What a comparison does in a process of its own, so that its memory is that of one system: train, or predict.

    python -m ICHSegmentationLib.evaluation.child JOB.json

The process ends when its parent does: the parent holds the other end of its standard input.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from ICHSegmentationLib.baselines.runs import changed
from ICHSegmentationLib.baselines.system import Budget, System
from ICHSegmentationLib.errors import ICHError, InputError
from ICHSegmentationLib.image_files import read_image_file, write_image_file
from ICHSegmentationLib.memory import keep_freed_memory, peak_memory_mb
from ICHSegmentationLib.staging import write_json

CATALOGUE = "ICHSegmentationLib.baselines.system:systems"


@dataclass(frozen=True)
class Job:
    """What to do. JSON values only.

    Attributes:
        task: "train" or "predict".
        catalogue: MODULE:FUNCTION that gives the systems by name.
        system: a name of the catalogue.
        settings: what differs from the system's own settings, nested as they are.
        run: the run folder.
        data: nnU-Net raw folder to train on.
        steps, minutes, networks: the budget; minutes None: no limit.
        scans: case -> scan file to predict.
        out: folder for predictions.
        device: "auto", "cpu", "cuda", ...
        seed: of the training.
        report: file that says what it cost; it is there when all is done.
    """

    task: str
    catalogue: str
    system: str
    settings: dict[str, Any]
    run: str
    device: str
    seed: int
    report: str
    data: str = ""
    steps: int | None = None
    minutes: float | None = None
    networks: int | None = None
    scans: dict[str, str] = dataclasses.field(default_factory=dict)
    out: str = ""


def find_system(catalogue: str, name: str, settings: dict[str, Any]) -> System:
    """A system of a catalogue, with some settings changed.

    Raises:
        InputError: there is no such catalogue, system or setting.
    """
    systems = load_catalogue(catalogue)
    if name not in systems:
        raise InputError(f"there is no system {name!r}; known are {', '.join(systems)}.")
    system: Any = systems[name]
    if not settings:
        return system
    if not hasattr(system, "settings"):
        raise InputError(f"{name} has no settings to change; found {', '.join(settings)}.")
    return dataclasses.replace(system, settings=changed(system.settings, settings))


def load_catalogue(catalogue: str) -> dict[str, System]:
    """The systems by name that MODULE:FUNCTION gives."""
    module, _, function = catalogue.partition(":")
    try:
        return getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{catalogue!r} is no catalogue MODULE:FUNCTION of systems: {error}.") from None


def train(job: Job) -> dict[str, Any]:
    """Trains, or goes on; seconds are the parent's to count, as training may take several sittings."""
    from ICHSegmentationLib.devices import pick_device

    budget = Budget(job.steps, float("inf") if job.minutes is None else job.minutes, job.networks)
    system = find_system(job.catalogue, job.system, job.settings)
    system.train(Path(job.data), Path(job.run), budget, pick_device(job.device), job.seed)
    return {}


def predict(job: Job) -> dict[str, Any]:
    """Writes a mask for every scan; seconds are those of the prediction alone, without files."""
    from ICHSegmentationLib.devices import pick_device

    system = find_system(job.catalogue, job.system, job.settings)
    predictor = system.load(Path(job.run), pick_device(job.device))
    Path(job.out).mkdir(parents=True, exist_ok=True)
    seconds = {}
    for case, scan in job.scans.items():
        volume = read_image_file(Path(scan))
        started = time.perf_counter()
        mask = predictor.mask(volume)
        seconds[case] = time.perf_counter() - started
        write_image_file(Path(job.out) / f"{case}.nii.gz", mask.astype(np.uint8), volume.affine, {})
    return {"seconds": seconds, "parameters": predictor.parameters, "threshold": predictor.threshold}


TASKS: dict[str, Callable[[Job], dict[str, Any]]] = {"train": train, "predict": predict}


def end_with_parent() -> None:
    """Ends this process, and those it started, once nobody holds the other end of its standard input."""

    def watch() -> None:
        while os.read(0, 1024):  # not sys.stdin: its lock would outlive this thread when the process ends
            pass
        for process in psutil.Process().children(recursive=True):  # nnU-Net works in several
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        os._exit(130)

    threading.Thread(target=watch, daemon=True).start()


def main() -> int:
    keep_freed_memory()
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    end_with_parent()
    try:
        result = TASKS[job.task](job)
    except ICHError as error:
        print(f"{error}", file=sys.stderr)
        return error.exit_code
    write_json(Path(job.report), {**result, "peak_memory_mb": peak_memory_mb()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
