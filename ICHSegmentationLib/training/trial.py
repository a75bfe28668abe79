"""Members on whole simulated cases of heads that none of them has seen. Needs torch, e3nn and numpy only.

A first look, made where the members were trained; `ich evaluate` is the thorough one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ICHSegmentationLib.simulation.case import IGNORED
from ICHSegmentationLib.training.lease import Deadline
from ICHSegmentationLib.training.loss import bleed_logit
from ICHSegmentationLib.training.pool import StoredCase, read_case
from ICHSegmentationLib.unet import EquivariantUNet
from ICHSegmentationLib.windowing import window_channels

SMALLEST_COUNTED_ML = 1.0


@dataclass(frozen=True)
class CaseResult:
    """One case: volumes at a probability of a half, Dice of the members' mean; hidden blood counts for nothing."""

    name: str
    true_ml: float
    found_ml: float
    member_ml: tuple[float, ...]
    dice: float


def tried(
    folders: list[Path], members: list[EquivariantUNet], dtype: torch.dtype, deadline: Deadline
) -> list[CaseResult]:
    """Each case through each member, as far as the time reaches."""
    results = []
    for folder in folders:
        if deadline.left_s < 0:
            break
        results.append(try_case(read_case(folder), members, dtype))
    return results


def try_case(case: StoredCase, members: list[EquivariantUNet], dtype: torch.dtype) -> CaseResult:
    device = next(members[0].parameters()).device
    label = torch.from_numpy(np.array(case.label)).to(device)
    counted, truth = label != IGNORED, (label > 0) & (label != IGNORED)
    channels = window_channels(torch.from_numpy(np.array(case.hu)).to(device, torch.float32))[None].to(dtype)
    with torch.inference_mode():
        each = [torch.sigmoid(bleed_logit(m(channels, case.spacing_mm).float()))[0, 0] * counted for m in members]
    found = torch.stack(each).mean(dim=0) >= 0.5
    voxel_ml = float(np.prod(case.spacing_mm)) / 1000
    total = float(found.sum() + truth.sum())
    return CaseResult(
        name=case.name,
        true_ml=float(truth.sum()) * voxel_ml,
        found_ml=float(found.sum()) * voxel_ml,
        member_ml=tuple(float((one >= 0.5).sum()) * voxel_ml for one in each),
        dice=2 * float((found & truth).sum()) / total if total else 1.0,
    )


def summary(results: list[CaseResult]) -> dict[str, Any]:
    """The figures of a trial, None where no case gives them."""
    bleeding = [result for result in results if result.true_ml >= SMALLEST_COUNTED_ML]
    without = [result for result in results if result.true_ml == 0]
    covered = [min(result.member_ml) <= result.true_ml <= max(result.member_ml) for result in bleeding]
    return {
        "cases": len(results),
        "median_dice_from_1_ml": float(np.median([result.dice for result in bleeding])) if bleeding else None,
        "mean_error_ml": float(np.mean([r.found_ml - r.true_ml for r in bleeding])) if bleeding else None,
        "true_volume_in_member_range": float(np.mean(covered)) if bleeding else None,
        "mean_false_ml_without_bleed": float(np.mean([r.found_ml for r in without])) if without else None,
        "each": [asdict(result) for result in results],
    }
