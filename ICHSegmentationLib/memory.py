"""How much memory this process has held."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil

STATUS = Path("/proc/self/status")
HIGH_WATER_MARK = "VmHWM:"


def peak_memory_mb() -> float:
    """The most memory this process has held, in MB."""
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset / 1e6
    if STATUS.exists():  # Linux, whose ru_maxrss begins with what the starting process held
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(HIGH_WATER_MARK))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes
