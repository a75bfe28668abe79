"""A small data set of simulated heads, made in a minute, on which systems can be compared in minutes.

Bleeds large and dense enough to be learned in minutes, and nothing in it that knows a direction, so that heads can be
turned: cubic voxels; each the mean over a cube of smaller ones; noise that is alike in all directions; and a round
field, so that whatever the turn the same part of the head is seen. It says nothing about patients.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ICHSegmentationLib.data.nnunet import CHANNEL, SIMULATED, LabelledScan, write_nnunet_raw
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.jobs import OnNews, nobody
from ICHSegmentationLib.geometry import PADDING_HU
from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.simulation.case import EDITION, IGNORED, CaseParameters, simulate
from ICHSegmentationLib.simulation.parenchymal import Parenchymal
from ICHSegmentationLib.simulation.procedural import procedural_anatomy
from ICHSegmentationLib.simulation.records import from_json, to_json
from ICHSegmentationLib.staging import write_json
from ICHSegmentationLib.volume import as_volume

DESCRIPTION = "small_set.json"  # beside dataset.json: what was simulated
EDITION_NAME = "simulator_edition"  # in it


@dataclass(frozen=True)
class SmallSet:
    """What is simulated. JSON values only.

    Attributes:
        training, tests: how many cases; each has a head of its own.
        spacing_mm: of the cubic voxels.
        voxels: along each side of the cube that the round field fits into.
        fine: voxels are averaged from so many to the third power.
        volume_ml: smallest and largest bleed.
        blood_hu: palest and densest bleed.
        noise_hu: standard deviation, of each voxel by itself.
        seed: case k of a seed is the same whatever the other numbers are.
    """

    training: int = 10
    tests: int = 5
    spacing_mm: float = 3.0
    voxels: int = 64
    fine: int = 2
    volume_ml: tuple[float, float] = (15.0, 60.0)
    blood_hu: tuple[float, float] = (55.0, 80.0)
    noise_hu: float = 3.0
    seed: int = 0


def write_small_set(wanted: SmallSet, folder: Path, on_news: OnNews = nobody) -> None:
    """Writes imagesTr, labelsTr, imagesTs, labelsTs and dataset.json, unless this very set is there.

    `on_news` is told in a sentence what is begun.

    Raises:
        InputError: the folder holds another data set.
    """
    described = folder / DESCRIPTION
    values = {**to_json(wanted), EDITION_NAME: EDITION}
    if (folder / "dataset.json").exists():
        if not described.exists() or json.loads(described.read_text()) != values:
            raise InputError(f"{folder} holds another data set; name another folder.")
        return
    write_json(described, values)
    on_news(f"{wanted.training + wanted.tests} heads are simulated ...")
    for scan in scans(wanted, range(wanted.training, wanted.training + wanted.tests)):
        for part, array in (("imagesTs", scan.volume.hu.astype(np.int16)), ("labelsTs", scan.label)):
            name = scan.name + (CHANNEL if part == "imagesTs" else "")
            (folder / part).mkdir(parents=True, exist_ok=True)
            write_image_file(folder / part / f"{name}.nii.gz", array, scan.volume.affine, {})
    write_nnunet_raw(scans(wanted, range(wanted.training)), folder, told=SIMULATED)


def scans(wanted: SmallSet, numbers: range) -> Iterator[LabelledScan]:
    for number in numbers:
        yield simulated_scan(wanted, number)


def described_set(folder: Path) -> SmallSet:
    """What `write_small_set` made in a folder.

    Raises:
        InputError: it made nothing there.
    """
    described = folder / DESCRIPTION
    if not described.exists():
        raise InputError(
            f"{folder} holds no heads that can be simulated again; data of `ich compare --simulate` is wanted."
        )
    values = json.loads(described.read_text())
    return from_json(SmallSet, {name: value for name, value in values.items() if name != EDITION_NAME})


def name_of(number: int) -> str:
    return f"simulated_{number:03d}"


def number_of(scan: LabelledScan) -> int:
    """Which case of its set a scan is.

    Raises:
        InputError: its name is none of a simulated scan.
    """
    digits = scan.name.rpartition("_")[2]
    if not (digits.isascii() and digits.isdigit()) or scan.name != name_of(int(digits)):
        raise InputError(f"{scan.name} is no scan of a simulated set; they are called {name_of(0)} and so on.")
    return int(digits)


def simulated_scan(wanted: SmallSet, number: int) -> LabelledScan:
    """One head, upright, with one or two bleeds in the brain."""
    return scanned(wanted, number, simulated_head(wanted, number))


@torch.inference_mode()
def simulated_head(wanted: SmallSet, number: int) -> LabelledScan:
    """The head before it is scanned: in the smaller voxels, without noise, in the whole cube."""
    rng = np.random.default_rng((wanted.seed, number))
    drawn = CaseParameters.draw(rng, anatomies=1).undisturbed()
    bleeds = [
        Parenchymal.draw_plain(rng, ["deep", "lobar"], wanted.volume_ml, wanted.blood_hu)
        for _ in range(int(rng.integers(1, 3)))
    ]
    step = wanted.spacing_mm / wanted.fine
    protocol = dataclasses.replace(
        drawn.protocol,
        spacing_mm=(step, step, step),
        subslices=1,
        noise_hu=0.0,
        table_mm=None,
    )
    pose = dataclasses.replace(drawn.pose, rotation_deg=(0.0, 0.0, 0.0), offset_mm=(0.0, 0.0, 0.0))
    width, slices = wanted.spacing_mm * wanted.voxels, wanted.fine * wanted.voxels
    parameters = dataclasses.replace(
        drawn,
        bleeds=tuple(bleeds),
        protocol=protocol,
        pose=pose,
        width_mm=(width, width),
        slices=slices,
    )
    case = simulate(parameters, procedural_anatomy(int(rng.integers(2**31)), 2.0))
    subtype = case.subtype.numpy()
    bleed = (subtype > 0) & (subtype != IGNORED)
    return LabelledScan(name_of(number), as_volume(case.hu.numpy(), (step,) * 3), bleed.astype(np.uint8))


def scanned(wanted: SmallSet, number: int, head: LabelledScan) -> LabelledScan:
    """The scan of `simulated_head` as it lies: averaged, with the noise of that number, in the round field."""
    hu, bleed = averaged(head.volume.hu, wanted.fine), averaged(head.label, wanted.fine) >= 0.5
    noise = np.random.default_rng((wanted.seed, number, 1)).normal(0, wanted.noise_hu, hu.shape)
    seen = round_field(wanted.voxels)
    hu = np.where(seen, hu + noise, PADDING_HU).clip(PADDING_HU, None).round().astype(np.float32)
    volume = as_volume(hu, (wanted.spacing_mm,) * 3)
    return LabelledScan(head.name, volume, (seen & bleed).astype(np.uint8))


def averaged(array: np.ndarray, factor: int) -> np.ndarray:
    """Mean over cubes of `factor` voxels a side."""
    x, y, z = (side // factor for side in array.shape)
    return array.reshape(x, factor, y, factor, z, factor).mean(axis=(1, 3, 5))


def round_field(voxels: int) -> np.ndarray:
    """The ball that fits into a cube of so many voxels a side, bool."""
    distance = np.arange(voxels) - (voxels - 1) / 2
    x, y, z = np.meshgrid(distance, distance, distance, indexing="ij", sparse=True)
    return x**2 + y**2 + z**2 <= (voxels / 2) ** 2
