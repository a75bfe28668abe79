"""NIfTI, NRRD and MetaImage files: a scan in, masks and probabilities on the scan's own grid out."""

from __future__ import annotations

import errno
import gzip
import math
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import ScanInfo, Volume
from ICHSegmentationLib.staging import whole_or_not_at_all

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
PERMISSIVE = "ITK_NIFTI_SFORM_PERMISSIVE"


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Lets ITK read sheared NIfTI grids (`Nifti` knows them), and keep its warnings to itself.

    What matters of them is said in our words. Everything is as before afterwards: others use ITK in this process too.
    """
    shown, permissive = sitk.ProcessObject_GetGlobalWarningDisplay(), os.environ.get(PERMISSIVE)
    sitk.ProcessObject_SetGlobalWarningDisplay(False)
    os.environ[PERMISSIVE] = "1"
    try:
        yield
    finally:
        sitk.ProcessObject_SetGlobalWarningDisplay(shown)
        if permissive is None:
            del os.environ[PERMISSIVE]
        else:
            os.environ[PERMISSIVE] = permissive


def is_image_file(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def read_image_file(path: Path) -> Volume:
    """Reads a three-dimensional scan from a NIfTI, NRRD or MetaImage file."""
    with quiet_itk():
        return read_image(path)


def read_image(path: Path) -> Volume:
    kind = next(suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(suffix))
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        raise InputError(f"the file cannot be read as {kind}: its header is damaged or it is another format.") from None
    if reader.GetPixelID() in (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64):
        raise InputError("the image holds complex numbers; CT values are wanted.")
    components, size = reader.GetNumberOfComponents(), reader.GetSize()
    if components != 1:
        raise InputError(f"the image has {components} values a voxel (a colour picture?); one CT value is wanted.")
    frames = int(np.prod(size[3:])) if len(size) > 3 else 1
    if len(size) < 2 or frames > 1:
        raise InputError(f"the image has {len(size)} dimensions and {frames} frames; one volume of slices is wanted.")
    is_nifti = kind in (".nii", ".nii.gz")
    nifti = Nifti.read(path) if is_nifti else None
    if nifti is not None and not nifti.is_complete:
        raise InputError(f"the {kind} file cannot be read to its end: it is cut off or damaged.")
    try:
        image = reader.Execute()
    except RuntimeError:
        raise InputError(f"the {kind} file cannot be read to its end: it is cut off or damaged.") from None
    notes = []
    if len(size) == 2:
        image = sitk.JoinSeries([image])
        notes.append("The picture does not say how thick the slice is: 1 mm was assumed, and the volume rests on it.")
    if len(size) > 3:
        image = sitk.Extract(image, [*size[:3], *([0] * (len(size) - 3))])
    hu = sitk.GetArrayFromImage(image).T.astype(np.float32)  # [x, y, z]
    affine = LPS_FROM_RAS @ image_matrix(image)
    if nifti is not None:
        hu[~nifti.finite(hu.shape)] = np.nan
        affine = nifti.sheared_sform() if nifti.sheared_sform() is not None else affine
        if not nifti.is_placed:
            notes.append("The file does not say how the patient lies in it: left and right are a guess.")
    return Volume(hu, affine, info=ScanInfo(kind.lstrip("."), notes=tuple(notes)))


def image_matrix(image: sitk.Image) -> np.ndarray:
    """Voxel index -> LPS mm, [4, 4]; the direction may be sheared."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    matrix[:3, 3] = image.GetOrigin()
    return matrix


@dataclass(frozen=True)
class Nifti:
    """What ITK does not say of a NIfTI-1 file: it fills missing voxels and those that are no numbers with 0, and
    makes sheared grids right-angled.
    """

    content: bytes  # uncompressed
    order: str  # of its bytes: "<" or ">"

    @classmethod
    def read(cls, path: Path) -> Nifti | None:
        """The file; None if it is no NIfTI-1."""
        try:
            content = path.read_bytes()
            if content[:2] == b"\x1f\x8b":
                content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            return cls(b"", "<")
        for order in "<>":
            if len(content) >= 348 and struct.unpack_from(order + "i", content)[0] == 348:
                return cls(content, order)
        return None

    def number(self, kind: str, offset: int) -> float:
        return struct.unpack_from(self.order + kind, self.content, offset)[0]

    @property
    def voxels(self) -> int:
        dimensions = struct.unpack_from(self.order + "8h", self.content, 40)
        return math.prod(max(1, side) for side in dimensions[1 : 1 + dimensions[0]])

    @property
    def is_complete(self) -> bool:
        """Whether all voxels that the header promises are there (those of .hdr/.img pairs are elsewhere)."""
        if not self.content:
            return False
        expected = int(self.number("f", 108)) + self.voxels * int(self.number("h", 72)) // 8
        return len(self.content) >= expected

    def finite(self, shape: tuple[int, ...]) -> np.ndarray:
        """Where the stored voxels are numbers, [x, y, z]."""
        kind = {16: "f4", 64: "f8"}.get(int(self.number("h", 70)))
        if kind is None:
            return np.ones(shape, bool)
        start = int(self.number("f", 108))
        stored = np.frombuffer(self.content, self.order + kind, self.voxels, start)
        return np.isfinite(stored).reshape(shape, order="F")

    @property
    def is_placed(self) -> bool:
        """Whether the file says where its voxels lie in the patient."""
        return self.number("h", 252) > 0 or self.number("h", 254) > 0

    def sheared_sform(self) -> np.ndarray | None:
        """Voxel index -> RAS mm, [4, 4], if the sform is sheared; else None."""
        if self.number("h", 254) <= 0:
            return None
        rows = np.array(struct.unpack_from(self.order + "12f", self.content, 280), float).reshape(3, 4)
        lengths = np.linalg.norm(rows[:, :3], axis=0)
        if not np.isfinite(rows).all() or lengths.min() == 0:
            return None
        directions = rows[:, :3] / lengths
        if np.abs(directions.T @ directions - np.eye(3)).max() < 1e-3:
            return None
        return np.vstack([rows, [0, 0, 0, 1]])


def to_image(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """A SimpleITK image of an array [x, y, z] and its voxel index -> RAS mm matrix."""
    image = sitk.GetImageFromArray(array.T)
    matrix = LPS_FROM_RAS @ affine
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((matrix[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(matrix[:3, 3].tolist())
    return image


def write_image_file(
    path: Path, array: np.ndarray, affine: np.ndarray, metadata: Mapping[str, str], compressed: bool = True
) -> None:
    """Writes an array [x, y, z] as NIfTI or NRRD with `metadata` as NRRD fields or NIfTI description.

    A sheared grid is written as it is: in NRRD as space directions, in NIfTI as the sform.
    """
    image = to_image(array, affine)
    for key, value in metadata.items():
        image.SetMetaData(key, value)
    with quiet_itk(), whole_or_not_at_all(path) as partial:
        sitk.WriteImage(image, str(partial), useCompression=compressed)
        if partial.name.endswith((".nii", ".nii.gz")):
            write_sform(partial, affine)
        # ITK does not notice a full disk: look at what is there
        if not np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(partial))), array.T):
            raise OSError(errno.ENOSPC, "the disk may be full")


def write_sform(path: Path, affine: np.ndarray) -> None:
    """Sets the sform of a NIfTI file to this matrix if the one ITK wrote is not the same.

    The qform stays what ITK made of it, the nearest right-angled grid, for programs that read no other.
    """
    compressed = path.name.endswith(".gz")
    content = path.read_bytes()
    data = bytearray(gzip.decompress(content) if compressed else content)
    written = np.array(struct.unpack_from("<12f", data, 280)).reshape(3, 4)
    if np.abs(written - affine[:3]).max() <= 1e-4:
        return
    struct.pack_into("<h", data, 254, 1)  # sform_code
    struct.pack_into("<12f", data, 280, *affine[:3].ravel())
    path.write_bytes(gzip.compress(data, 6) if compressed else data)
