"""Which prediction belongs to which reference, and whether the two lie on the same grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.image_files import SUFFIXES, is_image_file, read_image_file

SUBTYPES = {1: "IPH", 2: "IVH", 3: "SAH", 4: "SDH", 5: "EDH"}  # the labels of a reference with subtypes
IN_CASE_FOLDER = "segmentation.nii.gz"  # where `ich segment --out CASE` leaves its mask
CHANNEL = "_0000"  # nnU-Net's ending of an image's name
CORNER_TOLERANCE = 0.02  # of the smallest voxel side; files round their geometry


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


def image_files(folder: Path) -> dict[str, Path]:
    """The image files of a folder by name without the ending."""
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}.")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not is_image_file(path) or path.name.startswith("."):
            continue
        case = case_of(path)
        if case in found:
            raise InputError(f"{folder} holds two files for case {case}: {found[case].name} and {path.name}.")
        found[case] = path
    return found


def in_case_folders(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}.")
    return {path.parent.name: path for path in sorted(folder.glob(f"*/{IN_CASE_FOLDER}"))}


def case_of(path: Path) -> str:
    suffix = next(each for each in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(each))
    return path.name[: -len(suffix)]


def some_of(names: list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(sorted(names)[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read_labels(path: Path) -> tuple[np.ndarray, Volume]:
    """A mask or subtype map: uint8 labels [x, y, z], and the grid that they lie on.

    Raises:
        InputError: the file cannot be read, or holds something other than the labels 0 to 5.
    """
    try:
        volume = read_image_file(path)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None
    labels = volume.hu
    if not np.isfinite(labels).all() or not np.isin(labels, (0, *SUBTYPES)).all():
        others = np.unique(labels[~np.isin(labels, (0, *SUBTYPES))])
        raise InputError(
            f"{path} is no mask: it holds {', '.join(f'{value:g}' for value in others[:3])}"
            f"{' and more' if len(others) > 3 else ''}; wanted is 0 (no bleed) and 1, or 1 to 5 for subtypes."
        )
    return labels.astype(np.uint8), volume


def check_same_grid(case: str, first: Volume, second: Volume, names: tuple[str, str]) -> None:
    """Whether two volumes have the same voxels in the same places.

    Raises:
        InputError: they do not; the sentence quotes both.
    """
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(first.hu.shape) - 1)
    if first.hu.shape == second.hu.shape:
        apart = np.linalg.norm(first.to_ras_mm(corners) - second.to_ras_mm(corners), axis=1).max()
        if apart <= CORNER_TOLERANCE * min(first.spacing_mm):
            return
    raise InputError(
        f"case {case}: {names[0]} and {names[1]} lie on different grids: {grid_in_words(first)}; "
        f"{grid_in_words(second)}. The same grid is wanted for both."
    )


def grid_in_words(volume: Volume) -> str:
    size = "x".join(str(side) for side in volume.hu.shape)
    spacing = "x".join(f"{step:.4g}" for step in volume.spacing_mm)
    origin = ", ".join(f"{value:.2f}" for value in volume.affine[:3, 3])
    return f"{size} voxels of {spacing} mm, axes {volume.orientation}, first voxel at ({origin}) mm"
