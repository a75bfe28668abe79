"""Real cases into a pool: once, as the network will see them, so that one way of drawing patches serves all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ICHSegmentationLib.data.nnunet import (
    BACKGROUND,
    IGNORE,
    LabelledScan,
    RawCase,
    RawDataset,
    read_raw_case,
)
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.quality import mended_values
from ICHSegmentationLib.regular import RegularGrid
from ICHSegmentationLib.simulation.blood import Subtype
from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.training.pool import UNTOLD, claim, group_of, read_case, store
from ICHSegmentationLib.volume import as_volume

AS_BLEED = dict.fromkeys(range(1, UNTOLD + 1), 1)  # the pool's labels -> those of `nnunet.BLEED_LABELS`
AS_SUBTYPES = {int(kind): int(kind) for kind in Subtype}  # -> those of `nnunet.SUBTYPE_LABELS`


def import_raw(dataset: RawDataset, pool: Path, on_case: Callable[[int, int], None] | None = None) -> list[Path]:
    """Brings the cases of a raw data set into a pool, those that are there and unchanged excepted.

    Values are mended and slices laid on the regular grid as `inference.segment` does it.

    Args:
        dataset: from `nnunet.read_raw`.
        pool: the folder; kept from run to run, members share it.
        on_case: called with (cases done, cases in all).

    Raises:
        InputError: a case cannot be used, or the pool is of other data.
    """
    claim(pool, {"nnU-Net raw data set": str(dataset.folder.resolve())})
    folders = []
    for done, case in enumerate(dataset.cases, 1):
        folder = pool / case.name
        stamp = stamp_of(dataset, case)
        if folder.exists() and json.loads((folder / "case.json").read_text()).get("stamp") != stamp:
            shutil.rmtree(folder)
        if not folder.exists():
            store_scan(read_raw_case(dataset, case), dataset, folder, stamp)
        folders.append(folder)
        if on_case is not None:
            on_case(done, len(dataset.cases))
    return folders


def stamp_of(dataset: RawDataset, case: RawCase) -> dict[str, Any]:
    """What changes when a case's files do."""
    alone_or_not = {} if case.group == case.name else {"group": case.group}
    files = {path.name: [path.stat().st_size, path.stat().st_mtime_ns] for path in (case.image, case.label)}
    return {"files": files, "labels": pool_labels(dataset)} | alone_or_not


def store_scan(scan: LabelledScan, dataset: RawDataset, folder: Path, stamp: dict[str, Any]) -> None:
    try:
        volume = mended_values(scan.volume)
    except InputError as error:
        raise InputError(f"case {scan.name}: {error}") from None
    grid = RegularGrid(volume)
    if not volume.is_evenly_spaced:
        raise InputError(f"case {scan.name}: its slices are unevenly spaced; even ones are wanted to train on.")
    hu = np.rint(grid.forward(volume.hu)).clip(-32768, 32767)
    codes = np.zeros(256, np.uint8)
    for value, code in pool_labels(dataset).items():
        codes[int(value)] = code
    label = codes[grid.forward(scan.label, outside=0.0).astype(np.uint8)]
    description = {"spacing_mm": grid.spacing_mm, "group": scan.group or scan.name, "stamp": stamp}
    store(folder, hu, label, description)


def pool_labels(dataset: RawDataset) -> dict[str, int]:
    """The data set's label values, as text, with the pool's: subtypes by their names (IPH, ...), the rest UNTOLD."""
    codes = {str(value): UNTOLD for value in sorted(dataset.values)}
    for name, value in dataset.labels.items():
        if not isinstance(value, tuple) and name.upper() in Subtype.__members__:
            codes[str(value)] = int(Subtype[name.upper()])
    codes[str(dataset.labels[BACKGROUND])] = 0
    if dataset.ignored is not None:
        codes[str(dataset.labels[IGNORE])] = IGNORED
    return codes


def labelled_scan(folder: Path, values: dict[int, int]) -> LabelledScan:
    """A case of a pool as a scan with labels, for `nnunet.write_nnunet_raw`.

    `values` gives each of the pool's labels its own; what it does not name becomes background: so does blood that
    nobody can see (IGNORED).
    """
    case = read_case(folder)
    codes = np.zeros(256, np.uint8)
    for code, value in values.items():
        codes[code] = value
    volume = as_volume(np.asarray(case.hu), case.spacing_mm)
    return LabelledScan(case.name, volume, codes[np.asarray(case.label)], group_of(folder))
