"""nnU-Net v2's raw layout: `imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz` and `dataset.json`, read and written.

Besides it, where several cases are of one head, our own `groups.json`: case -> group; cases of one group are never
parted between training and testing.

Documented at https://github.com/MIC-DKFZ/nnUNet/blob/master/documentation/dataset_format.md. Here: one channel (CT),
any file ending that `image_files` reads, labels as whole numbers, an `ignore` label, regions (a label as a list).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ICHSegmentationLib.data.grids import corners_apart_mm
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.image_files import SUFFIXES, read_image_file, write_image_file
from ICHSegmentationLib.staging import write_json

CHANNEL = "_0000"
IGNORE = "ignore"
BACKGROUND = "background"
BLEED_LABELS = {BACKGROUND: 0, "hemorrhage": 1}
SUBTYPE_LABELS = {BACKGROUND: 0, "IPH": 1, "IVH": 2, "SAH": 3, "SDH": 4, "EDH": 5}
SIMULATED = "simulated data"  # `description` in the dataset.json of heads that are no patients'
GROUPS = "groups.json"
SAME_PLACE_MM = 0.01  # by which the corners of image and label may lie apart, for each voxel of a side at most 1e-4


@dataclass(frozen=True)
class RawCase:
    """The files of one case; `group` is that of `groups.json`, or the case's own name."""

    name: str
    image: Path
    label: Path
    group: str


@dataclass(frozen=True)
class RawDataset:
    """A raw data set whose files are all there.

    Attributes:
        folder: of `dataset.json`.
        labels: name -> value; of a region the values of its parts are in `values` too.
        values: every value that a label file may hold.
        ignored: the value of the ignore label, if there is one.
        cases: the training cases, in the order of their names.
    """

    folder: Path
    labels: dict[str, int | tuple[int, ...]]
    values: frozenset[int]
    ignored: int | None
    cases: tuple[RawCase, ...]


@dataclass(frozen=True)
class LabelledScan:
    """A scan with its truth: labels [x, y, z] uint8 on the scan's own voxels.

    `group` names the head that it is of, where several scans are of one; None: it is the only one.
    """

    name: str
    volume: Volume
    label: np.ndarray
    group: str | None = None


def read_raw(folder: Path) -> RawDataset:
    """Finds the training cases of a raw data set and checks that the files fit `dataset.json`; opens no image.

    Raises:
        InputError: one sentence that says what was found and what is wanted.
    """
    description = read_description(folder)
    channels = description.get("channel_names")
    if not isinstance(channels, dict) or not channels:
        raise InputError(f'{folder}/dataset.json gives no "channel_names"; {{"0": "CT"}} is wanted.')
    if len(channels) > 1:
        names = ", ".join(map(str, channels.values()))
        raise InputError(f"{folder} has {len(channels)} channels ({names}); scans of one channel, CT, are wanted.")
    if "dataset" in description:
        raise InputError(f'{folder}/dataset.json lists its files itself ("dataset"); imagesTr and labelsTr are wanted.')
    labels, ignored = labels_of(description, folder)
    values = {value for entry in labels.values() for value in (entry if isinstance(entry, tuple) else (entry,))}
    ending = description.get("file_ending")
    if ending not in SUFFIXES:
        raise InputError(
            f'{folder}/dataset.json gives "file_ending": {ending!r}; one of {", ".join(SUFFIXES)} is wanted.'
        )
    cases = training_cases(folder, ending)
    told = description.get("numTraining")
    if told != len(cases):
        raise InputError(f'{folder}/dataset.json gives "numTraining": {told}; imagesTr holds {len(cases)} cases.')
    return RawDataset(folder, labels, frozenset(values), ignored, cases)


def groups_of(folder: Path) -> dict[str, str]:
    """Case -> group as `groups.json` in a raw folder tells it; without that file nothing, and each case stands alone.

    Raises:
        InputError: the file is no object of texts.
    """
    path = folder / GROUPS
    if not path.exists():
        return {}
    try:
        groups = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from None
    if not isinstance(groups, dict) or not all(isinstance(group, str) for group in groups.values()):
        raise InputError(f'{path} names no groups; an object {{"case": "group", ...}} of texts is wanted.')
    return groups


def read_description(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    try:
        description = json.loads(path.read_text())
    except OSError:
        raise InputError(
            f"{folder} is no nnU-Net raw data set: it has no readable dataset.json beside imagesTr and labelsTr."
        ) from None
    except ValueError as error:
        raise InputError(f"{path} is not valid JSON: {error}.") from None
    if not isinstance(description, dict):
        raise InputError(
            f"{path} holds {type(description).__name__}; an object with channel_names and labels is wanted."
        )
    return description


def labels_of(description: dict[str, Any], folder: Path) -> tuple[dict[str, int | tuple[int, ...]], int | None]:
    """Label names with their values, and the value that is ignored."""
    found = description.get("labels")
    if not isinstance(found, dict) or found.get(BACKGROUND) != 0:
        raise InputError(f'{folder}/dataset.json gives "labels": {found!r}; {{"background": 0, ...}} is wanted.')
    labels: dict[str, int | tuple[int, ...]] = {}
    for name, value in found.items():
        parts = value if isinstance(value, list) else [value]
        if not parts or not all(isinstance(part, int) and 0 <= part < 255 for part in parts):
            raise InputError(
                f"{folder}/dataset.json gives the label {name!r} the value {value!r}; whole numbers from 0 to 254 are "
                "wanted (nnU-Net v2 lists names first, v1 listed values first)."
            )
        labels[name] = tuple(parts) if isinstance(value, list) else value
    ignored = labels.get(IGNORE)
    if isinstance(ignored, tuple):
        raise InputError(f"{folder}/dataset.json gives the ignore label several values; one is wanted.")
    if not any(name not in (BACKGROUND, IGNORE) for name in labels):
        raise InputError(f"{folder}/dataset.json names no label but {', '.join(labels)}; one for bleed is wanted.")
    return labels, ignored


def training_cases(folder: Path, ending: str) -> tuple[RawCase, ...]:
    """Every image of imagesTr with its label, each exactly once."""
    images = files_of(folder / "imagesTr", ending)
    labels = files_of(folder / "labelsTr", ending)
    if odd := [name for name in images if not name.endswith(CHANNEL)]:
        raise InputError(f"{images[odd[0]]} is not named CASE{CHANNEL}{ending}, as the only channel must be.")
    named = {name.removesuffix(CHANNEL): path for name, path in images.items()}
    if not named:
        raise InputError(f"{folder}/imagesTr holds no case: no file is named CASE{CHANNEL}{ending}.")
    if missing := sorted(set(named) - set(labels)):
        raise InputError(f"{missing[0]} has an image in {folder}/imagesTr but no {missing[0]}{ending} in labelsTr.")
    if lonely := sorted(set(labels) - set(named)):
        raise InputError(
            f"{lonely[0]} has a label in {folder}/labelsTr but no {lonely[0]}{CHANNEL}{ending} in imagesTr."
        )
    groups = groups_of(folder)
    return tuple(RawCase(name, named[name], labels[name], groups.get(name, name)) for name in sorted(named))


def files_of(folder: Path, ending: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; nnU-Net's raw layout has imagesTr and labelsTr.")
    return {
        path.name.removesuffix(ending): path
        for path in folder.iterdir()
        if path.name.endswith(ending) and not path.name.startswith(".")
    }


def read_raw_case(dataset: RawDataset, case: RawCase) -> LabelledScan:
    """Reads the image and label of a case.

    Raises:
        InputError: they are unreadable, do not lie on the same voxels, or the label has values of no name.
    """
    try:
        volume, marked = read_image_file(case.image), read_image_file(case.label)
    except InputError as error:
        raise InputError(f"case {case.name}: {error}") from None
    if volume.hu.shape != marked.hu.shape:
        raise InputError(
            f"case {case.name}: the image has {list(volume.hu.shape)} voxels and its label {list(marked.hu.shape)}; "
            "they must be the same."
        )
    spacings = [tuple(round(step, 4) for step in one.spacing_mm) for one in (volume, marked)]
    if not np.allclose(spacings[0], spacings[1], rtol=1e-3):
        raise InputError(
            f"case {case.name}: the image has voxels of {spacings[0]} mm and its label of {spacings[1]} mm; they must "
            "be the same."
        )
    apart_mm = corners_apart_mm(volume, marked)
    if apart_mm > SAME_PLACE_MM + 1e-4 * max(volume.hu.shape):
        raise InputError(
            f"case {case.name}: image and label lie up to {apart_mm:.2f} mm apart (another origin or direction); they "
            "must lie on the same voxels."
        )
    found = np.unique(marked.hu)
    strange = [value for value in found.tolist() if value not in dataset.values]
    if strange:
        known = ", ".join(str(value) for value in sorted(dataset.values))
        raise InputError(
            f"case {case.name}: its label holds {strange[0]:g}, which dataset.json does not name (it names {known})."
        )
    return LabelledScan(case.name, volume, marked.hu.astype(np.uint8), case.group)


def write_nnunet_raw(
    cases: Iterable[LabelledScan], folder: Path, labels: dict[str, int] = BLEED_LABELS, told: str = ""
) -> int:
    """Writes scans and their labels as a raw data set, geometry kept; returns the number of cases.

    `dataset.json` comes last: until then the folder is no data set. Images are whole Hounsfield units (int16).
    `groups.json` is written where any scan tells its group; `told` says in `dataset.json` what the data are.

    Raises:
        InputError: the folder holds a data set already, or a label a value that `labels` does not name.
    """
    if (folder / "dataset.json").exists():
        raise InputError(f"{folder} already holds a data set; name another folder.")
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    count = 0
    groups = {}
    for case in cases:
        if strange := sorted(set(np.unique(case.label).tolist()) - set(labels.values())):
            raise InputError(f"case {case.name}: its label holds {strange[0]}, which is none of {labels}.")
        hu = np.rint(case.volume.hu).clip(-32768, 32767).astype(np.int16)
        write_image_file(folder / "imagesTr" / f"{case.name}{CHANNEL}.nii.gz", hu, case.volume.affine, {})
        write_image_file(folder / "labelsTr" / f"{case.name}.nii.gz", case.label, case.volume.affine, {})
        count += 1
        if case.group not in (None, case.name):
            groups[case.name] = case.group
    if groups:
        write_json(folder / GROUPS, groups)
    description = {
        **({"description": told} if told else {}),
        "channel_names": {"0": "CT"},
        "labels": labels,
        "numTraining": count,
        "file_ending": ".nii.gz",
    }
    write_json(folder / "dataset.json", description)
    return count
