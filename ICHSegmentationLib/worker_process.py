"""The worker seen from Slicer's side: started, asked, listened to, ended. Nothing but the standard library.

Nothing here waits: Slicer's window calls `WorkerProcess.messages` from a timer, and threads of this module read the
pipes meanwhile.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from ICHSegmentationLib.staging import partial_of

LINES_KEPT = 40  # of standard error, for the diagnosis
LONGEST_LINE = 16 * 2**20
LONGEST_ERROR = 2000  # characters of one line of standard error
MOST_WAITING = 1000  # messages that nobody has fetched
WAIT_FOR_END_S = 1.5


class Inbox:
    """Messages between the thread that reads them and whoever fetches them; never grows without bound.

    Of progress only the newest waits: a window that was busy for a while needs no old one.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: deque[dict[str, Any]] = deque(maxlen=MOST_WAITING)

    def put(self, message: dict[str, Any]) -> None:
        with self.lock:
            if self.waiting and self.waiting[-1]["message"] == message["message"] == "progress":
                self.waiting.pop()
            self.waiting.append(message)

    def fetch(self) -> list[dict[str, Any]]:
        with self.lock:
            found = list(self.waiting)
            self.waiting.clear()
        return found


class WorkerProcess:
    """A running worker and its private folder, which is gone when the worker is."""

    def __init__(self, python: str = sys.executable, environment: dict[str, str] | None = None) -> None:
        """Starts it.

        Args:
            python: the interpreter that has torch.
            environment: variables besides those of this process.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="ich-worker-"))  # readable by this user alone
        library = str(Path(__file__).resolve().parents[1])
        inherited = {**os.environ, **(environment or {})}
        path = os.pathsep.join(part for part in (library, inherited.get("PYTHONPATH")) if part)
        private = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(self.folder))
        self.process = subprocess.Popen(
            [python, "-u", "-m", "ICHSegmentationLib.worker", str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**inherited, **private, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", "PYTHONUTF8": "1"},
            cwd=self.folder,
            **in_a_group_of_its_own(),
        )
        self.received = Inbox()
        self.ready: dict[str, Any] | None = None  # the first message, once it has come: versions, device
        self.last_lines: deque[str] = deque(maxlen=LINES_KEPT)
        self.requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.readers = [
            self.beside(self.read_messages, self.process.stdout),
            self.beside(self.read_errors, self.process.stderr),
        ]
        self.beside(self.write_requests, self.process.stdin)
        self.outs: list[Path] = []
        self.said_end = False

    def beside(self, work: Callable[[BinaryIO], None], pipe: Any) -> threading.Thread:
        thread = threading.Thread(target=work, args=(pipe,), daemon=True)
        thread.start()
        return thread

    def read_messages(self, pipe: BinaryIO) -> None:
        with pipe:
            while line := pipe.readline(LONGEST_LINE):
                try:
                    message = json.loads(line)
                    message["message"]
                except (ValueError, TypeError, KeyError, RecursionError):
                    self.last_lines.append(f"(not a message) {line[:200]!r}")
                    continue
                if message["message"] == "ready":
                    self.ready = message
                self.received.put(message)

    def read_errors(self, pipe: BinaryIO) -> None:
        with pipe:
            while line := pipe.readline(LONGEST_ERROR):
                self.last_lines.append(line.decode("utf-8", "replace").rstrip())

    def write_requests(self, pipe: BinaryIO) -> None:
        with suppress(OSError), pipe:  # the worker is gone; `messages` says so
            while (request := self.requests.get()) is not None:
                pipe.write(request)
                pipe.flush()

    def ask(self, request: dict[str, Any]) -> None:
        """Sends one request; never waits."""
        if "out" in request:
            self.outs.append(Path(request["out"]).resolve())
        self.requests.put(json.dumps(request).encode() + b"\n")

    def messages(self) -> list[dict[str, Any]]:
        """What has come since the last call. When the worker has ended: a last message "ended", once."""
        ended = self.process.poll() is not None and not any(reader.is_alive() for reader in self.readers)
        found = self.received.fetch()
        if ended and not self.said_end:
            self.said_end = True
            found.append(
                {"message": "ended", "exit_code": self.process.returncode, "last_lines": list(self.last_lines)}
            )
        return found

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def end(self) -> None:
        """Kills the worker and its children, removes its folder and half-written results; at most two seconds."""
        self.requests.put(None)
        kill_tree(self.process)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(WAIT_FOR_END_S)
        for unfinished in (self.folder, *(partial_of(out, self.process.pid) for out in self.outs)):
            shutil.rmtree(unfinished, ignore_errors=True)


def in_a_group_of_its_own() -> dict[str, Any]:
    """Arguments of Popen that make the worker the root of a tree that can be killed as a whole."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}


def kill_tree(process: subprocess.Popen) -> None:
    """Kills a process started `in_a_group_of_its_own` and what it started."""
    if sys.platform == "win32":
        if process.poll() is None:
            command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
            with suppress(subprocess.TimeoutExpired):
                subprocess.run(command, capture_output=True, timeout=WAIT_FOR_END_S, check=False)
        return
    with suppress(ProcessLookupError, PermissionError):  # all of it has ended; macOS says so with the second
        os.killpg(process.pid, signal.SIGKILL)
