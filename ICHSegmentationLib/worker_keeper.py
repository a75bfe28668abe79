"""Keeps one worker for who needs it now and then. Nothing but the standard library."""

from __future__ import annotations

import sys

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.worker_process import WorkerProcess


class WorkerKeeper:
    """At most one worker: started when it is first wanted, and again when it has died or was ended.

    Attributes:
        worker: the worker as it is, maybe dead; None if there is none.
    """

    def __init__(self, python: str = sys.executable) -> None:
        """`python`: the interpreter that has torch."""
        self.python = python
        self.worker: WorkerProcess | None = None

    def running(self) -> WorkerProcess:
        """A worker that runs.

        Raises:
            InputError: it cannot be started.
        """
        if self.worker is not None and not self.worker.is_running:
            self.end()
        if self.worker is None:
            try:
                self.worker = WorkerProcess(self.python)
            except OSError as error:
                raise InputError(f"{self.python} cannot be started: {error.strerror}.") from None
        return self.worker

    def end(self) -> None:
        """Ends the worker, if there is one."""
        if self.worker is not None:
            self.worker.end()
            self.worker = None
