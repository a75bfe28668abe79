"""Judges a bundle on simulated cases of heads that it was not trained on, with and without bleed.

    ich simulate LABEL_MAPS --out cases --cases 30 --seed 2
    python Testing/accuracy/simulated.py cases [--bundle DIR] [--quality fast] [--out figures.json]

Only voxels that are not ignored (blood that noise and partial volume have hidden) are counted, in every figure.
Beside those of the bundle stand those of a threshold in an eroded brain mask.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from real import rival_mask

from ICHSegmentationLib.ensemble import Ensemble, load_bundle
from ICHSegmentationLib.evaluation.experiments.calibration import (
    IN_QUESTION,
    Covered,
    Reliability,
    head_mask,
    reliability,
)
from ICHSegmentationLib.evaluation.metrics import dice
from ICHSegmentationLib.inference import segment
from ICHSegmentationLib.memory import settle_memory
from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.staging import write_json
from ICHSegmentationLib.training.pool import StoredCase, case_folders, read_case
from ICHSegmentationLib.volume import as_volume

LEAST_ML = 1.0  # bleeds from which Dice is counted


def member_probabilities(case: StoredCase, ensemble: Ensemble, quality: str) -> np.ndarray:
    """What each member alone answers, [member, x, y, z]."""
    volume = as_volume(np.asarray(case.hu), case.spacing_mm)
    alone = [Ensemble(ensemble.info, ensemble.sha256, [member]) for member in ensemble.members]
    return np.stack([segment(volume, each, quality).probability for each in alone])


def judge(case: StoredCase, members: np.ndarray, threshold: float) -> dict:
    """Volumes, Dice and calibration of one case."""
    label = np.asarray(case.label)
    counted = label != IGNORED
    voxel_ml = float(np.prod(case.spacing_mm)) / 1000
    true = (label > 0) & counted
    probability = members.mean(0)
    found = (probability >= threshold) & counted
    rival = rival_mask(np.asarray(case.hu, np.float32), case.spacing_mm[0]) & counted
    volumes_ml = ((members >= threshold) & counted).sum((1, 2, 3)) * voxel_ml
    true_ml, found_ml = (float(mask.sum()) * voxel_ml for mask in (true, found))
    head = head_mask(np.asarray(case.hu)) & counted
    in_question = head & (probability >= IN_QUESTION)
    return {
        "case": case.name,
        "spacing_mm": list(case.spacing_mm),
        "true_ml": true_ml,
        "found_ml": found_ml,
        "dice": dice(found, true),
        "member_ml": volumes_ml.tolist(),
        "in_range": bool(Covered(case.name, true_ml, found_ml, volumes_ml.min(), volumes_ml.max()).holds),
        "threshold_ml": float(rival.sum()) * voxel_ml,
        "threshold_dice": dice(rival, true),
        "reliability": reliability(probability[head], true[head]),
        "reliability_in_question": reliability(probability[in_question], true[in_question]),
    }


def pooled(each: list[Reliability]) -> Reliability:
    """The bins of several cases in one."""
    voxels = np.sum([r.voxels for r in each], axis=0)
    with np.errstate(invalid="ignore"):
        probability = np.nansum([r.voxels * r.probability for r in each], axis=0) / voxels
        bleed = np.nansum([r.voxels * r.bleed for r in each], axis=0) / voxels
    return Reliability(voxels, probability, bleed)


def summary(cases: list[dict]) -> dict[str, float]:
    bleeding = [case for case in cases if case["true_ml"] >= LEAST_ML]
    healthy = [case for case in cases if case["true_ml"] == 0]
    errors = np.array([case["found_ml"] - case["true_ml"] for case in bleeding])
    true_ml = np.array([case["true_ml"] for case in bleeding])
    return {
        "cases": len(cases),
        "with_1_ml_or_more": len(bleeding),
        "median_dice": float(np.median([case["dice"] for case in bleeding])),
        "threshold_median_dice": float(np.median([case["threshold_dice"] for case in bleeding])),
        "median_volume_error_ml": float(np.median(np.abs(errors))),
        "median_volume_error_share": float(np.median(np.abs(errors) / true_ml)),
        "median_signed_volume_error_share": float(np.median(errors / true_ml)),
        "true_volume_in_members_range": float(np.mean([case["in_range"] for case in bleeding])),
        "without_bleed": len(healthy),
        "false_ml_without_bleed": float(np.mean([case["found_ml"] for case in healthy])) if healthy else float("nan"),
        "threshold_false_ml": float(np.mean([case["threshold_ml"] for case in healthy])) if healthy else float("nan"),
        "calibration_error": pooled([case["reliability"] for case in cases]).expected_error,
        "calibration_error_in_question": pooled([case["reliability_in_question"] for case in cases]).expected_error,
    }


def main() -> None:
    settle_memory()  # as the command line does
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--quality", default="fast")
    parser.add_argument("--threshold", type=float, help="default: the bundle's")
    parser.add_argument("--out", type=Path, help="write all figures there as JSON")
    options = parser.parse_args()
    ensemble = load_bundle(options.bundle)
    threshold = options.threshold or ensemble.info.threshold
    cases = []
    for folder in case_folders(options.cases):
        case = read_case(folder)
        cases.append(judge(case, member_probabilities(case, ensemble, options.quality), threshold))
    figures = summary(cases)
    for name, value in figures.items():
        print(f"{name:34s}{value:.3g}")
    if options.out:
        told = [{name: value for name, value in case.items() if not isinstance(value, Reliability)} for case in cases]
        write_json(options.out, {"bundle_sha256": ensemble.sha256, "summary": figures, "cases": told})


if __name__ == "__main__":
    main()
