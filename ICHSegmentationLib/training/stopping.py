"""A request to stop, so that a run can leave a checkpoint before it goes."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class StopSignals:
    """Notes SIGTERM and Ctrl-C instead of being ended by them; a second Ctrl-C ends at once.

    Only the main thread of a process can listen; elsewhere signals do what they did before.
    """

    def __init__(self) -> None:
        self.arrived = False
        self.previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self.previous = {kind: signal.signal(kind, self.note) for kind in (signal.SIGTERM, signal.SIGINT)}
        return self

    def note(self, number: int, frame: FrameType | None) -> None:
        if self.arrived and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.arrived = True

    def __exit__(self, *error: object) -> None:
        for kind, handler in self.previous.items():
            signal.signal(kind, handler)
