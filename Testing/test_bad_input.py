"""Everything that users will hand in by mistake: one clear sentence, an exit code, and nothing left behind."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from dicom_files import axial_origins, write_multiframe, write_series
from helpers import SMALL, head_with_ball

from ICHSegmentationLib.cli import main
from ICHSegmentationLib.image_files import to_image, write_image_file

HEAD = head_with_ball(spacing_mm=(3.0, 3.0, 8.0))


def scan(path: Path, hu: np.ndarray = HEAD.hu, affine: np.ndarray = HEAD.affine) -> Path:
    write_image_file(path, hu, affine, {})
    return path


def cut(path: Path, keep: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


def zipped(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def dicom(folder: Path, slices: int = 4, **tags: object) -> Path:
    write_series(folder, HEAD.hu[:, :, :slices], axial_origins(slices), pixel_mm=3.0, **tags)
    return folder


def nrrd_with_directions(path: Path, directions: str) -> Path:
    header = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 2 2\n"
        f"space directions: {directions}\nkinds: domain domain domain\nendian: little\nencoding: raw\n"
        "space origin: (0,0,0)\n\n"
    )
    path.write_bytes(header.encode() + bytes(16))
    return path


def colour(path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True), str(path))
    return path


def frames(path: Path) -> Path:
    sitk.WriteImage(sitk.JoinSeries([to_image(HEAD.hu, HEAD.affine)] * 2), str(path))
    return path


def complex_numbers(path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), np.complex64)), str(path))
    return path


def not_a_number(path: Path) -> Path:
    sitk.WriteImage(to_image(np.full_like(HEAD.hu, np.nan), HEAD.affine), str(path))
    return path


def with_text(path: Path, text: str = "Dear colleague,\n") -> Path:
    path.write_text(text)
    return path


def two_scans(folder: Path) -> Path:
    folder.mkdir()
    scan(folder / "a.nii.gz")
    scan(folder / "b.nii.gz")
    return folder


def two_patients(folder: Path) -> Path:
    dicom(folder / "a", PatientID="1")
    return dicom(folder / "b", PatientID="2").parent


def cut_dicom(folder: Path) -> Path:
    for path in sorted(dicom(folder).iterdir()):
        cut(path, 0.6)
    return folder


def unplaced_frames(path: Path) -> Path:
    return write_multiframe(path, HEAD.hu, HEAD.origins_mm, placed=False)


def damaged_zip(folder: Path) -> Path:
    path = folder / "exam.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(min(dicom(folder / "dicom").iterdir()), "image.dcm")
    data = bytearray(path.read_bytes())
    data[200:400] = bytes(200)
    path.write_bytes(data)
    return path


def magnetic(path: Path) -> Path:
    return scan(
        path, np.where(HEAD.hu > -500, np.abs(HEAD.hu) + 300, np.random.default_rng(0).integers(0, 20, HEAD.hu.shape))
    )


BAD_SCANS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing there": (lambda t: t / "scan.nii.gz", "there is no file or folder"),
    "zero bytes": (lambda t: with_text(t / "scan.nii.gz", ""), r"scan\.nii\.gz is empty \(0 bytes\)"),
    "text named nii.gz": (lambda t: with_text(t / "scan.nii.gz"), r"cannot be read as \.nii\.gz"),
    "text named nrrd": (lambda t: with_text(t / "scan.nrrd"), r"cannot be read as \.nrrd"),
    "text named dcm": (lambda t: with_text(t / "scan.dcm"), r"scan\.dcm is no scan"),
    "a picture": (lambda t: with_text(t / "scan.jpg"), r"scan\.jpg is no scan"),
    "truncated nii.gz": (lambda t: cut(scan(t / "scan.nii.gz"), 0.5), "cut off or damaged"),
    "truncated nii": (lambda t: cut(scan(t / "scan.nii"), 0.5), "cut off or damaged"),
    "truncated nrrd": (lambda t: cut(scan(t / "scan.nrrd"), 0.5), "cut off or damaged"),
    "truncated mha": (lambda t: cut(scan(t / "scan.mha"), 0.5), "cut off or damaged"),
    "header cut off": (lambda t: cut(scan(t / "scan.nii"), 0.001), r"cannot be read as \.nii"),
    "not gzip": (lambda t: gzip_garbage(t / "scan.nii.gz"), r"cannot be read as \.nii\.gz"),
    "empty folder": (lambda t: made(t / "folder"), "none of the 0 files"),
    "folder of text": (lambda t: with_text(made(t / "folder") / "a.txt").parent, "none of the 1 files"),
    "two scans, no DICOM": (lambda t: two_scans(t / "folder"), "2 image files and no DICOM"),
    "MR DICOM": (lambda t: dicom(t / "mr", Modality="MR"), "is MR, not CT"),
    "colour DICOM": (
        lambda t: dicom(t / "rgb", SamplesPerPixel=3, PhotometricInterpretation="RGB"),
        r"is in colour \(RGB\)",
    ),
    "localizer alone": (lambda t: dicom(t / "scout", 1, ImageType=["ORIGINAL", "LOCALIZER"]), "is a localizer"),
    "no positions": (lambda t: dicom(t / "d", ImagePositionPatient=None), "does not say where its slices lie"),
    "truncated DICOM": (lambda t: cut_dicom(t / "d"), "the file is cut off"),
    "enhanced CT with no places": (lambda t: unplaced_frames(t / "scan.dcm"), "does not say where its slices lie"),
    "a zip with a damaged member": (lambda t: damaged_zip(t), "the zip is damaged"),
    "one MR image": (lambda t: min(dicom(t / "mr", Modality="MR").iterdir()), "is MR, not CT"),
    "two patients": (lambda t: two_patients(t / "d"), "2 patients"),
    "skewed directions": (
        lambda t: dicom(t / "d", ImageOrientationPatient=[1, 0, 0, 0.7, 0.7, 0]),
        "not at right angles",
    ),
    "MR NIfTI": (lambda t: magnetic(t / "scan.nii.gz"), r"not Hounsfield units \(magnetic resonance\?\)"),
    "colour NRRD": (lambda t: colour(t / "scan.nrrd"), "3 values a voxel"),
    "NaN": (lambda t: not_a_number(t / "scan.nrrd"), "100% of the voxels are not numbers"),
    "NaN in NIfTI": (lambda t: not_a_number(t / "scan.nii.gz"), "100% of the voxels are not numbers"),
    "0 to 1": (lambda t: scan(t / "scan.nii.gz", (HEAD.hu + 1000) / 1900), "a normalised image"),
    "8 bit": (lambda t: scan(t / "scan.nii.gz", np.clip(HEAD.hu * 2 + 40, 0, 255)), "an 8-bit picture"),
    "constant": (lambda t: scan(t / "scan.nii.gz", np.zeros_like(HEAD.hu)), "all voxels have the value 0"),
    "several frames": (lambda t: frames(t / "scan.nii.gz"), "4 dimensions and 2 frames"),
    "complex": (lambda t: complex_numbers(t / "scan.mha"), "2 values a voxel|complex numbers"),
    "flat directions": (
        lambda t: nrrd_with_directions(t / "scan.nrrd", "(1,0,0) (0,1,0) (0,0,0)"),
        "do not span a volume|header is damaged|cut off or damaged",
    ),
    "parallel directions": (
        lambda t: nrrd_with_directions(t / "scan.nrrd", "(1,0,0) (1,0,0) (0,0,1)"),
        "do not span a volume|header is damaged|cut off or damaged",
    ),
    "damaged zip": (lambda t: cut(zipped(t / "scan.zip", a=b"0" * 10000), 0.5), r"scan\.zip is no scan"),
    "zip of nothing": (lambda t: zipped(t / "scan.zip"), "none of the 0 files"),
    "zip of text": (lambda t: zipped(t / "scan.zip", a=b"text"), "none of the 1 files"),
}


def gzip_garbage(path: Path) -> Path:
    path.write_bytes(gzip.compress(b"not an image at all"))
    return path


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def run(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main([str(argument) for argument in arguments])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("name", BAD_SCANS)
def test_a_bad_scan_gets_one_sentence_and_leaves_nothing(
    name: str, tmp_path: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, said = BAD_SCANS[name]
    path = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, err = run(["segment", path, "--out", tmp_path / "out", "--bundle", small_bundle], capsys)
    assert code == 2
    assert err.startswith("ich: ")
    assert err.count("\n") == 1
    import re

    assert re.search(said, err), err
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


BAD_OPTIONS = {
    "device": (["--device", "tpu"], 5, "the device must be auto, cpu"),
    "device that is not here": (["--device", "cuda:97"], 5, "cuda:97 was asked for"),
    "quality": (["--quality", "best"], 2, "the quality must be auto, full or fast; found 'best'"),
    "threshold": (["--threshold", "1.5"], 2, "the threshold must lie between 0 and 1; found 1.5"),
    "members": (["--members", "9"], 2, "the ensemble has 2 members; found a wish for 9"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_a_bad_option_gets_one_sentence(
    name: str, tmp_path: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options, expected, said = BAD_OPTIONS[name]
    path = scan(tmp_path / "scan.nii.gz")
    code, err = run(["segment", path, "--out", tmp_path / "out", "--bundle", small_bundle, *options], capsys)
    assert (code, err.count("\n")) == (expected, 1)
    assert said in err
    assert not (tmp_path / "out").exists()


def change_manifest(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / "bundle.json").read_text())
    manifest.update(changes)
    (folder / "bundle.json").write_text(json.dumps(manifest))


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


BAD_BUNDLES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no manifest": (lambda f: (f / "bundle.json").unlink(), "is no bundle"),
    "not JSON": (lambda f: (f / "bundle.json").write_text("{"), "not valid JSON"),
    "unknown version": (lambda f: change_manifest(f, format=99), "format 99; this version reads format 1"),
    "unknown setting": (lambda f: change_manifest(f, network={"dropout": 1}), "'dropout'"),
    "irreps that are none": (
        lambda f: change_manifest(f, network={**dataclasses.asdict(SMALL), "irreps_out": "3xbleed"}),
        "does not hold the weights of the network",
    ),
    "nothing of use": (lambda f: (f / "bundle.json").write_text("[]"), "format None"),
    "no members": (lambda f: change_manifest(f, members=[]), "has no members"),
    "a missing member": (lambda f: (f / "member_1.safetensors").unlink(), r"lacks its member member_1\.safetensors"),
    "a flipped byte": (lambda f: flip_a_byte(f / "member_0.safetensors"), r"member_0\.safetensors is damaged"),
    "a path out of the bundle": (
        lambda f: change_manifest(f, members=[{"file": "../x.safetensors", "sha256": ""}]),
        "lacks its member",
    ),
}


@pytest.mark.parametrize("name", BAD_BUNDLES)
def test_a_bad_bundle_is_refused_with_one_sentence(
    name: str, tmp_path: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage, said = BAD_BUNDLES[name]
    bundle = tmp_path / "bundle"
    shutil.copytree(small_bundle, bundle)
    damage(bundle)
    path = scan(tmp_path / "scan.nii.gz")
    code, err = run(["segment", path, "--out", tmp_path / "out", "--bundle", bundle], capsys)
    assert (code, err.count("\n")) == (4, 1)
    import re

    assert re.search(said, err), err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_results_is_not_overwritten_unless_asked(
    tmp_path: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = scan(tmp_path / "scan.nii.gz")
    out = tmp_path / "out"
    out.mkdir()
    (out / "statistics.json").write_text("mine")
    code, err = run(["segment", path, "--out", out, "--bundle", small_bundle], capsys)
    assert code == 3
    assert "is not empty" in err
    assert (out / "statistics.json").read_text() == "mine"
    code, _ = run(["segment", path, "--out", out, "--bundle", small_bundle, "--overwrite"], capsys)
    assert code == 0
    assert json.loads((out / "statistics.json").read_text())["disclaimer"]


def test_a_file_in_place_of_the_folder_is_said(
    tmp_path: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = scan(tmp_path / "scan.nii.gz")
    code, err = run(["segment", path, "--out", path, "--bundle", small_bundle], capsys)
    assert (code, "is a file; a folder" in err) == (3, True)
    code, err = run(["segment", path, "--out", path / "out", "--bundle", small_bundle], capsys)
    assert (code, "cannot be written" in err) == (3, True)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions do not bind root")
def test_a_file_without_permission_is_said(
    tmp_path: Path, small_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = scan(tmp_path / "scan.nii.gz")
    path.chmod(0)
    code, err = run(["segment", path, "--out", tmp_path / "out", "--bundle", small_bundle], capsys)
    assert (code, "may not be read" in err) == (2, True)


@pytest.mark.skipif(sys.platform != "linux", reason="file size limits are set with RLIMIT_FSIZE")
@pytest.mark.parametrize("kilobytes", [1, 4, 20])
def test_a_disk_that_fills_up_while_writing_leaves_nothing(tmp_path: Path, small_bundle: Path, kilobytes: int) -> None:
    """The kernel refuses to let any file grow beyond a limit, which is what a full disk looks like."""
    path = scan(tmp_path / "scan.nii.gz")
    command = [sys.executable, "-m", "ICHSegmentationLib", "segment", path, "--out", tmp_path / "out"]
    limited = (
        "import resource, signal, runpy, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({kilobytes * 1024},) * 2); sys.argv = sys.argv[1:]; "
        "runpy.run_module('ICHSegmentationLib', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, *map(str, command[2:]), "--bundle", str(small_bundle)],
        capture_output=True,
        text=True,
        env={**os.environ, "MPLCONFIGDIR": str(tmp_path.parent)},
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "written" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scan.nii.gz"]
