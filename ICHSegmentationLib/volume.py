"""A CT volume from whatever the user has: DICOM folder, one DICOM file, zip, NIfTI, NRRD or MetaImage.

Axis order, here and everywhere in this library: arrays are [x, y, z], indexed by column, row and slice of the file,
so `array[i, j, k]` is voxel (i, j, k) of the scan's own grid. (SimpleITK's arrays are [z, y, x].) Positions are in
millimetres and in RAS: x grows to the patient's right, y to the front, z to the top, as in NIfTI and Slicer. DICOM,
NRRD and MetaImage hold LPS; the signs of x and y change on the way in and out. In memory a slice lies in one piece
(Fortran order), as files have it.
"""

from __future__ import annotations

import lzma
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ICHSegmentationLib.dicom import read_series
from ICHSegmentationLib.dicom_series import choose_series, find_series, read_header
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import ScanInfo, Volume
from ICHSegmentationLib.image_files import SUFFIXES, is_image_file, read_image_file

__all__ = ["ScanInfo", "Volume", "read_volume"]

OnSlice = Callable[[int, int], None]
LARGEST_ZIP_BYTES = 16 * 2**30  # unpacked


def read_volume(path: str | Path, series: str | None = None, on_slice: OnSlice | None = None) -> Volume:
    """Reads a scan.

    Args:
        path: a folder with DICOM files (in subfolders too), one DICOM file of a series, a zip of either, or a NIfTI,
            NRRD or MetaImage file; a folder or zip with one such file will do.
        series: number, or end of the UID, of the DICOM series to take; default: the thinnest axial soft-tissue CT.
        on_slice: called with (slices read, slices in all) while DICOM is read.

    Raises:
        InputError: one sentence that says what was found and what is wanted.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return read_folder(path, series, on_slice)
        if not path.exists():
            raise InputError(f"there is no file or folder {path}.")
        if path.stat().st_size == 0:
            raise InputError(f"{path.name} is empty (0 bytes).")
        if is_image_file(path):
            return read_image_file(path)
        if zipfile.is_zipfile(path):
            return read_zip(path, series, on_slice)
        header = read_header(path)
    except PermissionError:
        raise InputError(f"{path.name} may not be read: its permissions do not allow it.") from None
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror or error}.") from None
    if header is None or "SOPClassUID" not in header:
        raise InputError(
            f"{path.name} is no scan that can be read; wanted is a DICOM folder, file or zip, or one of "
            f"{', '.join(SUFFIXES)}."
        )
    if "SeriesInstanceUID" not in header:
        raise InputError(f"{path.name} is DICOM but does not say to which series it belongs.")
    beside = [
        one
        for one in find_series(sorted(p for p in path.parent.iterdir() if p.is_file()))
        if one.first.SeriesInstanceUID == header.SeriesInstanceUID
    ]
    if (reason := beside[0].why_not()) is not None:
        raise InputError(f"{beside[0].title} {reason}.")
    return read_series(beside[0], [], on_slice)


def read_folder(folder: Path, series: str | None, on_slice: OnSlice | None) -> Volume:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    images = [path for path in files if is_image_file(path)]
    found = find_series(path for path in files if path not in images)
    if found:
        return read_series(*choose_series(found, series), on_slice)
    if len(images) == 1:
        return read_image_file(images[0])
    if images:
        raise InputError(f"the folder holds {len(images)} image files and no DICOM; name the one to segment.")
    wanted = f"DICOM or {', '.join(SUFFIXES)}"
    raise InputError(f"none of the {len(files)} files in the folder is a scan; wanted is {wanted}.")


def read_zip(path: Path, series: str | None, on_slice: OnSlice | None) -> Volume:
    """Unpacks a zip to a temporary folder that is gone afterwards, and reads that."""
    with tempfile.TemporaryDirectory(prefix="ich-") as folder:
        unpack(path, Path(folder))
        return read_folder(Path(folder), series, on_slice)


def unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            if (size := sum(entry.file_size for entry in archive.infolist())) > LARGEST_ZIP_BYTES:
                raise InputError(f"the zip would unpack to {size / 2**30:.0f} GiB; at most 16 are taken.")
            archive.extractall(folder)  # the zip module strips absolute and parent paths
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError):
        raise InputError("the zip is damaged, encrypted or packed in an unknown way.") from None
    except OSError as error:
        raise InputError(f"the zip could not be unpacked: {error.strerror}.") from None


def as_volume(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> Volume:
    """A volume of an array [x, y, z] in Hounsfield units, its axes along RAS, centred on the origin."""
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -(np.array(hu.shape) - 1) / 2 * spacing_mm
    return Volume(np.asfortranarray(hu, np.float32), affine)
