"""The command line as a user meets it. (What it refuses: test_bad_input.py.)"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_files import NAME, write_series
from helpers import SMALL, head_with_ball, small_info, small_network
from programs import ich, wait_until

from ICHSegmentationLib.cli import main
from ICHSegmentationLib.ensemble import save_bundle
from ICHSegmentationLib.image_files import read_image_file, write_image_file
from ICHSegmentationLib.staging import partial_of

HEAD = head_with_ball(spacing_mm=(3.0, 3.0, 8.0))
RESULTS = {"lesions.csv", "overview.png", "probability.nii.gz", "segmentation.nii.gz", "segmentation.seg.nrrd",
           "statistics.json"}  # fmt: skip


def as_dicom(folder: Path) -> Path:
    origins = HEAD.origins_mm * [-1, -1, 1]
    write_series(folder, HEAD.hu, origins, (-1, 0, 0), (0, -1, 0), pixel_mm=3.0, SliceThickness=8.0)
    return folder


def as_zip(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.write(file, f"exam/{file.name}")
    return path


def test_every_kind_of_input_gives_the_same_result(
    tmp_path: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = as_dicom(tmp_path / "dicom")
    inputs = {
        "folder": folder,
        "file": min(folder.iterdir()),
        "zip": as_zip(folder, tmp_path / "exam.zip"),
    }
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        inputs[suffix] = tmp_path / f"scan{suffix}"
        write_image_file(inputs[suffix], HEAD.hu, HEAD.affine, {})
    masks = []
    for name, path in inputs.items():
        out = tmp_path / "out" / name
        assert main(["segment", str(path), "--out", str(out), "--bundle", str(small_bundle), "--threshold", "0.4"]) == 0
        assert {file.name for file in out.iterdir()} == RESULTS
        masks.append(read_image_file(out / "segmentation.nii.gz").hu)
    assert all(np.array_equal(mask, masks[0]) for mask in masks)
    printed = capsys.readouterr()
    assert "Research use only, not for clinical use." in printed.out
    assert NAME.split("^")[0] not in printed.out + printed.err


def test_nothing_that_is_written_names_the_patient(tmp_path: Path, small_bundle: Path) -> None:
    folder = as_dicom(tmp_path / "dicom")
    out = tmp_path / "out"
    assert main(["--verbose", "segment", str(folder), "--out", str(out), "--bundle", str(small_bundle)]) == 0
    for file in out.iterdir():
        content = file.read_bytes().lower()
        assert b"mustermann" not in content
        assert b"4711" not in content


def test_info_says_what_a_bug_report_needs(small_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--bundle", str(small_bundle)]) == 0
    printed = capsys.readouterr().out
    for said in (
        "python",
        "torch",
        "e3nn",
        "SimpleITK",
        "device",
        "small 0, 2 members",
        "SHA-256",
        "Research use only",
    ):
        assert said in printed


def test_importing_the_package_needs_no_torch_and_reads_no_file() -> None:
    code = (
        "import sys, ICHSegmentationLib, ICHSegmentationLib.cli; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on Unix")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stage", ["loading", "computing"])
def test_ctrl_c_stops_within_a_second_and_leaves_nothing(tmp_path: Path, sent: signal.Signals, stage: str) -> None:
    """Interrupted while it loads and while it computes (a heavy network, so that it is not done before)."""
    bundle = tmp_path / "bundle"
    levels = ("40x0e+20x1o+10x2e", "40x0e+20x1o+10x2e")
    network = small_network(irreps_levels=levels)
    save_bundle(bundle, small_info(network=network.config), [network.state_dict()] * 3)
    scan = tmp_path / "scan.nii.gz"
    volume = head_with_ball(spacing_mm=(1.0, 1.0, 2.5))
    write_image_file(scan, volume.hu, volume.affine, {})
    with ich("segment", scan, "--out", tmp_path / "out", "--bundle", bundle) as process:
        if stage == "computing":
            wait_until(partial_of(tmp_path / "out", process.pid).exists, process)
        time.sleep(0.5)
        assert process.poll() is None, "the run was over before it could be interrupted"
        started = time.monotonic()
        process.send_signal(sent)
        _, err = process.communicate(timeout=20)
        assert time.monotonic() - started < 1.0
    assert process.returncode != 0
    if stage == "computing":
        assert process.returncode == 130
        assert "stopped; nothing was written" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "scan.nii.gz"]


def test_a_terminal_sees_a_progress_bar_with_member_and_tile(tmp_path: Path, small_bundle: Path) -> None:
    pty = pytest.importorskip("pty", reason="no pseudo-terminals here")
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    scan = tmp_path / "scan.nii.gz"
    write_image_file(scan, HEAD.hu, HEAD.affine, {})
    command = [
        "ICHSegmentationLib",
        "segment",
        str(scan),
        "--out",
        str(tmp_path / "out"),
        "--bundle",
        str(small_bundle),
    ]
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 120, 0, 0))
    process = subprocess.Popen([sys.executable, "-m", *command], stderr=theirs, stdout=subprocess.DEVNULL)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:
            break
        if not part:
            break
        shown += part
    assert process.wait() == 0
    assert b"segmenting" in shown
    assert re.search(rb"member \d of 2, tile \d of 1", shown)


def test_the_demo_makes_a_head_and_says_the_true_volume(
    tmp_path: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--bundle", str(small_bundle)]) == 0
    printed = capsys.readouterr().out
    assert "True volume" in printed
    assert {file.name for file in out.iterdir()} == RESULTS | {"generated_ct.nii.gz", "generated_truth.nii.gz"}
    truth = read_image_file(out / "generated_truth.nii.gz")
    said = float(printed.split("True volume")[1].split("mL")[0])
    assert float((truth.hu * truth.voxel_volumes_ml).sum()) == pytest.approx(said, rel=0.15)


def test_the_demo_takes_a_scan_of_the_users_own(tmp_path: Path, small_bundle: Path) -> None:
    scan = tmp_path / "scan.nii.gz"
    write_image_file(scan, HEAD.hu, HEAD.affine, {})
    assert main(["demo", str(scan), "--out", str(tmp_path / "demo"), "--bundle", str(small_bundle)]) == 0
    assert {file.name for file in (tmp_path / "demo").iterdir()} == RESULTS


def test_from_label_maps_to_a_bundle_by_commands_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """simulate, train (stopped and resumed), bundle, segment; minutes of training would make it useful."""
    from ICHSegmentationLib.simulation.procedural import procedural_labels
    from ICHSegmentationLib.volume import as_volume

    labels = as_volume(procedural_labels(0, 4.0), (4.0, 4.0, 4.0))
    (tmp_path / "maps").mkdir()
    write_image_file(tmp_path / "maps" / "head.nii.gz", labels.hu.astype(np.int16), labels.affine, {})
    maps, cases, run, bundle = (str(tmp_path / name) for name in ("maps", "cases", "run", "bundle"))
    (tmp_path / "settings.json").write_text(json.dumps({"network": dataclasses.asdict(SMALL)}))
    assert main(["simulate", maps, "--out", cases, "--cases", "1"]) == 0
    train = ["train", "--simulate", maps, "--pool", cases, "--cases", "1", "--workers", "1", "--out", run]
    train += ["--config", str(tmp_path / "settings.json")]
    for steps in ("1", "2"):
        assert main([*train, "--steps", steps, "--resume"]) == 0
    assert "step 2 of 2" in capsys.readouterr().out
    made = ["bundle", run, "--out", bundle, "--name", "two steps", "--version", "0", "--trained-on", "one case"]
    assert main(made) == 0
    manifest = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    assert manifest["training"]["members"][0]["steps_done"] == 2
    scan = tmp_path / "scan.nii.gz"
    write_image_file(scan, HEAD.hu, HEAD.affine, {})
    assert main(["segment", str(scan), "--out", str(tmp_path / "out"), "--bundle", bundle]) == 0


def test_results_of_another_scan_do_not_stay_beside_new_ones(tmp_path: Path, small_bundle: Path) -> None:
    out, bundle = tmp_path / "out", ["--bundle", str(small_bundle)]
    assert main(["demo", "--out", str(out), *bundle]) == 0
    assert (out / "generated_truth.nii.gz").exists()
    (out / "my notes.txt").write_text("kept")
    scan = tmp_path / "scan.nii.gz"
    write_image_file(scan, HEAD.hu, HEAD.affine, {})
    assert main(["segment", str(scan), "--out", str(out), *bundle]) == 3  # not without being asked
    assert main(["demo", str(scan), "--out", str(out), *bundle]) == 3
    assert main(["segment", str(scan), "--out", str(out), "--overwrite", *bundle]) == 0
    assert {file.name for file in out.iterdir()} == RESULTS | {"my notes.txt"}


def test_results_may_go_to_the_current_folder(
    tmp_path: Path, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = tmp_path / "scan.nii.gz"
    write_image_file(scan, HEAD.hu, HEAD.affine, {})
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["segment", str(scan), "--out", ".", "--bundle", str(small_bundle)]) == 0
    assert {file.name for file in (tmp_path / "here").iterdir()} == RESULTS


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on Unix")
def test_an_interrupted_zip_leaves_no_images_behind(tmp_path: Path, small_bundle: Path) -> None:
    heads = as_dicom(tmp_path / "dicom")
    exam = as_zip(heads, tmp_path / "exam.zip")
    with zipfile.ZipFile(exam, "a") as archive:
        for copy in range(300):
            for file in sorted(heads.iterdir())[:3]:
                archive.write(file, f"exam/{copy}/{file.name}")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    options = {"env": {**os.environ, "TMPDIR": str(temporary)}}
    with ich("segment", exam, "--out", tmp_path / "out", "--bundle", small_bundle, **options) as process:
        wait_until(lambda: list(temporary.glob("ich-*/ich-*/exam/100")), process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
    assert process.returncode == 130
    assert list(temporary.glob("ich-*")) == []


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on Unix")
def test_a_run_in_the_background_of_a_script_can_be_stopped(tmp_path: Path, small_bundle: Path) -> None:
    """Shells start such runs with Ctrl-C ignored; the request to end must still be heard."""
    scan = tmp_path / "scan.nii.gz"
    volume = head_with_ball(spacing_mm=(0.5, 0.5, 1.0))
    write_image_file(scan, volume.hu, volume.affine, {})
    command = ("segment", scan, "--out", tmp_path / "out", "--bundle", small_bundle, "--quality", "full")
    with ich(*command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) as process:
        wait_until(partial_of(tmp_path / "out", process.pid).exists, process)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=5)
    assert process.returncode == 130
