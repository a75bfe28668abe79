"""Published data sets of intracranial hemorrhage, from the folders they come in to nnU-Net v2's raw layout.

Whoever holds one of them converts it once; everything else here reads the raw layout. Labels become ours (1 IPH, 2 IVH,
3 SAH, 4 SDH, 5 EDH) where the data set names subtypes, else 1 for bleed. Layouts as published:

- INSTANCE 2022 (Li et al. 2023, https://instance.grand-challenge.org): `train_2/data/001.nii.gz` and
  `train_2/label/001.nii.gz`; 0 and 1.
- BHSD (Wu et al. 2023, https://github.com/White65534/BHSD): `label_192/images/ID_*.nii.gz` and
  `label_192/ground truths/` by the same names; its dataset.json says 1 epidural, 2 intraparenchymal, 3
  intraventricular, 4 subarachnoid, 5 subdural.
- CT-ICH (Hssayeni et al. 2020, https://physionet.org/content/ct-ich/1.3.1): `ct_scans/049.nii` and `masks/049.nii`; any
  value but 0 is bleed. Its table of subtypes by slice does not say which bleed of a slice is which, so it is not used.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ICHSegmentationLib.data.folders import image_files
from ICHSegmentationLib.data.grids import check_same_grid
from ICHSegmentationLib.data.nnunet import BLEED_LABELS, SUBTYPE_LABELS, LabelledScan
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.image_files import read_image_file

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """How a data set is published.

    Attributes:
        title: its name.
        inside: folder within the download that holds the two below; it may be named by the user, too.
        images, masks: folders with files of the same names.
        prefix: of the names of our cases.
        ours: published label -> our label; None: any value but 0 is bleed.
        labels: names and values for dataset.json.
    """

    title: str
    inside: str
    images: str
    masks: str
    prefix: str
    ours: Mapping[int, int] | None
    labels: dict[str, int]


LAYOUTS = {
    "instance2022": Layout("INSTANCE 2022", "train_2", "data", "label", "instance", {0: 0, 1: 1}, BLEED_LABELS),
    "bhsd": Layout(
        "BHSD",
        "label_192",
        "images",
        "ground truths",
        "bhsd",
        {0: 0} | {theirs: SUBTYPE_LABELS[name] for theirs, name in enumerate(("EDH", "IPH", "IVH", "SAH", "SDH"), 1)},
        SUBTYPE_LABELS,
    ),
    "ct-ich": Layout("CT-ICH", ".", "ct_scans", "masks", "ctich", None, BLEED_LABELS),
}


def published_scans(source: Path, layout: Layout, trust_voxels: bool = False) -> Iterator[LabelledScan]:
    """The labelled scans of a download, in the order of their names.

    Args:
        source: the folder that was downloaded or unpacked.
        layout: of the data set.
        trust_voxels: where the headers of scan and mask disagree on the grid but not on the number of voxels, take the
            scan's; else that is an error.

    Raises:
        InputError: a folder, a scan or a mask is missing, or a mask does not fit its scan or the data set's labels.
    """
    root = root_of(source, layout)
    scans, masks = image_files(root / layout.images), image_files(root / layout.masks)
    if not scans:
        raise InputError(f"{root / layout.images} holds no scans.")
    if lonely := sorted(set(scans) ^ set(masks)):
        missing, there = (layout.masks, layout.images) if lonely[0] in scans else (layout.images, layout.masks)
        raise InputError(f"{layout.title}: {lonely[0]} is in {there} but not in {missing}; both are wanted.")
    for case in sorted(scans):
        name = f"{layout.prefix}_{case}"
        volume, mask = read(scans[case], name), read(masks[case], name)
        try:
            check_same_grid(name, volume, mask, ("the scan", "the mask"))
        except InputError as error:
            if mask.hu.shape != volume.hu.shape:
                raise
            if not trust_voxels:
                raise InputError(f"{error} If the voxels still belong together, add --trust-voxels.") from None
            logger.warning("%s: the mask's header names another grid; the scan's was taken", name)
        yield LabelledScan(name, volume, our_labels(mask.hu, layout, name))


def root_of(source: Path, layout: Layout) -> Path:
    for root in (source / layout.inside, source):
        if (root / layout.images).is_dir() and (root / layout.masks).is_dir():
            return root
    raise InputError(
        f"{source} is no {layout.title} as published: the folders {layout.images} and {layout.masks} are wanted in it"
        f"{'' if layout.inside == '.' else f' or in its {layout.inside}'}."
    )


def read(path: Path, name: str) -> Volume:
    try:
        return read_image_file(path)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def our_labels(values: np.ndarray, layout: Layout, name: str) -> np.ndarray:
    """Published values of a mask -> our labels, uint8."""
    if layout.ours is None:
        return (values != 0).astype(np.uint8)
    labels = np.zeros(values.shape, np.uint8)
    known = np.zeros(values.shape, bool)
    for theirs, ours in layout.ours.items():
        here = values == theirs
        labels[here] = ours
        known |= here
    if not known.all():
        raise InputError(
            f"{name}: the mask holds {values[~known][0]:g}; {layout.title} has the labels "
            f"{', '.join(map(str, layout.ours))}."
        )
    return labels
