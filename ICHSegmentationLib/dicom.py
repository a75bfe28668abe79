"""DICOM series: its slices read and put where their headers say they lie. (Which series: dicom_series.py.)"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk

from ICHSegmentationLib.dicom_series import Series, Slice, is_localizer, is_placed, number_of, text_of
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import ScanInfo, Volume
from ICHSegmentationLib.image_files import quiet_itk

PARALLEL = 0.9999  # cosine between directions that count as the same: 0.8 degrees
SAME_PIXEL = 1e-3  # relative difference of pixel spacings that count as the same
GAP_OF_A_MISSING_SLICE = 1.6  # times the usual gap


def read_series(series: Series, notes: list[str], on_slice: Callable[[int, int], None] | None = None) -> Volume:
    """Reads a series slice by slice, each put where its header says it lies."""
    notes = [*notes, *header_notes(series)]
    kept = of_one_stack(series.slices, notes)
    row, column = kept[0].axes_lps
    normal = np.cross(row, column)
    if not np.isfinite(normal).all() or abs(np.linalg.norm(normal) - 1) > 1e-2:
        raise InputError("the series has row and column directions that are not at right angles.")
    kept = sorted(kept, key=lambda s: float(s.origin_lps @ normal))
    kept = without_repeats(kept, normal, notes)
    note_gaps(kept, normal, notes)

    planes = []
    files = PixelFiles()
    for index, each in enumerate(kept):
        planes.append(files.plane(each))
        if planes[-1].shape != planes[0].shape:
            raise InputError(f"the slices differ in size: {planes[0].shape} and {planes[-1].shape} pixels.")
        if on_slice is not None:
            on_slice(index + 1, len(kept))
    hu = np.stack([plane.T for plane in planes]).T  # [x, y, z]
    between_rows, between_columns = (float(value) for value in kept[0].header.PixelSpacing)
    origins = np.stack([each.origin_lps for each in kept])
    thickness = number_of(kept[0].header, "SliceThickness")
    if len(kept) == 1 and not thickness:
        notes.append("The header does not say how thick the slice is: 1 mm was assumed, and the volume rests on it.")
    step = (origins[-1] - origins[0]) / (len(kept) - 1) if len(kept) > 1 else normal * (thickness or 1.0)
    affine = np.eye(4)
    affine[:3] = np.column_stack([row * between_columns, column * between_rows, step, origins[0]])
    to_ras = np.array([-1.0, -1.0, 1.0])
    affine[:3] *= to_ras[:, None]
    info = ScanInfo(
        format="DICOM",
        description=series.description,
        modality=text_of(series.first, "Modality"),
        kernel=series.kernel,
        contrast_agent=series.contrast_agent,
        slice_thickness_mm=thickness,
        notes=tuple(notes),
    )
    return Volume(hu, affine, origins * to_ras, info)


def header_notes(series: Series) -> list[str]:
    """What in the header should make a user look twice."""
    found = []
    if series.is_elsewhere:
        found.append(f"The header says body part {text_of(series.first, 'BodyPartExamined')}, not head.")
    if text_of(series.first, "PhotometricInterpretation") == "MONOCHROME1":
        found.append("The pictures are stored inverted (MONOCHROME1): check that bone is bright.")
    if "RescaleIntercept" not in series.first:
        found.append("The header does not say how stored values become Hounsfield units: they were taken as they are.")
    return found


class PixelFiles:
    """Reads the pixels of images; of a file with several frames only once."""

    def __init__(self) -> None:
        self.path: Path | None = None
        self.frames = np.empty(0)

    def plane(self, image: Slice) -> np.ndarray:
        """Hounsfield units of one image, [x, y] float32."""
        if image.frame is None:
            return read_plane(image.path)
        if image.path != self.path:
            self.path, self.frames = image.path, read_frames(image.path)
        if image.frame >= len(self.frames):
            raise InputError(f"the file {image.path.name} holds fewer frames than its header says.")
        slope, intercept = (number_of(image.header, name) for name in ("RescaleSlope", "RescaleIntercept"))
        stored = self.frames[image.frame].T.astype(np.float32)
        return stored * np.float32(1.0 if slope is None else slope) + np.float32(intercept or 0.0)


def read_plane(path: Path) -> np.ndarray:
    """Rescaled values of a file with one image, [x, y] float32."""
    if is_cut_off(path):
        raise InputError(f"the pixels of {path.name} cannot be read: the file is cut off.")
    try:
        with quiet_itk():
            image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise InputError(
            f"the pixels of {path.name} cannot be read: the file is damaged or compressed in an unknown way."
        ) from None
    return np.squeeze(sitk.GetArrayFromImage(image)).T.astype(np.float32)


def is_cut_off(path: Path) -> bool:
    """Whether uncompressed pixels are missing: older ITK fills them up without a word."""
    sides = ["Rows", "Columns", "BitsAllocated", "SamplesPerPixel"]
    try:
        image = pydicom.dcmread(path, specific_tags=[*sides, "PixelData"])
    except EOFError:
        return True
    if image.file_meta.get("TransferSyntaxUID", pydicom.uid.ImplicitVRLittleEndian).is_compressed:
        return False
    bits = math.prod(int(number_of(image, name) or 1) for name in sides)
    return len(image.get("PixelData", b"")) < bits // 8


def read_frames(path: Path) -> np.ndarray:
    """Stored values of a file with several frames, [frame, y, x]."""
    try:
        return pydicom.dcmread(path).pixel_array
    except Exception as error:  # pydicom's decoders raise many kinds
        raise InputError(
            f"the frames of {path.name} cannot be read ({type(error).__name__}): the file is cut off, damaged or "
            "compressed in an unknown way."
        ) from None


def of_one_stack(slices: tuple[Slice, ...], notes: list[str]) -> list[Slice]:
    """The images that say where they lie and share the commonest size and direction; says how many do not."""
    placed = [each for each in slices if is_placed(each) and not is_localizer(each)]

    def size(each: Slice) -> tuple[int, int]:
        return int(each.header.Rows), int(each.header.Columns)

    commonest = Counter(size(each) for each in placed).most_common(1)[0][0]
    placed = [each for each in placed if size(each) == commonest]
    axes = np.stack([each.axes_lps for each in placed])
    pixels = np.array([list(map(float, each.header.PixelSpacing)) for each in placed])
    # the image in whose direction and pixel most others lie
    same = (np.einsum("aij,bij->abi", axes, axes).min(axis=2) > PARALLEL) & (
        np.abs(pixels[:, None] - pixels[None]).max(axis=2) < SAME_PIXEL * pixels.max()
    )
    alike = same[same.sum(axis=1).argmax()]
    kept = [each for each, fits in zip(placed, alike, strict=True) if fits]
    if left_out := len(slices) - len(kept):
        notes.append(
            f"{left_out} of {len(slices)} images of the series have another size or direction, or none: left out."
        )
    return kept or placed[:1]


def without_repeats(slices: list[Slice], normal: np.ndarray, notes: list[str]) -> list[Slice]:
    """One slice a position: of several the one with the lowest acquisition and instance number."""

    def order(each: Slice) -> tuple[float, float]:
        return number_of(each.header, "AcquisitionNumber") or 0.0, number_of(each.header, "InstanceNumber") or 0.0

    kept: list[Slice] = []
    for each in slices:
        if kept and abs(float((each.origin_lps - kept[-1].origin_lps) @ normal)) < 0.01:
            kept[-1] = min(kept[-1], each, key=order)
        else:
            kept.append(each)
    if repeated := len(slices) - len(kept):
        notes.append(f"{repeated} images lie where another one does (several phases?): the first acquired was taken.")
    return kept


def note_gaps(slices: list[Slice], normal: np.ndarray, notes: list[str]) -> None:
    positions = np.array([float(each.origin_lps @ normal) for each in slices])
    gaps = np.diff(positions)
    if len(gaps) < 3:
        return
    # against the larger of the two gaps beside it, so that a change of thickness half way is no missing slice
    beside = np.maximum(np.concatenate([gaps[1:2], gaps[:-1]]), np.concatenate([gaps[1:], gaps[-2:-1]]))
    missing = [int(index) for index in np.flatnonzero(gaps > GAP_OF_A_MISSING_SLICE * beside)]
    if missing:
        places = ", ".join(f"{index + 1} and {index + 2}" for index in missing[:3])
        notes.append(
            f"A slice seems to be missing between slices {places} (gap {gaps[missing[0]]:.1f} mm): the slices beside "
            "stand for it in the volume."
        )
