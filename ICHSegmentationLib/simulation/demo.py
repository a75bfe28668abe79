"""The head that the demo segments when it is given none: procedural anatomy, one bleed of known volume."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.simulation.case import WIDTH_MM, Case, CaseParameters, simulate
from ICHSegmentationLib.simulation.parenchymal import Parenchymal
from ICHSegmentationLib.simulation.procedural import procedural_anatomy
from ICHSegmentationLib.volume import as_volume

DEMO_SPACING_MM = (0.9, 0.9, 5.0)
ACUTE_HU = (58.0, 72.0)
VOLUME_ML = (15.0, 40.0)


def demo_case(seed: int) -> Case:
    """A head with one deep acute bleed of 15 to 40 mL, on slices of 5 mm."""
    rng = np.random.default_rng(seed)
    drawn = CaseParameters.draw(rng, anatomies=1).undisturbed()
    bleed = Parenchymal.draw_plain(rng, ["deep"], VOLUME_ML, ACUTE_HU)
    protocol = dataclasses.replace(drawn.protocol, spacing_mm=DEMO_SPACING_MM, subslices=4, noise_hu=2.5)
    parameters = dataclasses.replace(drawn, bleeds=(bleed,), protocol=protocol, slices=32, width_mm=WIDTH_MM)
    return simulate(parameters, procedural_anatomy(seed))


def write_demo_scan(case: Case, folder: Path) -> Path:
    """Writes the CT and its true mask as NIfTI; returns the path of the CT."""
    volume = as_volume(case.hu.numpy(), DEMO_SPACING_MM)
    write_image_file(folder / "generated_ct.nii.gz", volume.hu.astype(np.int16), volume.affine, {})
    truth = (case.subtype > 0).numpy().astype(np.uint8)
    write_image_file(folder / "generated_truth.nii.gz", truth, volume.affine, {})
    return folder / "generated_ct.nii.gz"
