"""Anatomies from label-map files. Apart from the rest, because it needs SimpleITK and the simulator does not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.image_files import is_image_file
from ICHSegmentationLib.simulation.anatomy import Anatomy, anatomy_from_labels

logger = logging.getLogger(__name__)


def label_map_files(folder: Path) -> list[Path]:
    """The label maps of a folder, in the order of their names.

    Raises:
        InputError: there are none.
    """
    files = sorted(path for path in folder.glob("*") if is_image_file(path))
    if not files:
        raise InputError(f"{folder} holds no label maps (NIfTI, NRRD or MetaImage).")
    return files


def load_anatomies(label_maps: Path, cache: Path, chosen: Sequence[int] | None = None) -> list[Anatomy]:
    """The heads of a folder of label maps, in the order of their names; measured once, then kept in `cache`.

    Args:
        label_maps: the folder.
        cache: made if it is not there.
        chosen: which of them, from 0; by default all.

    Raises:
        InputError: the folder holds none, or fewer than one that is chosen.
    """
    files = label_map_files(label_maps)
    chosen = range(len(files)) if chosen is None else chosen
    if missing := [index for index in chosen if not 0 <= index < len(files)]:
        raise InputError(f"{label_maps} holds label maps 0 to {len(files) - 1}; number {missing[0]} is not among them.")
    return [load_anatomy(files[index], cache) for index in chosen]


def load_anatomy(file: Path, cache: Path) -> Anatomy:
    """The head of one label map; measured once, then kept in `cache`."""
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / f"{file.name.split('.')[0]}.npz"
    if not kept.exists():
        logger.info("measuring %s", file.name)
        read_label_map(file).save(kept)
    return Anatomy.load(kept)


def read_label_map(file: Path) -> Anatomy:
    """One label map, turned to RAS."""
    return anatomy_from_labels(*read_labels(file))


def read_labels(file: Path) -> tuple[np.ndarray, float]:
    """The labels of a file, [x, y, z] in RAS, and the voxel size in mm."""
    image = sitk.DICOMOrient(sitk.ReadImage(str(file)), "LPS")
    spacing = image.GetSpacing()
    if max(spacing) - min(spacing) > 0.01 * min(spacing):
        raise InputError(f"{file.name} has voxels of {spacing} mm; label maps with cubic voxels are wanted.")
    labels = sitk.GetArrayFromImage(image).T[::-1, ::-1]  # [x, y, z], RAS
    return np.rint(labels).astype(np.int64), float(spacing[0])
