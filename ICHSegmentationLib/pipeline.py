"""One scan from file to files: read, segment, measure, write. What the command line and the Slicer worker call."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ICHSegmentationLib.ensemble import Ensemble
from ICHSegmentationLib.inference import Segmentation, segment
from ICHSegmentationLib.lesions import Lesion, find_lesions
from ICHSegmentationLib.memory import peak_memory_mb
from ICHSegmentationLib.report import Timing, statistics, write_files, write_statistics
from ICHSegmentationLib.runner import Progress
from ICHSegmentationLib.volume import Volume, read_volume

Report = Callable[[str, float, str], None]  # stage, share of it that is done (0..1), detail
Write = Callable[[Path, Segmentation, list[Lesion]], None]


@dataclass(frozen=True)
class SegmentationOptions:
    """What a user can choose for one scan; see `inference.segment` and `volume.read_volume`."""

    device: str = "auto"
    quality: str = "auto"
    threshold: float | None = None
    members: int | None = None
    series: str | None = None


@dataclass(frozen=True)
class Result:
    """All there is to say about one scan."""

    segmentation: Segmentation
    lesions: list[Lesion]
    statistics: dict[str, Any]


def segment_file(
    path: Path,
    folder: Path,
    ensemble: Ensemble,
    options: SegmentationOptions,
    report: Report,
    write: Write = write_files,
    prepare: Callable[[Volume], Volume] = lambda volume: volume,
) -> Result:
    """Segments the scan at `path` and writes the results into `folder`, which must exist.

    Args:
        path: see `volume.read_volume`.
        folder: for the results.
        ensemble: see `ensemble.load_bundle`.
        options: what the user chose.
        report: is told how far the work is.
        write: writes all but the statistics: `report.write_files`, or `write_arrays`.
        prepare: adds what is known of the scan beside its file.
    """
    started = time.perf_counter()

    def on_slice(done: int, slices: int) -> None:
        report("reading", done / slices, f"slice {done} of {slices}")

    report("reading", 0.0, "")
    volume = prepare(read_volume(path, options.series, on_slice))
    return segment_volume(volume, folder, ensemble, options, report, write, time.perf_counter() - started)


def segment_volume(
    volume: Volume,
    folder: Path,
    ensemble: Ensemble,
    options: SegmentationOptions,
    report: Report,
    write: Write = write_files,
    seconds_reading: float = 0.0,
) -> Result:
    """Segments a scan in memory and writes the results into `folder`, which must exist."""

    def on_progress(progress: Progress) -> None:
        member = f"member {progress.member} of {progress.members}"
        report("segmenting", progress.fraction, f"{member}, tile {progress.tile} of {progress.tiles}")

    report("segmenting", 0.0, "")
    segmentation = segment(
        volume,
        ensemble,
        options.quality,
        options.device,
        options.threshold,
        options.members,
        on_progress=on_progress,
    )
    started = time.perf_counter()
    report("writing", 0.0, "")
    lesions = find_lesions(segmentation.mask, segmentation.volume)
    write(folder, segmentation, lesions)
    timing = Timing(seconds_reading, segmentation.seconds, time.perf_counter() - started)
    values = statistics(segmentation, lesions, ensemble, timing, peak_memory_mb())
    write_statistics(folder, values)
    report("writing", 1.0, "")
    return Result(segmentation, lesions, values)


def write_arrays(folder: Path, segmentation: Segmentation, lesions: list[Lesion]) -> None:
    """`mask.npy` (uint8) and `probability.npy` (float32), [z, y, x] as Slicer has it: fast, for a program to take."""
    np.save(folder / "mask.npy", segmentation.mask.T.astype(np.uint8))
    np.save(folder / "probability.npy", segmentation.probability.T)
