"""A folder of predictions against a folder of references: every case, the summary, the strata, another system."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ICHSegmentationLib.data.grids import check_same_grid
from ICHSegmentationLib.evaluation.metrics import FOUND_SHARE, TOLERANCE_MM, CaseMetrics, measure
from ICHSegmentationLib.evaluation.pairs import OUR_LABELS, LabelNames, Pair, read_labels
from ICHSegmentationLib.evaluation.statistics import (
    VOLUME_STRATA,
    Agreement,
    PairedTest,
    Summary,
    agreement,
    paired_test,
    summarise,
    volume_stratum,
)
from ICHSegmentationLib.terminology import DISCLAIMER

METRICS = {  # name of a metric: its heading, and what it is
    "dice": ("DSC", "(2 |A and B| + 1e-5) / (|A| + |B| + 1e-5)"),
    "relative_volume_difference": ("RVD", "|A - B| / B on voxel counts; not defined for an empty reference"),
    "surface_dice": ("NSD", f"share of both surfaces within {TOLERANCE_MM} mm of the other"),
    "hausdorff_mm": ("HD mm", "largest distance between the surfaces; infinite if one of the masks is empty"),
    "hausdorff95_mm": ("HD95 mm", "the same for the 95th percentile of each surface"),
}
SUMMARISED = tuple(METRICS)


@dataclass(frozen=True)
class Case:
    """One case and what was measured of it.

    Attributes:
        name: of the case.
        metrics: the prediction against the reference.
        subtype_ml: volume of each subtype in the reference, in the order of their labels.
        subtype_found: share of each subtype's voxels that the prediction holds.
    """

    name: str
    metrics: CaseMetrics
    subtype_ml: dict[str, float]
    subtype_found: dict[str, float]

    @property
    def main_subtype(self) -> str | None:
        """The subtype of largest volume; None without bleed."""
        return max(self.subtype_ml, key=lambda name: self.subtype_ml[name]) if self.subtype_ml else None


@dataclass(frozen=True)
class Group:
    """What a group of cases says.

    Attributes:
        cases: how many.
        metrics: by the names in `METRICS`.
        volume: agreement of volumes.
        lesions, lesions_found: over all cases.
        false_lesions_per_scan: mean over the cases.
    """

    cases: int
    metrics: dict[str, Summary]
    volume: Agreement
    lesions: int
    lesions_found: int
    false_lesions_per_scan: float

    @property
    def lesion_sensitivity(self) -> float:
        return self.lesions_found / self.lesions if self.lesions else math.nan


@dataclass(frozen=True)
class Evaluation:
    """All there is to say about the predictions of one system.

    Attributes:
        cases: in the order of their names.
        overall: all of them.
        by_volume: strata by the reference's volume that hold a case.
        by_subtype: cases by their largest subtype; empty if the references name no subtypes.
        subtype_found: share of each subtype's voxels found, over all cases; empty likewise.
        labels: what the references' labels mean.
        seed: of the bootstrap.
    """

    cases: list[Case]
    overall: Group
    by_volume: dict[str, Group]
    by_subtype: dict[str, Group]
    subtype_found: dict[str, float]
    labels: LabelNames
    seed: int

    def values(self, metric: str) -> list[float]:
        """A metric of every case."""
        return [getattr(case.metrics, metric) for case in self.cases]


def evaluate(
    pairs: list[Pair],
    seed: int = 0,
    labels: LabelNames = OUR_LABELS,
    on_case: Callable[[int, int], None] = lambda done, count: None,
) -> Evaluation:
    """Reads and measures every pair.

    Args:
        pairs: from `pairs.find_pairs`.
        seed: of the bootstrap intervals.
        labels: what the references' labels mean, and which is ignored.
        on_case: is told how many of how many are done.

    Raises:
        InputError: a file is no mask, or lies on another grid than its reference.
    """
    cases = []
    for done, pair in enumerate(pairs, 1):
        cases.append(evaluate_pair(pair, labels))
        on_case(done, len(pairs))
    return summary_of(cases, seed, labels)


def evaluate_pair(pair: Pair, labels: LabelNames) -> Case:
    reference, grid = read_labels(pair.reference, labels.in_reference)
    prediction, predicted_grid = read_labels(pair.prediction, labels.in_prediction)
    check_same_grid(pair.case, predicted_grid, grid, ("the prediction", "the reference"))
    counted = reference != labels.ignored
    bleed = np.where(counted, reference, 0)
    return evaluate_case(pair.case, (prediction > 0) & counted, bleed, grid.spacing_mm, labels)


def evaluate_case(
    name: str,
    prediction: np.ndarray,
    reference: np.ndarray,
    spacing_mm: tuple[float, float, float],
    labels: LabelNames,
) -> Case:
    """Measures a prediction, bool [x, y, z], against reference labels on the same grid, 0 where no bleed counts."""
    voxel_ml = math.prod(spacing_mm) / 1000
    volumes, found = {}, {}
    for label, subtype in labels.kinds.items():
        of_subtype = reference == label
        if count := int(of_subtype.sum()):
            volumes[subtype] = count * voxel_ml
            found[subtype] = float(prediction[of_subtype].mean())
    return Case(name, measure(prediction, reference > 0, spacing_mm), volumes, found)


def summary_of(cases: list[Case], seed: int, labels: LabelNames) -> Evaluation:
    """Groups what was measured; the same seed gives the same intervals."""
    subtypes = subtypes_of(cases, labels)
    if len(labels.kinds) == 1 or subtypes == [labels.kinds.get(1)]:  # the references say bleed, not which
        subtypes = []
    by_volume = {
        name: [case for case in cases if volume_stratum(case.metrics.reference_ml) == name] for name in VOLUME_STRATA
    }
    by_subtype = {name: [case for case in cases if case.main_subtype == name] for name in subtypes}
    return Evaluation(
        cases=cases,
        overall=group_of(cases, seed),
        by_volume={name: group_of(members, seed) for name, members in by_volume.items() if members},
        by_subtype={name: group_of(members, seed) for name, members in by_subtype.items() if members},
        subtype_found={name: share_found(cases, name) for name in subtypes},
        labels=labels,
        seed=seed,
    )


def subtypes_of(cases: Iterable[Case], labels: LabelNames) -> list[str]:
    """The subtypes that any case has, in the order of their labels."""
    there = {subtype for case in cases for subtype in case.subtype_ml}
    return [subtype for subtype in labels.kinds.values() if subtype in there]


def group_of(cases: list[Case], seed: int) -> Group:
    measured = [case.metrics for case in cases]
    return Group(
        cases=len(cases),
        metrics={name: summarise([getattr(each, name) for each in measured], seed) for name in SUMMARISED},
        volume=agreement([each.predicted_ml for each in measured], [each.reference_ml for each in measured]),
        lesions=sum(each.lesions for each in measured),
        lesions_found=sum(each.lesions_found for each in measured),
        false_lesions_per_scan=float(np.mean([each.false_lesions for each in measured])),
    )


def share_found(cases: Iterable[Case], subtype: str) -> float:
    having = [case for case in cases if subtype in case.subtype_ml]
    volume = sum(case.subtype_ml[subtype] for case in having)
    return sum(case.subtype_ml[subtype] * case.subtype_found[subtype] for case in having) / volume


def compare_paired(first: Evaluation, second: Evaluation) -> dict[str, PairedTest]:
    """Each metric, and the size of the volume error, of two systems on the same cases."""
    tests = {name: paired_test(first.values(name), second.values(name), first.seed) for name in SUMMARISED}
    errors = [[abs(case.metrics.volume_error_ml) for case in each.cases] for each in (first, second)]
    return {**tests, "absolute_volume_error_ml": paired_test(errors[0], errors[1], first.seed)}


def to_json(evaluation: Evaluation, other: dict[str, PairedTest] | None = None) -> dict[str, Any]:
    """The content of `evaluation.json`; what is not a finite number is null."""
    values = {
        "disclaimer": DISCLAIMER,
        "metrics": {name: definition for name, (_, definition) in METRICS.items()},
        "lesions": f"26-connected; found: {FOUND_SHARE:.0%} or more covered; false: touching no bleed",
        "interval": f"95 % percentile bootstrap, seed {evaluation.seed}",
        "overall": group_to_json(evaluation.overall),
        "by_volume": {name: group_to_json(group) for name, group in evaluation.by_volume.items()},
        "by_main_subtype": {name: group_to_json(group) for name, group in evaluation.by_subtype.items()},
        "share_of_subtype_found": evaluation.subtype_found,
    }
    if other is not None:
        values["minus_other_system"] = {name: dataclasses.asdict(test) for name, test in other.items()}
    return finite_or_null(values)


def group_to_json(group: Group) -> dict[str, Any]:
    return {**dataclasses.asdict(group), "lesion_sensitivity": group.lesion_sensitivity}


def finite_or_null(value: Any) -> Any:
    """The same JSON value with null for what JSON cannot say: infinite, not a number."""
    if isinstance(value, dict):
        return {key: finite_or_null(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_or_null(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
