"""Scan after scan through one worker: a row a scan, failures told and passed over, finished scans not run again.

Needs the standard library only. Nothing here waits: the command line and Slicer's panel call `Batch.listen` now and
then. Two files in the output folder are written anew, whole, after every scan: `batch.csv` for people, and
`batch.json`, which holds the same rows with what they were made from, so that the next run can go on.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from ICHSegmentationLib.bundle import read_manifest
from ICHSegmentationLib.errors import ICHError, InputError
from ICHSegmentationLib.staging import told_as_output_error, write_text
from ICHSegmentationLib.terminology import DISCLAIMER
from ICHSegmentationLib.worker_process import WorkerProcess

logger = logging.getLogger(__name__)

TABLE, STATE = "batch.csv", "batch.json"
STATE_FORMAT = 1
CRASHES_IN_A_ROW = 3  # then it is not the scans
LONGEST_STEP_S = 0.1  # of one call of `listen`, about: a window is drawn by the same thread

Request = dict[str, Any]


class Case(Protocol):
    """A scan, and the place for its result."""

    @property
    def name(self) -> str:
        """As the user sees it; no two of a batch have the same."""

    def fingerprint(self) -> str:
        """Another one if the scan has changed. Raises ICHError."""

    def has_result(self, fingerprint: str) -> bool:
        """Whether the result of an earlier run on the same scan is still in its place."""

    def request(self, worker: WorkerProcess) -> Request:
        """What to ask the worker (see worker.py), without bundle and options. Raises ICHError."""

    def take(self, statistics: dict[str, Any]) -> None:
        """Brings the worker's result to its place. Raises ICHError."""

    def clear(self) -> None:
        """Removes what `request` made for the worker; called however the case ended."""


@dataclass(frozen=True)
class Row:
    """What there is to say about one scan: a line of the table. Without a result its numbers are None."""

    scan: str
    state: str  # "done" or "failed"
    volume_ml: float | None = None
    volume_low_ml: float | None = None  # the members' range
    volume_high_ml: float | None = None
    lesions: int | None = None
    largest_ml: float | None = None
    largest_abc2_ml: float | None = None
    threshold: float | None = None
    quality: str = ""
    warnings: str = ""
    problem: str = ""
    seconds: float | None = None
    device: str = ""
    ensemble: str = ""
    version: str = ""
    sha256: str = ""

    @classmethod
    def of_result(cls, scan: str, statistics: dict[str, Any], seconds: float) -> Row:
        low, high = statistics["volume_ml_range"]
        largest = statistics["lesions"][0] if statistics["lesions"] else {"volume_ml": 0.0, "abc2_ml": 0.0}
        bundle = statistics["bundle"]
        return cls(
            scan,
            "done",
            round(statistics["volume_ml"], 3),
            round(low, 3),
            round(high, 3),
            len(statistics["lesions"]),
            round(largest["volume_ml"], 3),
            round(largest["abc2_ml"], 3),
            statistics["threshold"],
            statistics["quality"],
            " ".join(statistics["warnings"]),
            seconds=round(seconds, 1),
            device=statistics["device"],
            ensemble=bundle["name"],
            version=bundle["version"],
            sha256=bundle["sha256"],
        )


@dataclass(frozen=True)
class Settings:
    """What all scans of a batch are run with.

    Attributes:
        bundle: folder of another ensemble than the bundled one.
        options: of `pipeline.SegmentationOptions`, JSON values.
    """

    bundle: Path | None
    options: dict[str, Any]


class Batch:
    """A run over many scans.

    Attributes:
        names: of all scans, in their order.
        rows: of this batch, by name, as they come.
        skipped: names of those that an earlier run had finished.
        current: the scan that the worker has.
        progress: the worker's last progress message about it.
        problem: why the batch as a whole was given up; empty if it was not.
    """

    def __init__(
        self,
        cases: Iterable[Case],
        folder: Path,
        settings: Settings,
        worker: Callable[[], WorkerProcess],
        resume: bool,
    ) -> None:
        """Checks all that can be checked before the first scan.

        Args:
            cases: the scans.
            folder: for the table; made if it is not there.
            settings: what they are run with.
            worker: gives a running worker, the same one as long as it lives. Whoever gives it ends it.
            resume: go on where an earlier run with the same folder stopped.

        Raises:
            InputError: no scans, or the folder holds a damaged `batch.json`.
            BundleError: the ensemble cannot be used.
            OutputError: the folder cannot be written to.
        """
        self.waiting = deque(cases)
        self.names = [case.name for case in self.waiting]
        if not self.names:
            raise InputError("there is no scan to segment; at least one is wanted.")
        manifest = read_manifest(settings.bundle)
        manifest.member_paths()
        self.folder, self.worker = folder, worker
        self.source = {"bundle": manifest.sha256, "options": settings.options}
        self.asked = {"bundle": str(manifest.folder), "options": settings.options}
        self.records = read_records(folder) if resume else {}
        self.rows: dict[str, Row] = {}
        self.skipped: list[str] = []
        self.current: Case | None = None
        self.progress: dict[str, Any] | None = None
        self.problem = ""
        self.crashes = 0
        with told_as_output_error(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self.write()

    @property
    def is_over(self) -> bool:
        return self.current is None and not self.waiting

    @property
    def failures(self) -> list[Row]:
        return [row for row in self.rows.values() if row.state == "failed"]

    @property
    def fraction(self) -> float:
        """How much of the batch is done, 0..1."""
        progress = self.progress or {"stage": "", "fraction": 0.0}
        of_scan = progress["fraction"] if progress["stage"] == "segmenting" else 0.0  # by far the longest stage
        return (len(self.rows) + of_scan) / len(self.names)

    @property
    def seconds_left(self) -> float | None:
        """What is left if the other scans take as long as those of this run; None until one of them is done."""
        done = [row for row in self.rows.values() if row.state == "done" and row.scan not in self.skipped]
        if not done:
            return None
        mean = sum(row.seconds or 0.0 for row in done) / len(done)
        return mean * len(self.names) * (1 - self.fraction)

    def listen(self) -> bool:
        """Goes on as far as that is possible without waiting; whether there was anything to hear or do."""
        until = time.monotonic() + LONGEST_STEP_S
        rows = len(self.rows)
        messages = self.running.messages() if self.current is not None else []
        for message in messages:
            self.hear(message)
        while self.current is None and self.waiting and time.monotonic() < until:
            self.begin(self.waiting.popleft())
        if len(self.rows) > rows:
            self.write()
        return bool(messages) or len(self.rows) > rows

    def stop(self) -> None:
        """Gives up the scans that are not done; the worker is to be ended by who gave it."""
        self.waiting.clear()
        if self.current is not None:
            self.current.clear()
            self.current = None

    # ---- one scan

    def begin(self, case: Case) -> None:
        """Asks the worker, unless the scan is done already."""
        self.progress, self.started, self.input = None, time.monotonic(), ""
        try:
            self.input = case.fingerprint()
            record = self.records.get(case.name)
            if record is not None and self.is_same(record) and case.has_result(self.input):
                self.rows[case.name] = Row(**record["row"])
                self.skipped.append(case.name)
                return
            self.running = self.worker()
            self.current = case
            self.running.ask({**case.request(self.running), **self.asked})
        except ICHError as error:
            self.current = case
            self.fail(str(error))

    def is_same(self, record: dict[str, Any]) -> bool:
        """Whether a record is of a finished scan, of the same input, ensemble and options."""
        return record["row"]["state"] == "done" and record["source"] == {"input": self.input, **self.source}

    def hear(self, message: dict[str, Any]) -> None:
        if self.current is None:  # what comes after the end of a scan is not about the next one
            return
        kind = message["message"]
        if kind == "progress":
            self.progress = message
        elif kind == "result":
            self.crashes = 0
            try:
                self.current.take(message["statistics"])
            except ICHError as error:
                self.fail(str(error))
                return
            except (OSError, ValueError, RuntimeError) as error:  # whatever Slicer or the disk refuses
                logger.exception("a result could not be taken")
                self.fail(f"the result could not be taken: {error}")
                return
            seconds = time.monotonic() - self.started
            self.finish(Row.of_result(self.current.name, message["statistics"], seconds))
        elif kind == "error":
            self.crashes = 0  # it lives
            self.fail(message["text"])
        elif kind == "ended":
            self.crashes += 1
            self.fail(f"the program that segments ended unexpectedly (exit code {message['exit_code']}).")
            if self.crashes == CRASHES_IN_A_ROW:
                self.problem = f"the program that segments ended {self.crashes} times in a row: the batch was stopped."
                self.waiting.clear()

    def fail(self, text: str) -> None:
        assert self.current is not None
        seconds = round(time.monotonic() - self.started, 1)
        self.finish(Row(self.current.name, "failed", problem=text, seconds=seconds))

    def finish(self, row: Row) -> None:
        assert self.current is not None
        self.current.clear()
        self.current = None
        self.rows[row.scan] = row
        self.records[row.scan] = {"source": {"input": self.input, **self.source}, "row": asdict(row)}
        logger.info("%d of %d scans are through", len(self.rows), len(self.names))

    # ---- files

    def write(self) -> None:
        """Writes table and state. Raises OutputError."""
        state = {"format": STATE_FORMAT, "cases": self.records}
        for name, text in ((TABLE, self.table()), (STATE, json.dumps(state, indent=1))):
            write_text(self.folder / name, text)

    def table(self) -> str:
        """The content of `batch.csv`."""
        return table_csv(record["row"] for record in self.records.values())


def table_csv(rows: Iterable[dict[str, Any]]) -> str:
    """The rows as CSV with a header; numbers that there are not stay empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [field.name for field in fields(Row)]
    writer.writerow([*names, "note"])
    for row in rows:
        writer.writerow([*("" if row[name] is None else row[name] for name in names), DISCLAIMER])
    return text.getvalue()


def read_records(folder: Path) -> dict[str, Any]:
    """What an earlier batch noted in this folder, by name; nothing if there was none."""
    path = folder / STATE
    damaged = InputError(f"{path} was not written by this program, or is damaged; name another output folder.")
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        if state["format"] != STATE_FORMAT:
            raise damaged
        for name, record in state["cases"].items():
            if Row(**record["row"]).scan != name or "source" not in record:
                raise damaged
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise damaged from None
    return state["cases"]
