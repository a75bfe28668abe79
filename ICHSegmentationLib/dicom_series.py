"""DICOM headers: which images belong together, what they say of themselves, which series is the head CT."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from ICHSegmentationLib.errors import InputError

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
        for name, value in grouped_values([*shared, *each_frame[frame : frame + 1]]):
            setattr(own, name, value)
        found.append(Slice(path, own, frame))
    return found


def grouped_values(groups: list[Dataset]) -> Iterator[tuple[str, Any]]:
    """What functional groups say of a frame, by the names of a single image's header."""
    for sequence, names in FRAME_GROUPS.items():
        items = [item for group in groups for item in group.get(sequence, [])]
        yield from ((name, item[name].value) for item in items for name in names if name in item)


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
