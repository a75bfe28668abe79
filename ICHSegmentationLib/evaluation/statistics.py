"""What many cases say together: agreement of volumes, intervals, tests between two systems, strata."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ICHSegmentationLib.errors import InputError

RESAMPLES = 2000
LIMIT = 1.96  # standard deviations about the bias that hold 95 % of normal errors (Bland and Altman 1986)
NO_BLEED = "no bleed"
VOLUME_STRATA_ML = ((0.0, 1.0), (1.0, 5.0), (5.0, 30.0), (30.0, math.inf))


@dataclass(frozen=True)
class Agreement:
    """How measured volumes agree with true ones (Bland and Altman 1986), in mL.

    Attributes:
        cases: how many.
        bias_ml: mean of measured minus true.
        mean_absolute_error_ml: mean of its size.
        lower_ml, upper_ml: limits of agreement, bias -+ 1.96 standard deviations; not a number for one case.
    """

    cases: int
    bias_ml: float
    mean_absolute_error_ml: float
    lower_ml: float
    upper_ml: float


def agreement(measured_ml: Sequence[float], true_ml: Sequence[float]) -> Agreement:
    """Agreement of as many measured as true volumes, one or more."""
    error = np.asarray(measured_ml, float) - np.asarray(true_ml, float)
    bias = float(error.mean())
    reach = LIMIT * float(error.std(ddof=1)) if len(error) > 1 else math.nan
    return Agreement(len(error), bias, float(np.abs(error).mean()), bias - reach, bias + reach)


@dataclass(frozen=True)
class Summary:
    """What a metric is over many cases.

    Attributes:
        cases: those for which it is defined.
        mean: infinite if any case is, as in INSTANCE 2022.
        low, high: 95 % bootstrap interval of the mean; not a number where the mean is infinite or of one case.
        median: of all defined cases.
        infinite: how many cases are infinite.
        finite_mean: over the others.
        undefined: cases that were left out because the metric is not defined for them.
    """

    cases: int
    mean: float
    low: float
    high: float
    median: float
    infinite: int
    finite_mean: float
    undefined: int


def summarise(values: Sequence[float], seed: int) -> Summary:
    """The summary of a metric; undefined cases (not a number) are counted and left out."""
    given = np.asarray(values, float)
    defined = given[~np.isnan(given)]
    finite = defined[np.isfinite(defined)]
    undefined = len(given) - len(defined)
    if len(defined) == 0:
        return Summary(0, math.nan, math.nan, math.nan, math.nan, 0, math.nan, undefined)
    whole = len(finite) == len(defined)
    low, high = bootstrap_interval(finite, seed) if whole else (math.nan, math.nan)
    return Summary(
        cases=len(defined),
        mean=float(finite.mean()) if whole else math.inf,
        low=low,
        high=high,
        median=float(np.sort(defined)[[(len(defined) - 1) // 2, len(defined) // 2]].mean()),
        infinite=len(defined) - len(finite),
        finite_mean=float(finite.mean()) if len(finite) else math.nan,
        undefined=undefined,
    )


def bootstrap_interval(
    values: np.ndarray,
    seed: int,
    statistic: Callable[[np.ndarray], np.ndarray] = lambda samples: samples.mean(axis=1),
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap (Efron 1979) of a statistic of the values [n]; not a number for fewer than two.

    `statistic` takes samples [resamples, n] and gives one number each. The same seed gives the same interval.
    """
    if len(values) < 2:
        return math.nan, math.nan
    rng = np.random.default_rng(seed)
    samples = values[rng.integers(len(values), size=(RESAMPLES, len(values)))]
    low, high = np.quantile(statistic(samples), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True)
class PairedTest:
    """Two systems on the same cases.

    Attributes:
        pairs: cases for which the metric is defined for both.
        infinite: those of them for which it is infinite for one or both.
        undefined: cases that were left out because it is not defined for one or both.
        mean_difference: first minus second, over the pairs without an infinite value.
        low, high: its 95 % bootstrap interval.
        p: of Wilcoxon's signed-rank test over all pairs, two-sided; 1 if no pair differs.
    """

    pairs: int
    infinite: int
    undefined: int
    mean_difference: float
    low: float
    high: float
    p: float


def paired_test(first: Sequence[float], second: Sequence[float], seed: int) -> PairedTest:
    """Compares a metric of two systems, case by case (Wilcoxon 1945; pairs without difference say nothing).

    A pair of which one is infinite differs more than any other, one of which both are does not differ.

    Raises:
        InputError: the two have different numbers of cases.
    """
    if len(first) != len(second):
        raise InputError(f"a paired test wants the same cases twice; found {len(first)} and {len(second)}.")
    a, b = np.asarray(first, float), np.asarray(second, float)
    defined = ~(np.isnan(a) | np.isnan(b))
    a, b = a[defined], b[defined]
    undefined = len(first) - len(a)
    if len(a) == 0:
        return PairedTest(0, 0, undefined, math.nan, math.nan, math.nan, math.nan)
    different = a != b  # infinity equals infinity
    p = float(stats.wilcoxon(a[different] - b[different]).pvalue) if different.any() else 1.0
    finite = np.isfinite(a) & np.isfinite(b)
    difference = a[finite] - b[finite]
    mean = float(difference.mean()) if len(difference) else math.nan
    low, high = bootstrap_interval(difference, seed)
    return PairedTest(len(a), int((~finite).sum()), undefined, mean, low, high, p)


def volume_stratum(volume_ml: float) -> str:
    """The name of the stratum that a volume belongs to; 0 mL is a stratum of its own."""
    if volume_ml == 0:
        return NO_BLEED
    for low, high in VOLUME_STRATA_ML:
        if low <= volume_ml < high:
            return stratum_name(low, high)
    raise ValueError(f"a volume must be 0 mL or more; got {volume_ml}")


def stratum_name(low: float, high: float) -> str:
    if low == 0:
        return f"<{high:g} mL"
    return f">{low:g} mL" if math.isinf(high) else f"{low:g}-{high:g} mL"


VOLUME_STRATA = (NO_BLEED, *(stratum_name(low, high) for low, high in VOLUME_STRATA_ML))
