"""What a lent machine gets and gives: a clock with a deadline, runs in one file, weights of all members in another."""

from __future__ import annotations

import json
import time
import zipfile
from pathlib import Path
from typing import Any

import torch

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.staging import whole_or_not_at_all, write_json
from ICHSegmentationLib.training.checkpoint import CHECKPOINT, kept_weights
from ICHSegmentationLib.training.tensor_file import save_tensors

LARGEST_FILE_BYTES = 16 * 2**20
LARGEST_WEIGHTS_BYTES = 12 * 10**6
CLAIM = "lease.json"
RUN_FILES = (CHECKPOINT, "config.json", "cases.json", "log.csv", CLAIM)


class Deadline:
    """How long there is."""

    def __init__(self, minutes: float) -> None:
        self.started = time.monotonic()
        self.seconds = minutes * 60

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    @property
    def left_s(self) -> float:
        return self.seconds - self.elapsed_s


def pack_runs(runs: list[Path], file: Path) -> int:
    """Writes runs to one archive, so that they can be resumed or bundled elsewhere; returns its size in bytes."""
    with whole_or_not_at_all(file) as partial:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for run in runs:
                for name in RUN_FILES:
                    if (run / name).exists():
                        archive.write(run / name, f"{run.name}/{name}")
        size = partial.stat().st_size
        if size > LARGEST_FILE_BYTES:
            raise InputError(
                f"the runs take {size / 2**20:.0f} MiB and at most 16 come back: they can be bundled, not resumed. "
                "Fewer members a lease are wanted."
            )
    return size


def unpack_runs(file: Path, folder: Path) -> None:
    """Brings runs of an earlier lease back, those that are there already excepted."""
    try:
        with zipfile.ZipFile(file) as archive:
            there = {path.name for path in folder.glob("*") if (path / CHECKPOINT).exists()}
            names = [name for name in archive.namelist() if name.split("/")[0] not in there]
            archive.extractall(folder, names)
    except (OSError, zipfile.BadZipFile):
        raise InputError(f"{file} holds no runs; the runs.zip of an earlier lease is wanted.") from None


def claim_run(run: Path, origin: dict[str, Any]) -> None:
    """Notes what a run is trained on, or makes sure that it was begun on that; it goes home with the run.

    Raises:
        InputError: it was begun on something else, so that heads to test on may be among those it was trained on.
    """
    path = run / CLAIM
    if path.exists():
        found = json.loads(path.read_text())
        if other := [name for name in origin if found.get(name) != origin[name]]:
            raise InputError(
                f"{run.name} was begun with {', '.join(f'{name} {found.get(name)}' for name in other)}; this lease has "
                f"{', '.join(f'{name} {origin[name]}' for name in other)}: give the same, or begin anew."
            )
        return
    run.mkdir(parents=True, exist_ok=True)
    write_json(path, origin)


def pack_weights(runs: list[Path], file: Path) -> int:
    """Writes what each run has to show, in float16, to one file; returns its size in bytes.

    A tensor's name starts with its run's, and the metadata holds each run's configuration and steps.
    """
    tensors: dict[str, torch.Tensor] = {}
    metadata: dict[str, str] = {}
    for run in runs:
        weights, step = kept_weights(run)
        tensors |= {f"{run.name}/{name}": value.to(torch.float16) for name, value in weights.items()}
        metadata[run.name] = json.dumps({"config": json.loads((run / "config.json").read_text()), "step": step})
    size = sum(tensor.numel() * 2 for tensor in tensors.values())
    if size > LARGEST_WEIGHTS_BYTES:
        raise InputError(f"the weights take {size / 1e6:.1f} MB in float16; at most 12 MB are wanted.")
    if bad := [name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())]:
        raise InputError(f"the weight {bad[0]} does not fit float16.")
    save_tensors(file, tensors, metadata)
    return file.stat().st_size
