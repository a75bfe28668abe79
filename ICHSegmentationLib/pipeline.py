"""One scan from file to files: read, segment, measure, write. What the command line and the Slicer worker call."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ICHSegmentationLib.ensemble import Ensemble
from ICHSegmentationLib.inference import Segmentation, segment
from ICHSegmentationLib.lesions import Lesion, find_lesions
from ICHSegmentationLib.report import Timing, statistics, write_files, write_statistics
from ICHSegmentationLib.runner import Progress
from ICHSegmentationLib.volume import Volume, read_volume

Report = Callable[[str, float, str], None]  # stage, share of it that is done (0..1), detail


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
    path: Path, folder: Path, ensemble: Ensemble, options: SegmentationOptions, report: Report, title: str = ""
) -> Result:
    """Segments the scan at `path` and writes all results into `folder`, which must exist."""
    started = time.perf_counter()

    def on_slice(done: int, slices: int) -> None:
        report("reading", done / slices, f"slice {done} of {slices}")

    report("reading", 0.0, "")
    volume = read_volume(path, options.series, on_slice)
    return segment_volume(volume, folder, ensemble, options, report, time.perf_counter() - started, title)


def segment_volume(
    volume: Volume,
    folder: Path,
    ensemble: Ensemble,
    options: SegmentationOptions,
    report: Report,
    seconds_reading: float = 0.0,
    title: str = "",
) -> Result:
    """Segments a scan in memory and writes all results into `folder`, which must exist."""

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
    write_files(folder, segmentation, lesions, title)
    timing = Timing(seconds_reading, segmentation.seconds, time.perf_counter() - started)
    values = statistics(segmentation, lesions, ensemble, timing, peak_memory_mb())
    write_statistics(folder, values)
    report("writing", 1.0, "")
    return Result(segmentation, lesions, values)


def peak_memory_mb() -> float:
    """The most memory this process has held, in MB."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3
