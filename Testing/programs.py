"""Programs that tests start, interrupt and never leave behind."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any


def ich(*arguments: object, **options: Any) -> AbstractContextManager[subprocess.Popen]:
    """The command line program; options as those of `python`."""
    return python("-m", "ICHSegmentationLib", *arguments, **options)


@contextmanager
def python(*arguments: object, **options: Any) -> Iterator[subprocess.Popen]:
    """Python in a process of its own, killed at the end if it still runs. Options are those of Popen."""
    command = [sys.executable, *map(str, arguments)]
    process = subprocess.Popen(command, **{"stderr": subprocess.PIPE, "text": True} | options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(true: Callable[[], object], process: subprocess.Popen, seconds: float = 120) -> None:
    """Waits for something that the process is about to do; fails if it ends first or takes longer."""
    deadline = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, "the process ended before it could be interrupted"
        assert time.monotonic() < deadline, f"nothing came in {seconds:g} s"
        time.sleep(0.02)
