"""The scans in a folder, as cases of a batch. A scan's results get a folder that is called like the scan."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ICHSegmentationLib.batch import STATE, Request
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.image_files import SUFFIXES, is_image_file
from ICHSegmentationLib.worker_process import WorkerProcess

DICOM_SUFFIXES = (".dcm", ".ima")
DICOM_MARK = (128, b"DICM")  # place and content


@dataclass(frozen=True)
class FileCase:
    """A scan on disk (see `volume.read_volume`) and the folder for its results."""

    name: str
    scan: Path
    out: Path

    def fingerprint(self) -> str:
        """Of names, sizes and times of the files: reading a thousand scans to learn that nothing is new takes hours."""
        files = sorted(visible_files(self.scan)) if self.scan.is_dir() else [self.scan]
        digest = hashlib.sha256()
        try:
            for file in files:
                found = file.stat()
                digest.update(f"{file.relative_to(self.scan)}|{found.st_size}|{found.st_mtime_ns}\n".encode())
        except OSError as error:
            raise InputError(f"{self.name} cannot be read: {error.strerror}.") from None
        return digest.hexdigest()

    def has_result(self, fingerprint: str) -> bool:
        return (self.out / "statistics.json").is_file() and (self.out / "segmentation.nii.gz").is_file()

    def request(self, worker: WorkerProcess) -> Request:
        return {"scan": str(self.scan), "out": str(self.out)}

    def take(self, statistics: dict[str, Any]) -> None:
        """The worker has written the files where they belong."""

    def clear(self) -> None:
        """Nothing was made for the worker."""


def find_cases(inputs: Iterable[Path], out: Path) -> list[FileCase]:
    """The scans among files and folders.

    A file is a scan. A folder that directly holds DICOM files is one scan, with all that lies below it. Of any other
    folder each image file, each zip and each folder with DICOM somewhere below it is a scan. Results of a batch are
    none. A scan is called by its path below the folder that was given, or below the folder that all inputs share.

    Args:
        inputs: files and folders.
        out: folder for the results.

    Raises:
        InputError: an input is not there, holds no scan, or has the output folder within a scan.
    """
    given = [Path(path).absolute() for path in inputs]
    out = out.absolute()
    scans: list[Path] = []
    for path in given:
        if not path.exists():
            raise InputError(f"there is no file or folder {path}.")
        found = list(scans_in(path, out)) if path.is_dir() else [path]
        if not found:
            raise InputError(f"{path} holds no scan; wanted are DICOM folders, zips or {', '.join(SUFFIXES)}.")
        scans += [scan for scan in found if scan not in scans]
    for scan in scans:
        if scan in out.parents or scan == out:
            raise InputError(f"the output folder {out} lies within the scan {scan}; one beside the scans is wanted.")
    root = given[0] if len(given) == 1 and scans != given else shared_folder(given)
    names = [scan.relative_to(root).as_posix() for scan in scans]
    return [FileCase(name, scan, out / name) for name, scan in zip(names, scans, strict=True)]


def shared_folder(paths: list[Path]) -> Path:
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:
        raise InputError("the scans lie on different drives; scans of one drive are wanted.") from None


def scans_in(folder: Path, out: Path) -> Iterator[Path]:
    """The scans in a folder, in the order of their names; results of a batch are passed over."""
    if folder == out or (folder / STATE).exists():
        return
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in entries if entry.is_file()]
    if any(is_dicom(file) for file in files):
        yield folder
        return
    found = False
    for entry in entries:
        if entry.is_dir() and any(is_dicom(file) for file in visible_files(entry, out)):
            scans = [entry]
        elif entry.is_dir():
            scans = list(scans_in(entry, out))
        else:
            scans = [entry] if is_image_file(entry) or entry.suffix.lower() == ".zip" else []
        found = found or bool(scans)
        yield from scans
    if files and not found:
        yield folder  # to be read, and told why not


def visible_files(folder: Path, out: Path | None = None) -> Iterator[Path]:
    """All files below a folder but hidden ones and the results of a batch."""
    for place, folders, files in os.walk(folder):
        here = Path(place)
        if here == out or STATE in files:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (here / name for name in sorted(files) if not name.startswith("."))


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its name or its first bytes."""
    if path.suffix.lower() in DICOM_SUFFIXES:
        return True
    if is_image_file(path):
        return False
    place, mark = DICOM_MARK
    try:
        with path.open("rb") as file:
            return file.read(place + len(mark))[place:] == mark
    except OSError:
        return False
