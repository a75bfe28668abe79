"""A small pool of cases to train from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.training.cases import TrainingCases
from ICHSegmentationLib.training.pool import StoredCase, case_folders


def bright_case(seed: int = 0) -> StoredCase:
    """Noise with a bright ball that is labelled, a corner of it ignored."""
    rng = np.random.default_rng(seed)
    x, y, z = np.ogrid[:40, :44, :10]
    ball = (x - 25) ** 2 + (y - 20) ** 2 + (3 * (z - 5)) ** 2 < 64
    hu = np.where(ball, 70, 30) + rng.normal(0, 3, ball.shape)
    label = ball.astype(np.uint8)
    label[25:28, 20:23, 5] = IGNORED
    return StoredCase(hu.astype(np.int16), label, (1.0, 1.0, 5.0), "case_000000")


@pytest.fixture
def case() -> StoredCase:
    return bright_case()


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    for number in range(3):
        case = bright_case(number)
        path = folder / f"case_{number:06d}"
        path.mkdir(parents=True)
        np.save(path / "hu.npy", case.hu)
        np.save(path / "label.npy", case.label)
        (path / "case.json").write_text(json.dumps({"spacing_mm": case.spacing_mm}))
    (folder / ".case_000009.7.partial").mkdir()
    return folder


@pytest.fixture
def cases(pool: Path) -> TrainingCases:
    return TrainingCases(tuple(case_folders(pool)))
