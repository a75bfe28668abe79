"""What a user takes away: the numbers, the files, the picture."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ICHSegmentationLib.ensemble import Ensemble
from ICHSegmentationLib.geometry import Volume, others
from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.inference import Segmentation
from ICHSegmentationLib.lesions import SMALLEST_ML, Lesion
from ICHSegmentationLib.regular import RegularGrid
from ICHSegmentationLib.staging import whole_or_not_at_all, write_text
from ICHSegmentationLib.terminology import DISCLAIMER, SEGMENT_COLOR_RGB, SEGMENT_ID, SEGMENT_NAME, SEGMENT_TAGS

NIFTI_NOTES = {"ITK_FileNotes": DISCLAIMER}  # becomes the header's description
WINDOW_HU = (0.0, 80.0)
OUTLINE = "#ff5a36"
MEASUREMENTS = [field.name for field in dataclasses.fields(Lesion)]


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds spent."""

    reading: float
    inference: float
    writing: float


def statistics(
    segmentation: Segmentation, lesions: list[Lesion], ensemble: Ensemble, timing: Timing, peak_memory_mb: float
) -> dict[str, Any]:
    """The content of `statistics.json`: JSON values only, millimetres and millilitres, nothing that names a patient."""
    volume, info = segmentation.volume, segmentation.volume.info
    members = segmentation.member_volumes_ml
    positions = volume.slice_positions_mm
    return {
        "disclaimer": DISCLAIMER,
        "result": "hemorrhage found" if lesions else "no hemorrhage found",
        "volume_ml": segmentation.volume_ml,
        "volume_ml_members": list(members),
        "volume_ml_range": [min(members), max(members)],
        "lesions": [dataclasses.asdict(lesion) for lesion in lesions],
        "threshold": segmentation.threshold,
        "smallest_lesion_ml": SMALLEST_ML,
        "specks_ml": segmentation.specks_ml,
        "quality": segmentation.quality,
        "input": {
            "format": info.format,
            "description": info.description,
            "modality": info.modality,
            "kernel": info.kernel,
            "dimensions": list(volume.hu.shape),
            "spacing_mm": list(volume.spacing_mm),
            "orientation": volume.orientation,
            "tilt_deg": volume.tilt_deg,
            "evenly_spaced": volume.is_evenly_spaced,
            "slice_gaps_mm": np.diff(positions).round(4).tolist(),
            "slice_extents_mm": volume.slice_extents_mm.round(4).tolist(),
            "nominal_slice_thickness_mm": info.slice_thickness_mm,
        },
        "bundle": {
            "name": ensemble.info.name,
            "version": ensemble.info.version,
            "sha256": ensemble.sha256,
            "members": len(members),
        },
        "device": segmentation.device,
        "seconds": dataclasses.asdict(timing),
        "peak_memory_mb": peak_memory_mb,
        "warnings": list(segmentation.warnings),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    packages = ("ICHSegmentation", "torch", "e3nn", "numpy", "scipy", "SimpleITK", "pydicom", "safetensors")
    found = {"python": platform.python_version(), "system": platform.platform(terse=True)}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def summary(values: dict[str, Any]) -> str:
    """The result in a few lines for a terminal."""
    seconds = values["seconds"]
    low, high = values["volume_ml_range"]
    members = values["bundle"]["members"]
    lines = []
    if values["lesions"]:
        largest = values["lesions"][0]
        lines += [
            f"Hemorrhage      {values['volume_ml']:.1f} mL   ({low:.1f} to {high:.1f} over {members} members)",
            f"Lesions         {len(values['lesions'])}, the largest {largest['volume_ml']:.1f} mL "
            f"(ABC/2: {largest['abc2_ml']:.1f} mL, A {largest['a_mm']:.0f} B {largest['b_mm']:.0f} "
            f"C {largest['c_mm']:.0f} mm)",
        ]
    else:
        lines.append(f"No hemorrhage found.   (members: {low:.1f} to {high:.1f} mL)")
    if values["specks_ml"] > 0:
        below = f"in pieces below {values['smallest_lesion_ml']} mL"
        lines.append(f"Specks          {values['specks_ml']:.2f} mL {below}, not counted")
    lines += [
        f"Time            {seconds['reading']:.1f} s reading, {seconds['inference']:.1f} s inference, "
        f"{seconds['writing']:.1f} s writing; peak memory {values['peak_memory_mb']:.0f} MB",
        f"Device          {values['device']}, quality {values['quality']}",
        f"Ensemble        {values['bundle']['name']} {values['bundle']['version']} ({values['bundle']['sha256'][:12]})",
    ]
    lines += [f"Warning         {warning}" for warning in values["warnings"]]
    return "\n".join([*lines, values["disclaimer"]])


def write_files(folder: Path, segmentation: Segmentation, lesions: list[Lesion], title: str = "") -> None:
    """Writes all but the statistics into `folder`; `title` begins the picture's."""
    volume = segmentation.volume
    mask = segmentation.mask.astype(np.uint8)
    write_image_file(folder / "segmentation.nii.gz", mask, volume.affine, NIFTI_NOTES)
    write_image_file(folder / "segmentation.seg.nrrd", mask, volume.affine, segment_tags(mask))
    write_image_file(folder / "probability.nii.gz", segmentation.probability, volume.affine, NIFTI_NOTES)
    if not volume.is_regular:
        # no file format holds a leaning or uneven stack in a way that every viewer honours: one that any can show
        grid = RegularGrid(volume)
        write_image_file(
            folder / "regular_scan.nii.gz", np.rint(grid.forward(volume.hu)).astype(np.int16), grid.affine, NIFTI_NOTES
        )
        regular = (grid.forward(mask, outside=0) >= 0.5).astype(np.uint8)
        write_image_file(folder / "regular_segmentation.nii.gz", regular, grid.affine, NIFTI_NOTES)
    write_text(folder / "lesions.csv", lesions_csv(lesions))
    figure = overview(segmentation, lesions, title)
    with whole_or_not_at_all(folder / "overview.png") as partial:
        figure.savefig(partial, format="png")


def write_statistics(folder: Path, values: dict[str, Any]) -> None:
    write_text(folder / "statistics.json", to_json(values))


def to_json(values: dict[str, Any]) -> str:
    """Indented JSON, with lists of numbers on one line."""
    text = json.dumps(values, indent=1, ensure_ascii=False)
    return re.sub(r"\[\n\s*([-\d.,\seE+]+?)\n\s*\]", lambda found: f"[{' '.join(found[1].split())}]", text)


def lesions_csv(lesions: list[Lesion]) -> str:
    """One row a lesion, largest first; the centroid in three columns."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    centroid = [f"centroid_{axis}_mm_ras" for axis in "xyz"]
    names = [name for name in MEASUREMENTS if name != "centroid_mm_ras"]
    writer.writerow(["lesion", *names, *centroid, "note"])
    for number, lesion in enumerate(lesions, 1):
        values = [getattr(lesion, name) for name in names] + list(lesion.centroid_mm_ras)
        shown = [f"{value:.3f}" if isinstance(value, float) else value for value in values]
        writer.writerow([number, *shown, DISCLAIMER])
    return text.getvalue()


def segment_tags(mask: np.ndarray) -> dict[str, str]:
    """The NRRD fields by which Slicer knows a segmentation: one segment, its name, colour and meaning."""
    used = [np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    extent = [f"{side[0]} {side[-1]}" if len(side) else "0 -1" for side in used]
    return {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
        "Segmentation_SourceRepresentation": "Binary labelmap",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segment0_ID": SEGMENT_ID,
        "Segment0_Name": SEGMENT_NAME,
        "Segment0_NameAutoGenerated": "0",
        "Segment0_Color": " ".join(f"{value / 255:.6f}" for value in SEGMENT_COLOR_RGB),
        "Segment0_ColorAutoGenerated": "0",
        "Segment0_Extent": " ".join(extent),
        "Segment0_LabelValue": "1",
        "Segment0_Layer": "0",
        "Segment0_Tags": "".join(f"{name}:{value}|" for name, value in SEGMENT_TAGS.items()),
        "Disclaimer": DISCLAIMER,
    }


def overview(segmentation: Segmentation, lesions: list[Lesion], title: str) -> Figure:
    """Slices in the brain window with the bleed outlined, patient's right on the left, front or top up."""
    volume = segmentation.volume
    shown = slices_to_show(segmentation, lesions)
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3 * columns, 3 * rows + 0.9), dpi=110, facecolor="black", layout="constrained")
    for place, index in enumerate(shown):
        axes = figure.add_subplot(rows, columns, place + 1)
        hu, across, down = as_seen(volume, volume.hu, index)
        mask, _, _ = as_seen(volume, segmentation.mask, index)
        axes.imshow(
            hu, cmap="gray", vmin=WINDOW_HU[0], vmax=WINDOW_HU[1], aspect=down / across, interpolation="nearest"
        )
        if mask.any():
            axes.contour(mask, [0.5], colors=[OUTLINE], linewidths=1.0)
        axes.set_title(f"slice {index + 1}", color="lightgray", fontsize=8, pad=2)
        axes.axis("off")
    low, high = min(segmentation.member_volumes_ml), max(segmentation.member_volumes_ml)
    found = f"{segmentation.volume_ml:.1f} mL" if lesions else "No hemorrhage found"
    members = len(segmentation.member_volumes_ml)
    figure.suptitle(
        f"{title}{found}   (members {low:.1f} to {high:.1f} mL, n = {members})\n{DISCLAIMER}",
        color="white",
        fontsize=10,
    )
    return figure


def slices_to_show(segmentation: Segmentation, lesions: list[Lesion]) -> list[int]:
    """Up to twelve slice numbers: spread over the bleed, or over the head if there is none."""
    volume = segmentation.volume
    bled = np.flatnonzero(segmentation.mask.any(axis=others(volume.stack_axis)))
    count = volume.hu.shape[volume.stack_axis]
    first, last = (bled[0] - 1, bled[-1] + 1) if lesions else (count // 10, count - 1 - count // 10)
    first, last = max(0, int(first)), min(count - 1, int(last))
    chosen = np.unique(np.linspace(first, last, min(12, last - first + 1)).round().astype(int)).tolist()
    if lesions and lesions[0].largest_slice not in chosen:
        chosen = sorted([*chosen[:-1], lesions[0].largest_slice])
    return chosen


def as_seen(volume: Volume, array: np.ndarray, index: int) -> tuple[np.ndarray, float, float]:
    """One slice as a radiologist wants it, [down, across], with the pixel sizes across and down in mm."""
    plane = array.take(index, axis=volume.stack_axis)
    axes = others(volume.stack_axis)
    directions = volume.affine[:3, list(axes)]
    patient_axis = np.abs(directions).argmax(axis=0)
    sizes = list(volume.in_plane_spacing_mm)
    for array_axis in range(2):  # both run towards the patient's left, back or feet
        if directions[patient_axis[array_axis], array_axis] > 0:
            plane = np.flip(plane, axis=array_axis)
    if patient_axis[0] < patient_axis[1]:
        return plane.T, sizes[0], sizes[1]
    return plane, sizes[1], sizes[0]
