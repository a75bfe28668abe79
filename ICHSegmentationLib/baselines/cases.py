"""Labelled scans as a system's networks see them, on disk, to draw patches from without loading whole volumes."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ICHSegmentationLib.baselines.preparation import Prepared, label_for
from ICHSegmentationLib.convolution import Spacing
from ICHSegmentationLib.data.nnunet import RawDataset, read_raw, read_raw_case
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.staging import whole_folder

logger = logging.getLogger(__name__)

Prepare = Callable[[Volume], Prepared]


@dataclass(frozen=True)
class TrainingCase:
    """One prepared case; its arrays are memory-mapped.

    Attributes:
        name: of the case in the nnU-Net raw folder.
        inputs: [channel, x, y, z].
        label: [x, y, z] uint8: 0, 1 where bleed, 255 where it is not to count.
        bleed: flat indices of the bleed's voxels.
        inside: flat indices of the voxels without bleed where patches may be centred.
        spacing_mm: of the voxels.
        outside: what a voxel beyond the edge would hold.
        bleed_ml: volume of the bleed.
        group: cases of one group, one head, are never parted between training and validation.
        source: size in bytes and time of change in ns of the image and of the label file it was prepared from.
    """

    name: str
    inputs: np.ndarray
    label: np.ndarray
    bleed: np.ndarray
    inside: np.ndarray
    spacing_mm: Spacing
    outside: float
    bleed_ml: float
    group: str
    source: list[list[int]]


def trainable(data: Path) -> RawDataset:
    """The nnU-Net raw data set in a folder, if it can be trained on.

    Raises:
        InputError: it cannot be used, or holds fewer than two cases, or all are of one head.
    """
    dataset = read_raw(data)
    if len(dataset.cases) < 2:
        raise InputError(f"{data} holds one labelled case; two or more are wanted, one of them to validate on.")
    if len({case.group for case in dataset.cases}) < 2:
        raise InputError(f"all cases of {data} are of one head; two or more are wanted, one of them to validate on.")
    return dataset


def prepare_cases(dataset: RawDataset, folder: Path, prepare: Prepare) -> list[TrainingCase]:
    """The labelled cases of a data set, in the order of their names; those in `folder` are taken from there.

    Raises:
        InputError: a case cannot be used.
    """
    cases = []
    for raw in dataset.cases:
        source = [[path.stat().st_size, path.stat().st_mtime_ns] for path in (raw.image, raw.label)]
        place = folder / raw.name
        if not (place / "case.json").exists() or json.loads((place / "case.json").read_text())["source"] != source:
            logger.info("preparing %s", raw.name)
            scan = read_raw_case(dataset, raw)
            try:
                prepared = prepare(scan.volume)
            except InputError as error:
                raise InputError(f"case {raw.name}: {error}") from None
            write_prepared(prepared, bleed_or_not(scan.label, dataset.ignored), scan.volume, place, source)
        cases.append(read_prepared(place, raw.group))
    return cases


def bleed_or_not(label: np.ndarray, ignored: int | None) -> np.ndarray:
    """A data set's labels [x, y, z] as 0, 1 where any bleed is, and 255 where they are to be ignored."""
    bleed = (label > 0).astype(np.uint8)
    return bleed if ignored is None else np.where(label == ignored, np.uint8(IGNORED), bleed)


def write_prepared(prepared: Prepared, label: np.ndarray, volume: Volume, place: Path, source: list) -> None:
    """Writes one case; under its name it is there as a whole or not at all."""
    label = np.ascontiguousarray(label_for(label, volume, prepared.inside.shape))
    arrays = {
        "inputs": np.ascontiguousarray(prepared.inputs),
        "label": label,
        "bleed": np.flatnonzero(label == 1).astype(np.int32),
        "inside": np.flatnonzero(prepared.inside & (label == 0)).astype(np.int32),
    }
    bleed_ml = float((label == 1).sum() * np.prod(prepared.spacing_mm) / 1000)
    description = {
        "spacing_mm": prepared.spacing_mm,
        "outside": prepared.outside,
        "bleed_ml": bleed_ml,
        "source": source,
    }
    shutil.rmtree(place, ignore_errors=True)
    with whole_folder(place) as partial:
        for name, array in arrays.items():
            np.save(partial / f"{name}.npy", array)
        (partial / "case.json").write_text(json.dumps(description))


def read_prepared(place: Path, group: str) -> TrainingCase:
    description = json.loads((place / "case.json").read_text())
    x, y, z = description["spacing_mm"]
    inputs, label, bleed, inside = (
        np.load(place / f"{name}.npy", mmap_mode="r") for name in ("inputs", "label", "bleed", "inside")
    )
    return TrainingCase(
        name=place.name,
        inputs=inputs,
        label=label,
        bleed=bleed,
        inside=inside,
        spacing_mm=(x, y, z),
        outside=description["outside"],
        bleed_ml=description["bleed_ml"],
        group=group,
        source=description["source"],
    )
