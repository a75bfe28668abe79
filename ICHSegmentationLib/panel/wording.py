"""What the panel says while it works. Imports slicer for its translations."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from ICHSegmentationLib.batch import TABLE, Batch, Row
from ICHSegmentationLib.errors import sentence
from ICHSegmentationLib.panel.finding_wording import headline


def duration(seconds: float) -> str:
    """About how long, for a person."""
    if seconds < 120:
        return _("{seconds:.0f} s").format(seconds=seconds)
    return _("{minutes:.0f} min").format(minutes=seconds / 60)


def progress_line(message: dict[str, Any]) -> str:
    """Stage, detail and time left of one scan."""
    stages = {"reading": _("Reading"), "segmenting": _("Segmenting"), "writing": _("Writing")}
    line = stages[message["stage"]]
    if message["detail"]:
        line += f": {message['detail']}"
    if message["seconds_left"] is not None:
        line += ", " + _("{duration} left").format(duration=duration(message["seconds_left"]))
    return line


def batch_line(batch: Batch) -> str:
    """Where a batch stands."""
    if batch.is_over:
        return batch_result_line(batch)
    number = len(batch.rows) + 1
    name = batch.current.name if batch.current is not None else batch.names[len(batch.rows)]
    line = _("Scan {number} of {count}: {name}").format(number=number, count=len(batch.names), name=name)
    if batch.seconds_left is not None:
        line += ", " + _("{duration} left").format(duration=duration(batch.seconds_left))
    return line


def batch_result_line(batch: Batch) -> str:
    """What came of a batch."""
    done = sum(row.state == "done" for row in batch.rows.values())
    line = _("{done} of {count} scans are done").format(done=done, count=len(batch.names))
    if batch.skipped:
        line += _(" ({count} of them before)").format(count=len(batch.skipped))
    if batch.failures:
        line += _(", {count} failed").format(count=len(batch.failures))
    line += _(". Table: {path}").format(path=batch.folder / TABLE)
    return f"{sentence(batch.problem)} {line}" if batch.problem else line


def batch_row_line(row: Row) -> str:
    """What came of one scan of a batch."""
    if row.state == "failed":
        return sentence(row.problem)
    assert row.volume_ml is not None
    assert row.lesions is not None
    return headline(row.volume_ml, row.lesions)
