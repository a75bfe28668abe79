"""The process that Slicer talks to: one JSON object a line, requests in, messages out; alive between scans.

Started as `python -m ICHSegmentationLib.worker`. A request (standard input) names

    scan        path of the scan
    out         folder for the results; it appears, or changes, when all of them are written
    options     of `pipeline.SegmentationOptions`, optional
    bundle      folder of another ensemble than the bundled one, optional
    arrays      true: `mask.npy` and `probability.npy` instead of files for people, optional
    scan_info   what is known of the scan beside its file, optional: "slice_origins_mm" (RAS, a row a slice), "notes"

Messages (standard output) carry their kind under "message":

    ready       versions, device
    progress    stage, fraction (of the stage), detail, seconds_left (null while unknown)
    warning     text
    result      statistics (as in statistics.json), out
    error       text, exit_code (of `errors`); and details, if the mistake is ours

Whoever starts the worker ends it by closing its standard input, or by killing it: it holds nothing that would be
lost. A folder named as argument is its starter's, for scans: each goes when it has been answered, and the folder goes
where the starter vanished. Whatever a library prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np

from ICHSegmentationLib.errors import ICHError, InputError, OutputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.memory import give_back_freed_memory, settle_memory
from ICHSegmentationLib.staging import Staging

PROGRESS_EVERY_S = 0.1


class Messages:
    """Writes messages, whole lines only, from any thread."""

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.lock = stream, threading.Lock()

    def send(self, message: str, **content: Any) -> None:
        line = json.dumps({"message": message, **content}, ensure_ascii=True) + "\n"
        with self.lock:
            self.stream.write(line)
            self.stream.flush()


class ProgressMessages:
    """Reports stages as messages, not more often than anyone can see."""

    def __init__(self, messages: Messages) -> None:
        self.messages = messages
        self.stage, self.started, self.sent = "", 0.0, 0.0

    def __call__(self, stage: str, fraction: float, detail: str) -> None:
        now = time.monotonic()
        if stage != self.stage:
            self.stage, self.started, self.sent = stage, now, 0.0
        if now - self.sent < PROGRESS_EVERY_S and fraction < 1:
            return
        self.sent = now
        left = (now - self.started) * (1 - fraction) / fraction if fraction > 0 else None
        self.messages.send("progress", stage=stage, fraction=fraction, detail=detail, seconds_left=left)


class Ensembles:
    """The ensemble of the last request, kept with its baked kernels for the next."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.ensemble: Any = None

    def get(self, path: Path | None) -> Any:
        from ICHSegmentationLib.ensemble import load_bundle

        if self.ensemble is None or path != self.path:
            self.ensemble = load_bundle(path)
            self.path = path
        return self.ensemble


@dataclass(frozen=True)
class Job:
    """A request that was understood."""

    scan: Path
    out: Path
    options: Any  # SegmentationOptions
    bundle: Path | None
    arrays: bool
    slice_origins_mm: list[list[float]] | None
    notes: tuple[str, ...]

    @classmethod
    def of(cls, request: dict[str, Any]) -> Job:
        from ICHSegmentationLib.pipeline import SegmentationOptions

        try:
            info = request.get("scan_info") or {}
            return cls(
                scan=Path(request["scan"]),
                out=Path(request["out"]),
                options=SegmentationOptions(**request.get("options", {})),
                bundle=Path(request["bundle"]) if request.get("bundle") else None,
                arrays=bool(request.get("arrays")),
                slice_origins_mm=info.get("slice_origins_mm"),
                notes=tuple(info.get("notes", ())),
            )
        except (KeyError, TypeError) as error:
            raise InputError(f"the request is not understood: {error}.") from None

    def informed(self, volume: Volume) -> Volume:
        """The scan with what is known beside its file."""
        if self.slice_origins_mm is not None:
            origins = np.array(self.slice_origins_mm, float)
            if origins.shape != (volume.hu.shape[2], 3):
                raise InputError(f"{len(origins)} slice origins were sent for {volume.hu.shape[2]} slices.")
            volume = replace(volume, slice_origins_mm=origins)
        return replace(volume, info=replace(volume.info, notes=(*volume.info.notes, *self.notes)))


def answer(request: dict[str, Any], ensembles: Ensembles, messages: Messages, staging: Staging) -> None:
    """Does one request; every way it can end is a message."""
    try:
        job = Job.of(request)
        from ICHSegmentationLib.pipeline import segment_file, write_arrays, write_files

        with staging.folder(job.out, overwrite=True) as folder:
            result = segment_file(
                job.scan,
                folder,
                ensembles.get(job.bundle),
                job.options,
                ProgressMessages(messages),
                write_arrays if job.arrays else write_files,
                job.informed,
            )
        for warning in result.statistics["warnings"]:
            messages.send("warning", text=warning)
        messages.send("result", statistics=result.statistics, out=str(job.out))
    except ICHError as error:
        messages.send("error", text=str(error), exit_code=error.exit_code)
    except MemoryError:
        messages.send("error", text="memory ran out; the fast quality or a machine with more is wanted.", exit_code=2)
    except OSError as error:
        text = f"reading or writing failed: {error.strerror or 'the disk may be full'}."
        messages.send("error", text=text, exit_code=OutputError.exit_code, details=traceback.format_exc())
    except Exception as error:  # the process lives on, and the user gets to know all that we know
        text = f"an unexpected {type(error).__name__} stopped the segmentation."
        messages.send("error", text=text, exit_code=1, details=traceback.format_exc())


def serve(requests: BinaryIO, messages: Messages, staging: Staging, starters_folder: Path | None) -> None:
    """Answers requests in their order until they end."""
    ensembles = Ensembles()
    for line in requests:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError
        except (ValueError, RecursionError):
            messages.send("error", text="a line that is no JSON object was sent to the worker.", exit_code=2)
            continue
        try:
            answer(request, ensembles, messages, staging)
        finally:
            forget_scan(request, starters_folder)
            give_back_freed_memory()


def forget_scan(request: dict[str, Any], starters_folder: Path | None) -> None:
    """Removes the scan of a request from the starter's folder; a file that lies elsewhere is the user's."""
    scan = Path(str(request.get("scan", "")))
    if starters_folder is not None and starters_folder in scan.parents:
        with suppress(OSError):  # goes with the folder
            scan.unlink()


def introduce(messages: Messages) -> None:
    """The first message: loading torch is the slow part, and done when it is sent."""
    try:
        from ICHSegmentationLib.devices import describe, fastest_dtype, pick_device
        from ICHSegmentationLib.report import versions

        device = pick_device("auto")
    except Exception as error:
        messages.send("error", text=f"the library cannot be loaded: {error}", exit_code=1)
        raise SystemExit(1) from None
    messages.send("ready", versions=versions(), device=describe(device, fastest_dtype(device)))


def leave(staging: Staging, starters_folder: Path | None) -> None:
    """Ends this process at once, also in the midst of a computation: nobody is left to want its result.

    What is half-written goes, and so does the folder that a starter which was killed could not remove.
    """
    staging.discard()
    if starters_folder is not None:
        os.chdir(starters_folder.parent)  # Windows removes no folder that somebody is in
        shutil.rmtree(starters_folder, ignore_errors=True)
    os._exit(0)


def end_with_its_starter(leave: Callable[[], None]) -> BinaryIO:
    """Takes standard input; lines come out of the returned pipe, and `leave` is called when input ends."""
    read_end, write_end = os.pipe()

    def forward() -> None:
        with os.fdopen(write_end, "wb") as out:
            for line in sys.stdin.buffer:
                out.write(line)
                out.flush()
        leave()

    threading.Thread(target=forward, daemon=True).start()
    return os.fdopen(read_end, "rb")


def main() -> None:
    """Serves standard input and output."""
    settle_memory()
    own = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # so that no print of a library gets among the messages
    messages, staging = Messages(own), Staging()
    starters_folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    gone = partial(leave, staging, starters_folder)
    requests = end_with_its_starter(gone)
    try:
        introduce(messages)
        serve(requests, messages, staging, starters_folder)
    except BrokenPipeError:  # nobody listens any more
        gone()


if __name__ == "__main__":
    main()
