"""What a run tells of itself: rows of a table, curves and pictures."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import numpy as np
import pytest

from ICHSegmentationLib.training import journal
from ICHSegmentationLib.training.journal import Journal, keep_rows_up_to


def rows(folder: Path) -> list[list[str]]:
    return [line.split(",") for line in (folder / "log.csv").read_text().splitlines()]


def test_a_row_holds_the_mean_loss_since_the_row_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "STEPS_PER_ROW", 2)
    with Journal(tmp_path, 0) as told:
        for step, loss in enumerate([1.0, 3.0, 5.0, 7.0], 1):
            told.add_step(step, loss, 1e-3, None, 0.25)
        told.add_step(5, 2.0, 1e-3, 0.75, 0.25)
    header, *values = rows(tmp_path)
    assert header == ["step", "loss", "learning_rate", "score", "seconds", "waiting_share"]
    assert [(row[0], float(row[1]), row[3]) for row in values] == [("2", 2.0, ""), ("4", 6.0, ""), ("5", 2.0, "0.75")]


def test_rows_of_steps_that_will_be_done_again_go_and_torn_ones_too(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,loss\n20,1,1,,2,0\n40,1,1,,2,0\n60,1,1,,2,0\n80,1,")
    keep_rows_up_to(tmp_path / "log.csv", 40)
    assert [row[0] for row in rows(tmp_path)] == ["step", "20", "40"]


def test_curves_and_pictures_are_tensorboards(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed (pip install 'ICHSegmentation[train]')")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with Journal(tmp_path, 0) as told:
        for step in range(1, 41):
            told.add_step(step, 1 / step, 1e-3, 0.5 if step == 30 else None, 0.0)
        told.add_picture(30, np.zeros((8, 9, 3), np.uint8))
    curves = EventAccumulator(str(tmp_path / "curves"))
    curves.Reload()
    assert [event.step for event in curves.Scalars("loss")] == [20, 30, 40]
    assert [(event.step, event.value) for event in curves.Scalars("score")] == [(30, 0.5)]
    assert [(event.step, event.width, event.height) for event in curves.Images("validation")] == [(30, 9, 8)]


def test_without_tensorboard_one_line_says_that_there_are_no_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with caplog.at_level(logging.INFO), Journal(tmp_path, 0) as told:
        told.add_step(20, 1.0, 1e-3, None, 0.0)
        told.add_picture(20, np.zeros((8, 9, 3), np.uint8))
    assert [record.message for record in caplog.records] == [
        f"TensorBoard is not installed: no curves beside {tmp_path / 'log.csv'}"
    ]
    assert not (tmp_path / "curves").exists()
    assert len(rows(tmp_path)) == 2
