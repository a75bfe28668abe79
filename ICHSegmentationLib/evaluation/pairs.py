"""Which prediction belongs to which reference, and whether the two lie on the same grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ICHSegmentationLib.data.folders import image_files, some_of
from ICHSegmentationLib.data.nnunet import BACKGROUND, CHANNEL, IGNORE, SUBTYPE_LABELS, labels_of, read_description
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.image_files import SUFFIXES, read_image_file

SUBTYPES = {label: name for name, label in SUBTYPE_LABELS.items() if label}  # where no dataset.json names others
IN_CASE_FOLDER = "segmentation.nii.gz"  # where `ich segment --out CASE` leaves its mask


@dataclass(frozen=True)
class LabelNames:
    """What the labels of references mean.

    Attributes:
        kinds: label -> the kind of bleed that it names, ascending.
        ignored: label of the voxels that count for nothing, neither as bleed nor as none, if there is one.
    """

    kinds: Mapping[int, str]
    ignored: int | None = None

    @property
    def in_reference(self) -> list[int]:
        """Every label that a reference may hold."""
        return [0, *self.kinds, *([] if self.ignored is None else [self.ignored])]

    @property
    def in_prediction(self) -> list[int]:
        """Every label that a prediction may hold: 1, bleed of whatever kind, is always among them."""
        return [0, *sorted({1, *self.kinds})]


OUR_LABELS = LabelNames(SUBTYPES)


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


def labels_beside(references: Path, ignored: int | None = None) -> LabelNames:
    """The names in the dataset.json that lies beside a folder of references, else our own of 1 to 5.

    Args:
        references: the folder, e.g. labelsTs.
        ignored: a label that is to count for nothing, whether dataset.json says so or not.

    Raises:
        InputError: dataset.json cannot be used, or names another label as the ignored one.
    """
    folder = references.resolve().parent
    labels = labels_in(folder) if (folder / "dataset.json").exists() else OUR_LABELS
    if ignored is None:
        return labels
    if labels.ignored not in (None, ignored):
        raise InputError(
            f"{folder}/dataset.json ignores label {labels.ignored}, --ignore names {ignored}; one is wanted."
        )
    return LabelNames({label: kind for label, kind in labels.kinds.items() if label != ignored}, ignored)


def labels_in(folder: Path) -> LabelNames:
    """The names in the dataset.json of an nnU-Net raw folder; a part of a region that has no name gets its number."""
    named, ignored = labels_of(read_description(folder), folder)
    parts = {name: (value if isinstance(value, tuple) else (value,)) for name, value in named.items()}
    values = {value for name in parts if name not in (BACKGROUND, IGNORE) for value in parts[name]}
    kinds = {value: f"label {value}" for value in sorted(values - {0, ignored})}
    for name, value in parts.items():
        if len(value) == 1 and value[0] in kinds:
            kinds[value[0]] = name
    return LabelNames(kinds, ignored)


def read_labels(path: Path, known: Iterable[int]) -> tuple[np.ndarray, Volume]:
    """A mask or map of kinds: uint8 labels [x, y, z], and the grid that they lie on.

    Args:
        path: of the file.
        known: labels that it may hold.

    Raises:
        InputError: the file cannot be read, or holds another label.
    """
    try:
        volume = read_image_file(path)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None
    known = list(known)
    values = np.unique(volume.hu)
    if strange := [value for value in values.tolist() if value not in known]:
        more = " and more" if len(strange) > 3 else ""
        raise InputError(
            f"{path} is no mask: it holds {', '.join(f'{value:g}' for value in strange[:3])}{more}; wanted are "
            f"{', '.join(map(str, known))}, 0 for no bleed."
        )
    return volume.hu.astype(np.uint8), volume
