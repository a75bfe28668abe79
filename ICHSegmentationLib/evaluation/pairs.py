"""Which prediction belongs to which reference, and whether the two lie on the same grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ICHSegmentationLib.data.folders import image_files, some_of
from ICHSegmentationLib.data.nnunet import CHANNEL, SUBTYPE_LABELS
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.image_files import SUFFIXES, read_image_file

SUBTYPES = {label: name for name, label in SUBTYPE_LABELS.items() if label}  # labels of a reference with subtypes
IN_CASE_FOLDER = "segmentation.nii.gz"  # where `ich segment --out CASE` leaves its mask


@dataclass(frozen=True)
class Pair:
    """The files of one case."""

    case: str
    prediction: Path
    reference: Path
    image: Path | None = None


def find_pairs(predictions: Path, references: Path, images: Path | None = None) -> list[Pair]:
    """One pair for every reference, in the order of their names.

    Args:
        predictions: folder with CASE.nii.gz (or another image format), or CASE/segmentation.nii.gz.
        references: folder with CASE.nii.gz (or another image format), e.g. labelsTs of nnU-Net raw data.
        images: folder with the scans, CASE_0000.nii.gz or CASE.nii.gz.

    Raises:
        InputError: a folder is missing or empty, or a case lacks its prediction or image.
    """
    reference_files = image_files(references)
    if not reference_files:
        raise InputError(f"{references} holds no reference masks; wanted is a {', '.join(SUFFIXES)} for each case.")
    prediction_files = {**in_case_folders(predictions), **image_files(predictions)}
    scans = image_files(images) if images is not None else {}
    pairs = []
    for case, reference in sorted(reference_files.items()):
        if case not in prediction_files:
            raise InputError(
                f"there is no prediction for case {case}: {predictions} should hold {case}.nii.gz or "
                f"{case}/{IN_CASE_FOLDER}; it holds {some_of(list(prediction_files))}."
            )
        image = scans.get(case + CHANNEL, scans.get(case))
        if images is not None and image is None:
            raise InputError(
                f"there is no scan for case {case}: {images} should hold {case}{CHANNEL}.nii.gz; it holds "
                f"{some_of(list(scans))}."
            )
        pairs.append(Pair(case, prediction_files[case], reference, image))
    return pairs


def left_over(predictions: Path, pairs: list[Pair]) -> list[str]:
    """Predictions that have no reference and so count for nothing."""
    used = {pair.case for pair in pairs}
    return sorted({*in_case_folders(predictions), *image_files(predictions)} - used)


def in_case_folders(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}.")
    return {path.parent.name: path for path in sorted(folder.glob(f"*/{IN_CASE_FOLDER}"))}


def read_labels(path: Path, ignored: int | None = None) -> tuple[np.ndarray, Volume]:
    """A mask or subtype map: uint8 labels [x, y, z], and the grid that they lie on; `ignored` is a label, too.

    Raises:
        InputError: the file cannot be read, or holds something other than the labels 0 to 5.
    """
    try:
        volume = read_image_file(path)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None
    known = [0, *SUBTYPES, *([] if ignored is None else [ignored])]
    values = np.unique(volume.hu)
    if strange := [value for value in values.tolist() if value not in known]:
        more = " and more" if len(strange) > 3 else ""
        raise InputError(
            f"{path} is no mask: it holds {', '.join(f'{value:g}' for value in strange[:3])}{more}; wanted is 0 (no "
            "bleed) and 1, or 1 to 5 for subtypes."
        )
    return volume.hu.astype(np.uint8), volume
