"""A job of a comparison in a process of its own: begun once, gone on with, watched, and what it took."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.child import Job
from ICHSegmentationLib.staging import write_json, write_text

LOOK_SECONDS = 0.5  # between two looks at a child's memory

OnNews = Callable[[str], None]


def nobody(sentence: str) -> None:
    """Listens to no news."""


@dataclass(frozen=True)
class Spent:
    """What a job took so far, over all its sittings.

    Attributes:
        seconds: wall clock.
        processor_seconds: of all its processes' cores; what the wall clock would be on one free core.
        memory_mb: most that its processes held together; what several share counts once, where the system tells.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0
    memory_mb: float = 0.0

    def looked_at(self, process: int, seconds: float) -> Spent:
        """The same after a look at a running process and those it started."""
        memory = used = 0.0
        try:
            parent = psutil.Process(process)
            for each in (parent, *parent.children(recursive=True)):
                memory += memory_of(each) / 1e6
                times = each.cpu_times()
                used += times.user + times.system
            ended = parent.cpu_times()
            used += ended.children_user + ended.children_system
        except psutil.Error:  # it ended while we looked
            pass
        return Spent(seconds, max(self.processor_seconds, used), max(self.memory_mb, memory))

    def and_then(self, later: Spent) -> Spent:
        """Both sittings together."""
        return Spent(
            self.seconds + later.seconds,
            self.processor_seconds + later.processor_seconds,
            max(self.memory_mb, later.memory_mb),
        )


def memory_of(process: psutil.Process) -> int:
    """Bytes that a process holds: on Linux its share of what it shares with others, elsewhere all of that.

    Raises:
        psutil.Error: it has ended, or is another user's.
    """
    if sys.platform == "linux":
        return int(process.memory_full_info().pss)
    return int(process.memory_info().rss)


def check_same_job(path: Path, job: Job, but: Sequence[str]) -> None:
    """Whether a job that was begun here is the one that is wanted, but for some of its fields.

    Raises:
        InputError: it is another.
    """
    if not path.exists():
        return
    begun, wanted = json.loads(path.read_text()), json.loads(json.dumps(dataclasses.asdict(job)))
    for name, value in wanted.items():
        if name not in but and begun.get(name) != value:
            raise InputError(
                f"{path.parent} was begun with {name} {shown(begun.get(name))} and {shown(value)} is wanted now; name "
                "another folder, or remove this one."
            )


def shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def run_job(job: Job, path: Path, what: str, on_news: OnNews) -> None:
    """Runs a job in a process of its own unless it is done; its seconds and memory go into its report.

    Raises:
        InputError: the process failed; the sentence holds its last words.
    """
    report = Path(job.report)
    if report.exists():
        return
    on_news(f"{what} ...")
    with alone(path.with_name(f"{path.stem}.pid")):
        seconds = run_child(job, path, what)
    on_news(f"{what}: done in {seconds:.0f} s")


def run_child(job: Job, path: Path, what: str) -> float:
    """Runs the process, looks at it now and then, and returns the seconds of all its sittings."""
    report = Path(job.report)
    write_json(path, dataclasses.asdict(job))
    log = path.with_name(f"{path.stem}.log")
    spent = path.with_name(f"{path.stem}_spent.json")
    before = Spent(**json.loads(spent.read_text())) if spent.exists() else Spent()
    command = [sys.executable, "-m", "ICHSegmentationLib.evaluation.child", str(path)]
    started = time.monotonic()
    with log.open("ab") as words, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=words, stderr=words) as child:
        now = Spent()
        while True:
            now = now.looked_at(child.pid, time.monotonic() - started)
            write_json(spent, dataclasses.asdict(before.and_then(now)))
            try:
                code = child.wait(LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
    now = dataclasses.replace(now, seconds=time.monotonic() - started)
    write_json(spent, dataclasses.asdict(before.and_then(now)))
    if code != 0 or not report.exists():
        raise InputError(f"{what} failed with exit code {code}: {last_words(log)} (more in {log}).")
    return before.and_then(now).seconds


@contextlib.contextmanager
def alone(mark: Path) -> Iterator[None]:
    """Keeps a second comparison from the same job while this one is at it.

    Raises:
        InputError: another process is.
    """
    if mark.exists():
        process = mark.read_text().strip()
        if not process.isdecimal():
            raise InputError(f"{mark} holds {process!r} and no process number; remove it if no comparison is at work.")
        if psutil.pid_exists(int(process)):
            raise InputError(
                f"process {process} is at work in {mark.parent}; wait for it, or stop it (and remove {mark.name} if "
                "that is another program)."
            )
    write_text(mark, str(os.getpid()))
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it said nothing"


def spent_by(folder: Path, task: str) -> Spent:
    """What a finished job took; its own word on its peak memory counts where looks from outside missed it."""
    spent = Spent(**json.loads((folder / f"{task}_job_spent.json").read_text()))
    peak_mb = json.loads((folder / f"{task}.json").read_text())["peak_memory_mb"]
    return dataclasses.replace(spent, memory_mb=max(spent.memory_mb, peak_mb))
