"""What a run tells of itself: `log.csv` always, TensorBoard's curves and pictures where TensorBoard is installed."""

from __future__ import annotations

import csv
import importlib.util
import logging
import time
from pathlib import Path
from typing import Any

import numpy as np

from ICHSegmentationLib.staging import whole_or_not_at_all

logger = logging.getLogger(__name__)

COLUMNS = ("step", "loss", "learning_rate", "score", "seconds", "waiting_share")
STEPS_PER_ROW = 20


class Journal:
    """Rows of `log.csv` and the same as curves; a resumed run goes on after the row of its checkpoint's step.

    A row holds the mean loss of the steps since the row before, the learning rate, the validation's score (empty
    where none was due), the seconds since this sitting began and the share of them spent waiting for data.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self.path = folder / "log.csv"
        self.started = time.monotonic()
        self.losses: list[float] = []
        keep_rows_up_to(self.path, first_step)
        self.curves = self.open_curves(folder, first_step)

    def open_curves(self, folder: Path, first_step: int) -> Any:
        if importlib.util.find_spec("tensorboard") is None:
            logger.info("TensorBoard is not installed: no curves beside %s", self.path)
            return None
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder / "curves"), purge_step=first_step + 1)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        if self.curves is not None:
            self.curves.close()

    def add_step(self, step: int, loss: float, learning_rate: float, score: float | None, waiting_share: float) -> None:
        """Takes in a step; a row is written every so many, and wherever there is a score."""
        self.losses.append(loss)
        if score is None and step % STEPS_PER_ROW:
            return
        seconds = round(time.monotonic() - self.started, 1)
        mean_loss = sum(self.losses) / len(self.losses)
        self.losses.clear()
        values = (step, mean_loss, learning_rate, "" if score is None else score, seconds, round(waiting_share, 4))
        with open(self.path, "a", newline="") as file:
            csv.writer(file).writerow(values)
        if self.curves is not None:
            for name, value in zip(COLUMNS[1:], values[1:], strict=True):
                if value != "":
                    self.curves.add_scalar(name, value, step)

    def add_picture(self, step: int, picture: np.ndarray) -> None:
        """A picture [height, width, 3] of 8-bit colours."""
        if self.curves is not None:
            self.curves.add_image("validation", picture, step, dataformats="HWC")


def keep_rows_up_to(path: Path, step: int) -> None:
    """Drops what the log says of steps that will be done again, and gives it its first line."""
    kept: list[list[str]] = [list(COLUMNS)]
    if path.exists():
        with open(path, newline="") as file:
            # a row that a killed run did not finish is no row
            rows = [row for row in csv.reader(file) if len(row) == len(COLUMNS) and row[0].isdigit()]
        kept += [row for row in rows if int(row[0]) <= step]
    with whole_or_not_at_all(path) as partial, open(partial, "w", newline="") as file:
        csv.writer(file).writerows(kept)
