"""DICOM: which series of a folder is the head CT, and its slices in their places."""

from __future__ import annotations

import logging
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import ScanInfo, Volume
from ICHSegmentationLib.image_files import LPS_FROM_RAS, image_matrix

logger = logging.getLogger(__name__)

TAGS = [
    "SOPClassUID", "Modality", "ImageType", "SeriesInstanceUID", "StudyInstanceUID", "SeriesNumber",
    "SeriesDescription", "PatientName", "PatientID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel",
    "PhotometricInterpretation", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "InstanceNumber", "AcquisitionNumber", "ConvolutionKernel", "ContrastBolusAgent", "GantryDetectorTilt",
    "RescaleSlope", "RescaleIntercept", "BodyPartExamined", "PixelPaddingValue",
]  # fmt: skip

# Names of sharp (bone, lung, edge) reconstruction kernels by maker; anything else is taken as soft tissue
SHARP_KERNELS = re.compile(
    r"bone|edge|lung|detail\+|ultra|sharp"  # GE and in words
    r"|^[BHJUQ]r?[567]\d"  # Siemens
    r"|^FC(3\d|5\d|8\d)"  # Canon
    r"|^(YD|YE|E|D|L)$",  # Philips
    re.IGNORECASE,
)
PARALLEL = 0.999  # cosine between slices that count as parallel
GAP_OF_A_MISSING_SLICE = 1.6  # times the usual gap


@dataclass(frozen=True)
class Slice:
    """One DICOM image: where it is and what its header says."""

    path: Path
    header: Dataset

    @property
    def origin_lps(self) -> np.ndarray:
        return np.array(self.header.ImagePositionPatient, float)

    @property
    def axes_lps(self) -> np.ndarray:
        """Directions of a growing column and a growing row index, [2, 3]."""
        return np.array(self.header.ImageOrientationPatient, float).reshape(2, 3)


@dataclass(frozen=True)
class Series:
    """The images of one series."""

    slices: tuple[Slice, ...]

    @property
    def first(self) -> Dataset:
        return self.slices[0].header

    @property
    def uid(self) -> str:
        return str(self.first.SeriesInstanceUID)

    @property
    def number(self) -> str:
        return text_of(self.first, "SeriesNumber") or "?"

    @property
    def description(self) -> str:
        """The series description without anything that also stands in the patient's name or number."""
        description = text_of(self.first, "SeriesDescription")
        named = f"{text_of(self.first, 'PatientName')} {text_of(self.first, 'PatientID')}"
        for word in re.split(r"[\s^,;=]+", named):
            if len(word) > 1:
                description = re.sub(re.escape(word), "*", description, flags=re.IGNORECASE)
        return description.strip()

    @property
    def kernel(self) -> str:
        return text_of(self.first, "ConvolutionKernel")

    @property
    def thickness_mm(self) -> float:
        return number_of(self.first, "SliceThickness") or 99.0

    @property
    def is_sharp(self) -> bool:
        return bool(SHARP_KERNELS.search(self.kernel) or re.search(r"\b(bone|lung)\b", self.description, re.IGNORECASE))

    @property
    def title(self) -> str:
        parts = [f"series {self.number}", repr(self.description) if self.description else "without description"]
        return f"{' '.join(parts)} ({len(self.slices)} images, {self.thickness_mm:g} mm, kernel {self.kernel or '?'})"

    def why_not(self) -> str | None:
        """Why this series cannot be segmented; None if it can."""
        header = self.first
        if (modality := text_of(header, "Modality")) != "CT":
            return f"is {modality or 'of no named modality'}, not CT"
        if int(number_of(header, "SamplesPerPixel") or 1) != 1:
            return f"is in colour ({text_of(header, 'PhotometricInterpretation')})"
        if "LOCALIZER" in [str(value).upper() for value in header.get("ImageType", [])]:
            return "is a localizer"
        if number_of(header, "Rows") is None:
            return "holds no images"
        missing = [
            name
            for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
            if any(not each.header.get(name) for each in self.slices)
        ]
        if missing and int(number_of(header, "NumberOfFrames") or 1) == 1:
            return f"does not say where its slices lie ({', '.join(missing)} missing)"
        return None

    @property
    def is_elsewhere(self) -> bool:
        """Whether the header names a part of the body that is not the head."""
        part = text_of(self.first, "BodyPartExamined").upper()
        return bool(part) and not any(name in part for name in ("HEAD", "BRAIN", "SKULL", "NEURO", "CEREBR"))

    @property
    def is_axial(self) -> bool:
        if "ImageOrientationPatient" not in self.first:
            return True
        normal = np.cross(*self.slices[0].axes_lps)
        return bool(abs(normal[2]) > np.cos(np.deg2rad(45)))


def text_of(header: Dataset, name: str) -> str:
    value = header.get(name)
    if value is None:
        return ""
    if isinstance(value, pydicom.multival.MultiValue):
        return "\\".join(map(str, value))
    return str(value).strip()


def number_of(header: Dataset, name: str) -> float | None:
    try:
        return float(header[name].value)
    except (KeyError, TypeError, ValueError):
        return None


def read_header(path: Path) -> Dataset | None:
    """The header of a DICOM file, without pixels; None if it is none."""
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
    except (InvalidDicomError, EOFError, ValueError, KeyError, NotImplementedError):
        return None


def find_series(paths: Iterable[Path]) -> list[Series]:
    """Groups DICOM files by series; other files are passed over."""
    found: dict[str, list[Slice]] = defaultdict(list)
    for path in paths:
        header = read_header(path)
        if header is not None and "SeriesInstanceUID" in header:
            found[str(header.SeriesInstanceUID)].append(Slice(path, header))
    return [Series(tuple(slices)) for _, slices in sorted(found.items())]


def choose_series(series: list[Series], wanted: str | None) -> tuple[Series, list[str]]:
    """The series to segment and what to tell the user about the choice.

    `wanted` is a series number or the end (five characters or more) of a series UID. By default the thinnest axial
    soft-tissue CT series of the head with more than a few slices is taken.
    """
    if wanted is not None:
        matches = [s for s in series if s.number == wanted]
        if len(wanted) >= 5:
            matches += [s for s in series if s.number != wanted and s.uid.endswith(wanted)]
        if len(matches) != 1:
            raise InputError(
                f"{len(matches)} series match {wanted!r}; wanted is one of: {'; '.join(s.title for s in series)}."
            )
        if (reason := matches[0].why_not()) is not None:
            raise InputError(f"{matches[0].title} {reason}.")
        return matches[0], []
    usable = [s for s in series if s.why_not() is None]
    if not usable:
        reasons = "; ".join(f"{s.title} {s.why_not()}" for s in series[:6])
        raise InputError(f"no series here can be segmented: {reasons}.")
    patients = {(text_of(s.first, "PatientID"), text_of(s.first, "PatientName")) for s in usable}
    if len(patients) > 1:
        raise InputError(
            f"the folder holds scans of {len(patients)} patients; choose a series: "
            f"{'; '.join(s.title for s in usable)}."
        )

    def rank(s: Series) -> tuple[float, ...]:
        return s.is_elsewhere, not s.is_axial, s.is_sharp, len(s.slices) < 3, s.thickness_mm, -len(s.slices)

    best = min(usable, key=rank)
    rest = [s.title for s in series if s is not best]
    return best, [f"Taken: {best.title}. Also here: {'; '.join(rest)}."] if rest else []


def read_series(series: Series, notes: list[str], on_slice: Callable[[int, int], None] | None = None) -> Volume:
    """Reads a series slice by slice, each put where its header says it lies."""
    if int(number_of(series.first, "NumberOfFrames") or 1) > 1:
        return read_multiframe(series, notes)
    notes = [*notes, *header_notes(series)]
    kept = of_one_shape(series.slices, notes)
    row, column = kept[0].axes_lps
    normal = np.cross(row, column)
    if not np.isfinite(normal).all() or abs(np.linalg.norm(normal) - 1) > 1e-2:
        raise InputError("the series has row and column directions that are not at right angles.")
    kept = sorted(kept, key=lambda s: float(s.origin_lps @ normal))
    kept = without_repeats(kept, normal, notes)
    note_gaps(kept, normal, notes)

    planes = []
    for index, each in enumerate(kept):
        planes.append(read_plane(each.path))
        if planes[-1].shape != planes[0].shape:
            raise InputError(f"the slices differ in size: {planes[0].shape} and {planes[-1].shape} pixels.")
        if on_slice is not None:
            on_slice(index + 1, len(kept))
    hu = np.stack([plane.T for plane in planes]).T  # [x, y, z]
    between_rows, between_columns = (float(value) for value in kept[0].header.PixelSpacing)
    origins = np.stack([each.origin_lps for each in kept])
    thickness = number_of(kept[0].header, "SliceThickness")
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
        contrast_agent=text_of(series.first, "ContrastBolusAgent"),
        slice_thickness_mm=thickness,
        notes=tuple(notes),
    )
    return Volume(hu, affine, origins * to_ras, info)


def header_notes(series: Series) -> list[str]:
    """What in the header should make a user look twice."""
    found = []
    if series.is_elsewhere:
        found.append(f"The header says body part {text_of(series.first, 'BodyPartExamined')}, not head.")
    if not series.is_axial:
        found.append("No axial series was found: this one is taken.")
    if text_of(series.first, "PhotometricInterpretation") == "MONOCHROME1":
        found.append("The pictures are stored inverted (MONOCHROME1): check that bone is bright.")
    if "RescaleIntercept" not in series.first:
        found.append("The header does not say how stored values become Hounsfield units: they were taken as they are.")
    return found


def read_plane(path: Path) -> np.ndarray:
    """Rescaled values of one image, [x, y] float32."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise InputError(
            f"the pixels of {path.name} cannot be read: the file is cut off, damaged or compressed in an unknown way."
        ) from None
    return np.squeeze(sitk.GetArrayFromImage(image)).T.astype(np.float32)


def read_multiframe(series: Series, notes: list[str]) -> Volume:
    """An enhanced CT: all slices in one file."""
    path = series.slices[0].path
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise InputError(f"the pixels of {path.name} cannot be read: the file is cut off or damaged.") from None
    array = sitk.GetArrayFromImage(image).T.astype(np.float32)
    info = ScanInfo("DICOM", series.description, "CT", series.kernel, notes=tuple(notes))
    return Volume(array, LPS_FROM_RAS @ image_matrix(image), info=info)


def of_one_shape(slices: tuple[Slice, ...], notes: list[str]) -> list[Slice]:
    """The slices that share the commonest size and direction; says how many do not."""

    def shape(each: Slice) -> tuple[float, ...]:
        header = each.header
        return (
            int(header.Rows),
            int(header.Columns),
            *np.round(each.axes_lps.ravel(), 3).tolist(),
            *(round(float(v), 4) for v in header.PixelSpacing),
        )

    counts = Counter(shape(each) for each in slices)
    commonest = counts.most_common(1)[0][0]
    kept = [each for each in slices if shape(each) == commonest]
    if left_out := len(slices) - len(kept):
        notes.append(f"{left_out} of {len(slices)} images of the series have another size or direction: left out.")
    return kept


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
