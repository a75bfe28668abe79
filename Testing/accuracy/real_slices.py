"""The 36 real CT slices with bleed (PhysioNet CT-ICH), made into volumes: for judging an ensemble, never for training.

The slices are 8-bit pictures of the brain window with no spacing. Grey is turned back to Hounsfield units
(-20 to 100), clipped bone put back to 1000 and air to -1000, and the pixel size is set so that the widest head of
each run of slices from one patient measures 150 mm across the skull.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

SHARED_DATA = Path(os.environ.get("ICH_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
SKULL_WIDTH_MM = 150.0
SLICE_MM = 5.0
PATIENTS = {"A": range(10185, 10187), "B": range(10187, 10198), "C": range(10198, 10199), "D": range(10199, 10210),
            "E": range(10210, 10225)}  # as the pictures look; the source does not say  # fmt: skip


@dataclass(frozen=True)
class RealSlice:
    """One picture, [x, y] arrays."""

    name: str
    patient: str
    hu: np.ndarray
    bleed: np.ndarray
    pixel_mm: float


def load_real_slices() -> list[RealSlice]:
    """All slices, in order."""
    folder = SHARED_DATA / "ich-slices"
    if not folder.is_dir():
        raise SystemExit(
            f"there is no folder {folder}: the real data is not part of the repository; ICH_SHARED_DATA must name the "
            "folder that holds ich-slices and head-ct-dicom."
        )
    loaded = []
    for file in sorted((folder / "images").glob("*.jpg")):
        grey = np.asarray(Image.open(file).convert("L")).T.astype(np.float32)
        colour = np.asarray(Image.open(folder / "masks" / f"{file.stem}.png").convert("RGB"))
        patient = next(name for name, numbers in PATIENTS.items() if int(file.stem) in numbers)
        loaded.append((file.stem, patient, grey, colour.max(axis=-1).T > 40))
    widths: dict[str, int] = {}
    for _, patient, grey, _ in loaded:
        widths[patient] = max(widths.get(patient, 0), skull_width(grey))
    return [
        RealSlice(name, patient, to_hu(grey), bleed, SKULL_WIDTH_MM / widths[patient])
        for name, patient, grey, bleed in loaded
    ]


def skull_width(grey: np.ndarray) -> int:
    bone = ndimage.binary_opening(grey >= 250, iterations=1)
    parts, _ = ndimage.label(bone)
    largest = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    across = np.flatnonzero(largest.any(axis=1))
    return int(across[-1] - across[0] + 1)


def to_hu(grey: np.ndarray) -> np.ndarray:
    hu = grey * 120 / 255 - 20
    dark = ndimage.binary_opening(grey <= 4, iterations=2)
    hu[ndimage.binary_dilation(dark, iterations=2) & (grey <= 8)] = -1000
    hu[grey >= 251] = 1000
    return hu
