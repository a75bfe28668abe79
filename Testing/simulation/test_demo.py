"""The head of the demo."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ICHSegmentationLib.image_files import read_image_file
from ICHSegmentationLib.simulation.demo import demo_case, write_demo_scan


def test_the_demo_head_has_one_deep_bleed_of_a_size_worth_finding() -> None:
    case = demo_case(1)
    assert 8 < case.volume_ml["IPH"] < 45
    assert sum(case.volume_ml.values()) == case.volume_ml["IPH"]
    assert tuple(case.spacing_mm) == (0.9, 0.9, 5.0)


def test_the_demo_scan_is_written_with_its_truth(tmp_path: Path) -> None:
    case = demo_case(2)
    scan = read_image_file(write_demo_scan(case, tmp_path))
    truth = read_image_file(tmp_path / "generated_truth.nii.gz")
    assert np.array_equal(scan.hu, case.hu.numpy())
    assert scan.hu[truth.hu > 0].mean() > 40
