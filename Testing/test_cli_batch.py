"""`ich batch` as a user meets it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import psutil
import pytest
from helpers import head_with_ball, small_info, small_network
from programs import ich, wait_until

from ICHSegmentationLib.cli import main
from ICHSegmentationLib.ensemble import save_bundle
from ICHSegmentationLib.image_files import write_image_file


def write_scan(path: Path, spacing_mm: tuple[float, float, float] = (4.0, 4.0, 8.0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    head = head_with_ball(spacing_mm=spacing_mm)
    write_image_file(path, head.hu, head.affine, {})


def test_a_folder_is_segmented_and_resumed(
    tmp_path: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "scans" / "a.nii.gz")
    (tmp_path / "scans" / "bad.nii.gz").write_bytes(b"")
    command = ["batch", str(tmp_path / "scans"), "--out", str(tmp_path / "out"), "--bundle", str(small_bundle)]
    assert main(command) == 2
    told = capsys.readouterr()
    assert "done    a.nii.gz: " in told.out
    assert "failed  bad.nii.gz: bad.nii.gz is empty (0 bytes)." in told.out
    assert "1 of 2 scans could not be segmented" in told.err
    assert main(command) == 3
    assert "--resume to go on" in capsys.readouterr().err
    (tmp_path / "scans" / "bad.nii.gz").unlink()
    assert main([*command, "--resume"]) == 0
    assert "0 of 1 scans segmented, 1 were done before" in capsys.readouterr().out


def test_a_wish_that_makes_no_sense_is_told_for_every_scan(
    tmp_path: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "a.nii.gz")
    command = ["batch", str(tmp_path / "a.nii.gz"), "--out", str(tmp_path / "out"), "--bundle", str(small_bundle)]
    assert main([*command, "--threshold", "2"]) == 2
    assert "threshold must lie between 0 and 1" in capsys.readouterr().out


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on Unix")
def test_ctrl_c_ends_the_worker_and_leaves_the_table_of_what_is_done(tmp_path: Path) -> None:
    """The first scan is quickly done; the second is larger than anyone can wait for."""
    network = small_network(irreps_levels=("40x0e+20x1o+10x2e", "40x0e+20x1o+10x2e"))
    save_bundle(tmp_path / "bundle", small_info(network=network.config), [network.state_dict()])
    write_scan(tmp_path / "scans" / "1.nii.gz", (8.0, 8.0, 16.0))
    write_scan(tmp_path / "scans" / "2.nii.gz", (1.0, 1.0, 2.5))
    (tmp_path / "temporary").mkdir()
    arguments = ["batch", str(tmp_path / "scans"), "--out", str(tmp_path / "out"), "--bundle", str(tmp_path / "bundle")]
    with ich(*arguments, env={**os.environ, "TMPDIR": str(tmp_path / "temporary")}) as process:
        wait_until(lambda: list((tmp_path / "out").glob(".2.nii.gz.*.partial")), process)
        (worker,) = psutil.Process(process.pid).children()
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert time.monotonic() - started < 2.0
    assert process.returncode == 130
    assert "stopped" in err
    psutil.wait_procs([worker], timeout=2)
    assert not worker.is_running()
    assert not list((tmp_path / "temporary").iterdir())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["1.nii.gz", "batch.csv", "batch.json"]
    assert [line.split(",")[:2] for line in (tmp_path / "out" / "batch.csv").read_text().splitlines()[1:]] == [
        ["1.nii.gz", "done"]
    ]
