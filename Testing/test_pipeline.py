"""From file to files: the stages are told, the times add up, and two runs of one scan agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import head_with_ball

from ICHSegmentationLib.ensemble import Ensemble
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.memory import peak_memory_mb
from ICHSegmentationLib.pipeline import SegmentationOptions, segment_file, segment_volume

HEAD = head_with_ball(spacing_mm=(2.0, 2.0, 5.0))


class Listener:
    """Keeps what was reported."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, float, str]] = []

    def __call__(self, stage: str, share: float, detail: str) -> None:
        self.heard.append((stage, share, detail))


def test_a_file_goes_through_reading_segmenting_and_writing(brightness_ensemble: Ensemble, tmp_path: Path) -> None:
    scan, out, listener = tmp_path / "scan.nii.gz", tmp_path / "out", Listener()
    write_image_file(scan, HEAD.hu, HEAD.affine, {})
    out.mkdir()
    result = segment_file(scan, out, brightness_ensemble, SegmentationOptions(device="cpu"), listener)
    assert list(dict.fromkeys(stage for stage, _, _ in listener.heard)) == ["reading", "segmenting", "writing"]
    for stage in ("reading", "segmenting", "writing"):
        shares = [share for name, share, _ in listener.heard if name == stage]
        assert shares == sorted(shares)
        assert 0 <= shares[0] <= shares[-1] <= 1
    written = json.loads((out / "statistics.json").read_text())
    assert written["volume_ml"] == pytest.approx(result.segmentation.volume_ml, abs=1e-3)
    assert written["volume_ml"] == pytest.approx(4 / 3 * np.pi * 1.5**3, rel=0.1)  # a ball of 15 mm
    assert len(result.lesions) == len(written["lesions"]) == 1
    assert all(written["seconds"][part] > 0 for part in ("reading", "inference", "writing"))


def test_a_scan_in_memory_gives_the_same_as_its_file(brightness_ensemble: Ensemble, tmp_path: Path) -> None:
    scan = tmp_path / "scan.nii.gz"
    write_image_file(scan, HEAD.hu, HEAD.affine, {})
    masks = []
    for name in ("file", "memory"):
        (tmp_path / name).mkdir()
        options = SegmentationOptions(device="cpu", quality="fast")
        if name == "file":
            result = segment_file(scan, tmp_path / name, brightness_ensemble, options, Listener())
        else:
            result = segment_volume(HEAD, tmp_path / name, brightness_ensemble, options, Listener())
        masks.append(result.segmentation.mask)
    assert np.array_equal(*masks)


def test_the_options_reach_the_segmentation(brightness_ensemble: Ensemble, tmp_path: Path) -> None:
    options = SegmentationOptions(device="cpu", quality="full", threshold=0.9, members=1)
    result = segment_volume(HEAD, tmp_path, brightness_ensemble, options, Listener())
    assert len(result.segmentation.member_volumes_ml) == 1
    assert result.statistics["threshold"] == 0.9
    assert result.statistics["quality"] == "full"
    with pytest.raises(InputError):
        segment_volume(HEAD, tmp_path, brightness_ensemble, SegmentationOptions(quality="best"), Listener())


def test_peak_memory_is_of_this_process_and_in_megabytes() -> None:
    before = peak_memory_mb()
    held = np.ones(40_000_000)  # 320 MB
    assert peak_memory_mb() > 300
    assert peak_memory_mb() >= before
    assert held[-1] == 1


def test_peak_memory_is_not_that_of_the_program_that_started_this_one() -> None:
    held = np.ones(300 * 2**17)  # 300 MiB, in this process
    code = "from ICHSegmentationLib.memory import peak_memory_mb; print(peak_memory_mb())"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert 5 < float(said) < held.nbytes / 1e6
