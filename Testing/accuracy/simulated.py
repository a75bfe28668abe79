"""Judges a bundle on simulated cases of heads that it was not trained on, with and without bleed.

ich simulate LABEL_MAPS --out cases --cases 30 --seed 2
python Testing/accuracy/simulated.py cases [--bundle DIR] [--quality fast]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from ICHSegmentationLib.ensemble import Ensemble, load_bundle
from ICHSegmentationLib.evaluation.metrics import dice
from ICHSegmentationLib.inference import segment
from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.training.pool import case_folders, read_case
from ICHSegmentationLib.volume import as_volume

LEAST_ML = 1.0  # bleeds from which Dice is counted


def judge(folder: Path, ensemble: Ensemble, quality: str) -> dict:
    """Volumes and Dice of one case, on its voxels that are not ignored."""
    case = read_case(folder)
    result = segment(as_volume(np.asarray(case.hu), case.spacing_mm), ensemble, quality)
    label = np.asarray(case.label)
    counted = label != IGNORED
    true, found = (label > 0) & counted, result.mask & counted
    voxel_ml = float(np.prod(case.spacing_mm)) / 1000
    low, high = min(result.member_volumes_ml), max(result.member_volumes_ml)
    true_ml = float(true.sum()) * voxel_ml
    return {
        "case": case.name,
        "spacing_mm": list(case.spacing_mm),
        "true_ml": true_ml,
        "found_ml": float(found.sum()) * voxel_ml,
        "dice": dice(found, true),
        "in_range": low <= true_ml <= high,
    }


def summary(cases: list[dict]) -> dict[str, float]:
    bleeding = [case for case in cases if case["true_ml"] >= LEAST_ML]
    healthy = [case for case in cases if case["true_ml"] == 0]
    errors = [abs(case["found_ml"] - case["true_ml"]) for case in bleeding]
    return {
        "cases": len(cases),
        "with_1_ml_or_more": len(bleeding),
        "median_dice": float(np.median([case["dice"] for case in bleeding])),
        "median_volume_error_ml": float(np.median(errors)),
        "median_volume_error_share": float(
            np.median([error / case["true_ml"] for error, case in zip(errors, bleeding, strict=True)])
        ),
        "true_volume_in_members_range": float(np.mean([case["in_range"] for case in bleeding])),
        "without_bleed": len(healthy),
        "false_ml_without_bleed": float(np.mean([case["found_ml"] for case in healthy])) if healthy else float("nan"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--quality", default="fast")
    parser.add_argument("--out", type=Path, help="write all figures there as JSON")
    options = parser.parse_args()
    ensemble = load_bundle(options.bundle)
    cases = [judge(folder, ensemble, options.quality) for folder in case_folders(options.cases)]
    for name, value in summary(cases).items():
        print(f"{name:30s}{value:.3g}")
    if options.out:
        options.out.write_text(json.dumps({"summary": summary(cases), "cases": cases}, indent=1))


if __name__ == "__main__":
    main()
