"""What is wrong or unusual with a scan, in words: what can be mended is, what cannot be used is refused."""

from __future__ import annotations

import dataclasses

import numpy as np

from ICHSegmentationLib.dicom_series import SHARP_KERNELS
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.geometry import PADDING_HU, Volume
from ICHSegmentationLib.head import Head

RAW_OFFSET = 1024.0
THICK_SLICE_MM = 7.5
COARSE_PIXEL_MM = 1.3
SMALLEST_CAVITY_CM2 = 40.0
LARGEST_CAVITY_ML = 2300.0
OPEN_END_CM2 = 60.0  # cavity on the first or last slice from which the scan is said to end within the brain


def mended_values(volume: Volume) -> Volume:
    """The scan with values that are Hounsfield units, or an InputError that says what they are instead.

    Mended: padding and anything darker than air, a few voxels that are not numbers, raw values that lie 1024 too
    high. Refused: normalised and 8-bit images, magnetic resonance, constant images.
    """
    hu = volume.hu
    finite = np.isfinite(hu)
    if not finite.all():
        share = 1 - finite.mean()
        if share > 0.5:
            raise InputError(f"{share:.0%} of the voxels are not numbers (NaN or infinite); CT values are wanted.")
        hu = np.where(finite, hu, np.float32(PADDING_HU))
        note = f"{share:.1%} of the voxels are not numbers: taken as lying outside the scan."
        volume = with_note(dataclasses.replace(volume, hu=hu), note)
    low, high = float(hu.min()), float(hu.max())
    if low == high:
        raise InputError(f"all voxels have the value {low:g}; a CT in Hounsfield units is wanted.")
    if high - low <= 2 or (low >= 0 and high <= 255):
        kind = "a normalised image" if high <= 2 else "an 8-bit picture"
        raise InputError(f"values run from {low:g} to {high:g}, {kind}; a CT in Hounsfield units is wanted.")
    sample = hu[:: max(1, hu.shape[0] // 128), :: max(1, hu.shape[1] // 128)]
    if is_raw(sample):
        note = "Values are raw CT numbers (air near 0, brain near 1060): 1024 was taken off."
        return padded(with_note(dataclasses.replace(volume, hu=hu - np.float32(RAW_OFFSET)), note))
    air, soft = float((sample < -500).mean()), float(((sample > -20) & (sample < 90)).mean())
    if low >= -50:
        raise InputError(
            f"values run from {low:g} to {high:g} with no air at -1000: not Hounsfield units (magnetic resonance?); "
            "a CT is wanted."
        )
    if soft < 0.005:
        raise InputError(
            f"hardly any voxel ({soft:.1%}) lies between -20 and 90 HU, where brain does; a head CT in Hounsfield "
            "units is wanted."
        )
    if air < 0.001:
        volume = with_note(volume, "The scan shows no air around the head: cut out or masked?")
    return padded(volume)


def is_raw(sample: np.ndarray) -> bool:
    """Whether CT values are stored 1024 too high; padding, however dark, does not count.

    Then brain lies near 1060, air near 0, and next to nothing where the edge of every head in air does (-900 to -50).
    """
    soft = ((sample > RAW_OFFSET - 20) & (sample < RAW_OFFSET + 90)).mean()
    air = (np.abs(sample) < 300).mean()
    edge = ((sample > -900) & (sample < -50) & (sample != padding_value(sample))).mean()
    return bool(soft > 0.05 and air > 0.05 and edge < 1e-3 and sample.max() > RAW_OFFSET + 300)


def padding_value(sample: np.ndarray) -> float:
    """The commonest of the values below -50."""
    dark, counts = np.unique(sample[sample < -50], return_counts=True)
    return float(dark[counts.argmax()]) if len(dark) else 0.0


def padded(volume: Volume) -> Volume:
    """Everything darker than -1024 HU set to it: scanners pad with -1500, -2000, -3024 and others."""
    if float(volume.hu.min()) >= PADDING_HU:
        return volume
    return dataclasses.replace(volume, hu=np.maximum(volume.hu, np.float32(PADDING_HU)))


def with_note(volume: Volume, note: str) -> Volume:
    info = dataclasses.replace(volume.info, notes=(*volume.info.notes, note))
    return dataclasses.replace(volume, info=info)


def warnings_of(volume: Volume, head: Head) -> list[str]:
    """What the user should know about this scan before trusting a measurement on it; warnings, not walls."""
    info, found = volume.info, list(volume.info.notes)
    extents = volume.slice_extents_mm
    if info.contrast_agent:
        found.append("The scan is contrast-enhanced: vessels and enhancing tissue can look like blood.")
    if SHARP_KERNELS.search(info.kernel):
        found.append(f"Bone or sharp reconstruction kernel ({info.kernel}): noisier than what the ensemble knows.")
    if len(extents) == 1:
        found.append("One slice only: the volume rests on its thickness, and no neighbour helps to tell bleed.")
    elif extents.max() > THICK_SLICE_MM:
        found.append(f"Thick slices (up to {extents.max():.1f} mm): small bleeds can be hidden.")
    if volume.tilt_deg > 0.1:
        found.append(f"Gantry tilt of {volume.tilt_deg:.1f} degrees: slices were moved to where they belong.")
    elif not volume.is_straight:
        found.append(
            f"Slices jump sideways by up to {volume.sideways_mm.max():.0f} mm (moved table or patient?): they were "
            "moved back."
        )
    if not volume.is_evenly_spaced:
        gaps = np.diff(volume.slice_positions_mm)
        found.append(
            f"Slices are unevenly spaced ({gaps.min():.2f} to {gaps.max():.2f} mm): each counts with its own extent."
        )
    if max(volume.in_plane_spacing_mm) > COARSE_PIXEL_MM:
        found.append(f"Coarse pixels ({max(volume.in_plane_spacing_mm):.2f} mm): small bleeds can be hidden.")
    if abs(volume.normal[2]) < np.cos(np.deg2rad(45)):
        found.append("Slices are not axial: the ensemble was trained on axial ones, and ABC/2 is meant for them.")
    area_cm2 = head.cavity_cm2
    if area_cm2.max() < SMALLEST_CAVITY_CM2:
        found.append("No cranial cavity was found: not a head, or the skull is open.")
    elif len(extents) > 1:
        if head.cavity_ml > LARGEST_CAVITY_ML:
            found.append(
                f"The cavity within bone is {head.cavity_ml:.0f} mL, more than a head holds: check the spacing."
            )
        first, last = ("below", "above") if volume.normal[2] > 0 else ("above", "below")
        places = [first] * bool(area_cm2[0] > OPEN_END_CM2) + [last] * bool(area_cm2[-1] > OPEN_END_CM2)
        if places:
            found.append(f"The scan ends within the brain ({' and '.join(places)}): bleed beyond it is not counted.")
    return found
