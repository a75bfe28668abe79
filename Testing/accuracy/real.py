"""Judges a bundle on real data: the 36 slices with bleed, the real head without. Run by `make real-data`.

    python Testing/accuracy/real.py --bundle Resources/ensemble --out runs/real_data

Beside every figure stands that of the rival: a threshold in an eroded brain mask with morphology, no learning.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from real_slices import SHARED_DATA, SLICE_MM, RealSlice, load_real_slices
from scipy import ndimage

from ICHSegmentationLib.ensemble import Ensemble, load_bundle
from ICHSegmentationLib.evaluation.metrics import dice
from ICHSegmentationLib.inference import segment
from ICHSegmentationLib.memory import settle_memory
from ICHSegmentationLib.volume import as_volume, read_volume

RIVAL_HU = 50.0  # where one threshold stands for the rival
FOUND_SHARE = 0.1  # of a slice's bleed that must be overlapped for it to count as found


def threshold_rival(hu: np.ndarray, pixel_mm: float, threshold_hu: float) -> np.ndarray:
    """Dense voxels within the eroded brain of one slice [x, y], small pieces removed."""
    bone = ndimage.binary_closing(np.pad(hu > 95, 20), iterations=round(3 / pixel_mm))[20:-20, 20:-20]
    brain = ndimage.binary_fill_holes(bone) & ~bone & (hu > -10)
    brain = ndimage.binary_opening(brain, iterations=round(2 / pixel_mm))
    parts, count = ndimage.label(brain)
    if count == 0:
        return np.zeros(hu.shape, bool)
    brain = parts == np.bincount(parts.ravel())[1:].argmax() + 1
    brain = ndimage.binary_erosion(ndimage.binary_fill_holes(brain), iterations=round(2 / pixel_mm))
    smooth = ndimage.gaussian_filter(hu, 0.7 / pixel_mm)
    dense = (smooth > threshold_hu) & brain & (smooth < 95)
    return ndimage.binary_opening(dense, iterations=max(1, round(0.8 / pixel_mm)))


def rival_mask(hu: np.ndarray, pixel_mm: float) -> np.ndarray:
    """The answer of the threshold RIVAL_HU to a scan [x, y, z], slice by slice."""
    return np.stack([threshold_rival(hu[:, :, z], pixel_mm, RIVAL_HU) for z in range(hu.shape[2])], axis=2)


def score(name: str, found: list[np.ndarray], slices: list[RealSlice]) -> dict:
    """Means over slices and patients, and pooled over all pixels."""
    each = [dice(f, s.bleed) for f, s in zip(found, slices, strict=True)]
    overlap = [(f & s.bleed).sum() / s.bleed.sum() for f, s in zip(found, slices, strict=True)]
    false_mm2 = [(f & ~s.bleed).sum() * s.pixel_mm**2 for f, s in zip(found, slices, strict=True)]
    patients = sorted({s.patient for s in slices})
    by_patient = {p: float(np.mean([d for d, s in zip(each, slices, strict=True) if s.patient == p])) for p in patients}
    hit = sum(2 * (f & s.bleed).sum() for f, s in zip(found, slices, strict=True))
    total = sum(f.sum() + s.bleed.sum() for f, s in zip(found, slices, strict=True))
    return {
        "system": name,
        "dice_mean": float(np.mean(each)),
        "dice_pooled": float(hit / total),
        "dice_by_patient": by_patient,
        "dice_mean_over_patients": float(np.mean(list(by_patient.values()))),
        "any_overlap": float(np.mean([o > 0 for o in overlap])),
        "found_10_percent": float(np.mean([o >= FOUND_SHARE for o in overlap])),
        "false_mm2_per_slice": float(np.mean(false_mm2)),
        "dice_each": {s.name: round(d, 3) for s, d in zip(slices, each, strict=True)},
    }


def evaluate_slices(ensemble: Ensemble, slices: list[RealSlice], quality: str, out: Path) -> list[dict]:
    found, probabilities = [], []
    for each in slices:
        volume = as_volume(each.hu[:, ::-1, None], (each.pixel_mm, each.pixel_mm, SLICE_MM))
        result = segment(volume, ensemble, quality)
        found.append(result.mask[:, ::-1, 0])
        probabilities.append(result.probability[:, ::-1, 0])
    overlays(found, slices, out / f"real_slices_{quality}.png")
    np.savez_compressed(out / f"probabilities_{quality}.npz", *[p.astype(np.float16) for p in probabilities])
    return [score(f"ensemble, {quality}", found, slices)]


def overlays(found: list[np.ndarray], slices: list[RealSlice], path: Path) -> None:
    """Every slice, the expert's outline in red, ours in cyan."""
    figure = Figure(figsize=(24, 24), dpi=50, layout="constrained")
    for place, (mask, each) in enumerate(zip(found, slices, strict=True)):
        axes = figure.add_subplot(6, 6, place + 1)
        axes.imshow(each.hu.T, cmap="gray", vmin=-10, vmax=100)
        axes.contour(each.bleed.T, [0.5], colors="red", linewidths=0.8)
        if mask.any():
            axes.contour(mask.T, [0.5], colors="cyan", linewidths=0.8)
        axes.set_title(f"{each.name}  Dice {dice(mask, each.bleed):.2f}")
        axes.axis("off")
    figure.savefig(path)


def evaluate_head(ensemble: Ensemble, quality: str, out: Path) -> dict:
    """The real head with no bleed: all that is found is false."""
    volume = read_volume(SHARED_DATA / "head-ct-dicom")
    result = segment(volume, ensemble, quality)
    figure = Figure(figsize=(28, 16), dpi=45, layout="constrained")
    for index in range(volume.hu.shape[2]):
        axes = figure.add_subplot(4, 7, index + 1)
        axes.imshow(volume.hu[:, :, index].T, cmap="gray", vmin=-10, vmax=100)
        if result.mask[:, :, index].any():
            axes.contour(result.mask[:, :, index].T, [0.5], colors="cyan", linewidths=1)
        axes.axis("off")
    figure.savefig(out / f"head_{quality}.png")
    return {
        "quality": quality,
        "false_ml": result.volume_ml,
        "false_ml_members": list(result.member_volumes_ml),
        "seconds": result.seconds,
    }


def main() -> None:
    settle_memory()  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quality", nargs="+", default=["fast", "full"])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    ensemble = load_bundle(options.bundle)
    slices = load_real_slices()
    figures = []
    for threshold_hu in (45.0, 50.0):
        found = [threshold_rival(each.hu, each.pixel_mm, threshold_hu) for each in slices]
        figures.append(score(f"threshold {threshold_hu:.0f} HU", found, slices))
    heads = []
    for quality in options.quality:
        figures += evaluate_slices(ensemble, slices, quality, options.out)
        heads.append(evaluate_head(ensemble, quality, options.out))
    for each in figures:
        print(
            f"{each['system']:18s} Dice {each['dice_mean']:.3f} (pooled {each['dice_pooled']:.3f}, by patient "
            f"{each['dice_mean_over_patients']:.3f})  any overlap {each['any_overlap']:.0%}  found "
            f"{each['found_10_percent']:.0%}  false {each['false_mm2_per_slice']:.0f} mm2 a slice"
        )
    for each in heads:
        print(f"real head, no bleed, {each['quality']}: {each['false_ml']:.2f} mL false, {each['seconds']:.0f} s")
    result = {"bundle_sha256": ensemble.sha256, "slices": figures, "head": heads}
    (options.out / "real_data.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
