"""DICOM: which series of a folder is the head CT, and its slices in their places."""

from __future__ import annotations

import math
import re
import unicodedata
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
from ICHSegmentationLib.image_files import quiet_itk

TAGS = [
    "SOPClassUID", "Modality", "ImageType", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "PatientName",
    "PatientID", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "BitsAllocated", "PhotometricInterpretation",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "InstanceNumber",
    "AcquisitionNumber", "ConvolutionKernel", "ContrastBolusAgent", "RescaleSlope", "RescaleIntercept",
    "BodyPartExamined",
]  # fmt: skip
# of a multi-frame file: what its functional groups say of a frame, and in which of their sequences
FRAME_GROUPS = {
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    "CTReconstructionSequence": ("ConvolutionKernel",),
}

# Names of sharp (bone, lung, edge) reconstruction kernels by maker; anything else is taken as soft tissue
SHARP_KERNELS = re.compile(
    r"bone|edge|lung|detail\+|ultra|sharp"  # GE and in words
    r"|^[BHJUQ]r?[567]\d"  # Siemens
    r"|^FC(3\d|5\d|8\d)"  # Canon
    r"|^(YD|YE|E|D|L)$",  # Philips
    re.IGNORECASE,
)
# series descriptions of scans with contrast medium, on which vessels are as bright as blood; and of those that say not
ENHANCED = re.compile(r"\b(cta|ctp|ctv|angio\w*|perfusion|venogra\w*|contrast)\b|\bc\+", re.IGNORECASE)
PLAIN = re.compile(r"\b(w/?o|without|non|no)\W*(iv\W*)?(contrast|angio\w*)", re.IGNORECASE)
PARALLEL = 0.9999  # cosine between directions that count as the same: 0.8 degrees
SAME_PIXEL = 1e-3  # relative difference of pixel spacings that count as the same
GAP_OF_A_MISSING_SLICE = 1.6  # times the usual gap


@dataclass(frozen=True)
class Slice:
    """One DICOM image: where it is and what its header says of it."""

    path: Path
    header: Dataset
    frame: int | None = None  # of a file with several

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
        named = f"{text_of(self.first, 'PatientName')} {text_of(self.first, 'PatientID')}"
        return without_names(text_of(self.first, "SeriesDescription"), re.split(r"[\s^,;=]+", named))

    @property
    def kernel(self) -> str:
        return text_of(self.first, "ConvolutionKernel")

    @property
    def thickness_mm(self) -> float:
        return number_of(self.first, "SliceThickness") or 99.0

    @property
    def is_sharp(self) -> bool:
        description = text_of(self.first, "SeriesDescription")
        return bool(SHARP_KERNELS.search(self.kernel) or re.search(r"\b(bone|lung)\b", description, re.IGNORECASE))

    @property
    def contrast_agent(self) -> str:
        agent = text_of(self.first, "ContrastBolusAgent")
        return "" if agent.upper() in ("NONE", "NO", "N") else agent

    @property
    def is_enhanced(self) -> bool:
        description = PLAIN.sub("", text_of(self.first, "SeriesDescription"))
        return bool(self.contrast_agent or ENHANCED.search(description))

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
        if number_of(header, "Rows") is None:
            return "holds no images"
        if all(is_localizer(each) for each in self.slices):
            return "is a localizer"
        if not any(is_placed(each) for each in self.slices):
            return f"does not say where its slices lie ({', '.join(unplaced(self.slices[0]))} missing)"
        return None

    @property
    def is_elsewhere(self) -> bool:
        """Whether the header names a part of the body that is not the head."""
        part = text_of(self.first, "BodyPartExamined").upper()
        return bool(part) and not any(name in part for name in ("HEAD", "BRAIN", "SKULL", "NEURO", "CEREBR"))

    @property
    def is_axial(self) -> bool:
        placed = next((each for each in self.slices if is_placed(each) and not is_localizer(each)), None)
        if placed is None:
            return True
        normal = np.cross(*placed.axes_lps)
        return bool(abs(normal[2]) > np.cos(np.deg2rad(45)))


def is_localizer(image: Slice) -> bool:
    return "LOCALIZER" in [str(value).upper() for value in image.header.get("ImageType", [])]


def unplaced(image: Slice) -> list[str]:
    """What the header lacks, or holds too few values of, to say where the image lies."""
    wanted = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
    missing = []
    for name, count in wanted.items():
        value = image.header.get(name)
        if not isinstance(value, pydicom.multival.MultiValue) or len(value) != count:
            missing.append(name)
    return missing


def is_placed(image: Slice) -> bool:
    return not unplaced(image)


def without_names(text: str, names: list[str]) -> str:
    """The text with every word hidden that is one of the names, however accents, case and leading zeros are written."""
    hidden = {key for name in names if len(name) > 1 for key in spellings(name)}
    return "".join("*" if spellings(word) & hidden else word for word in re.split(r"([^\W_]+)", text)).strip()


def spellings(word: str) -> set[str]:
    """Ways in which a name may be written: without accents, or with ae, oe, ue, ss."""
    folded = word.casefold().lstrip("0")
    spelled = folded
    for letter, letters in (("ä", "ae"), ("ö", "oe"), ("ü", "ue"), ("å", "aa"), ("ø", "oe"), ("æ", "ae")):
        spelled = spelled.replace(letter, letters)
    plain = "".join(c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))
    return {folded, spelled, plain} - {""}


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
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=TAGS)
        if (number_of(header, "NumberOfFrames") or 1) > 1:
            header = pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, EOFError, ValueError, KeyError, NotImplementedError):
        return None
    return header


def find_series(paths: Iterable[Path]) -> list[Series]:
    """Groups the images of DICOM files by series; other files are passed over."""
    found: dict[str, list[Slice]] = defaultdict(list)
    for path in paths:
        header = read_header(path)
        if header is not None and "SeriesInstanceUID" in header:
            found[str(header.SeriesInstanceUID)] += slices_of(path, header)
    return [Series(tuple(slices)) for _, slices in sorted(found.items())]


def slices_of(path: Path, header: Dataset) -> list[Slice]:
    """The images of one file: itself, or its frames, each with a header of its own."""
    frames = int(number_of(header, "NumberOfFrames") or 1)
    if frames == 1:
        return [Slice(path, header)]
    common = Dataset()
    for name in TAGS:
        if name in header:
            setattr(common, name, header[name].value)
    shared = list(header.get("SharedFunctionalGroupsSequence", []))
    each_frame = list(header.get("PerFrameFunctionalGroupsSequence", []))
    found = []
    for frame in range(frames):
        own = Dataset()
        own.update(common)
        own.InstanceNumber = frame + 1
        for group in (*shared, *each_frame[frame : frame + 1]):
            for sequence, names in FRAME_GROUPS.items():
                for item in group.get(sequence, []):
                    for name in names:
                        if name in item:
                            setattr(own, name, item[name].value)
        found.append(Slice(path, own, frame))
    return found


def choose_series(series: list[Series], wanted: str | None) -> tuple[Series, list[str]]:
    """The series to segment and what to tell the user about the choice.

    `wanted` is a series number or the end (five characters or more) of a series UID. By default the thinnest axial
    soft-tissue CT series of the head without contrast and with more than a few slices is taken.
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
        few = len(s.slices) < 3
        return s.is_elsewhere, not s.is_axial, s.is_enhanced, s.is_sharp, few, s.thickness_mm, -len(s.slices)

    best = min(usable, key=rank)
    rest = [s.title for s in series if s is not best]
    return best, [f"Taken: {best.title}. Also here: {'; '.join(rest)}."] if rest else []


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
