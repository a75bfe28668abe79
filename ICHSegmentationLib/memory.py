"""The memory of this process: how much it has held, and what becomes of what it frees."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
HIGH_WATER_MARK = "VmHWM:"


def peak_memory_mb() -> float:
    """The most memory this process has held, in MB."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e6
    if STATUS.exists():  # Linux, whose ru_maxrss begins with what the starting process held
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith(HIGH_WATER_MARK))
        return int(line.split()[1]) * 1024 / 1e6
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS counts bytes


def use_huge_pages() -> None:
    """Lets torch take large tensors in huge pages, which makes fresh memory several times faster on Linux.

    torch reads this once, at its first large allocation; who has set it otherwise keeps it so.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # of glibc's <malloc.h>


def keep_freed_memory() -> None:
    """Lets this process keep the memory that it frees, for its next large tensors.

    Otherwise the C library gives each large tensor back to the kernel, which clears every page of the next one: up to a
    third of the time of a segmentation, and half of a simulation's. It holds for the whole process, so it is for the
    beginning of a program, not for a library. Of no effect where the C library is not glibc.
    """
    if (library := glibc()) is not None:
        library.mallopt(M_ARENA_MAX, 1)  # threads, too, take it from the one heap that is kept
        library.mallopt(M_MMAP_THRESHOLD, 2**30)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def settle_memory() -> None:
    """What a program does first of all: huge pages, and freed memory is kept."""
    use_huge_pages()
    keep_freed_memory()


def give_back_freed_memory() -> None:
    """Gives back what `keep_freed_memory` has kept: before a long wait."""
    if (library := glibc()) is not None:
        library.malloc_trim(0)


def glibc() -> ctypes.CDLL | None:
    """The C library of this process, if it is glibc."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
