"""Agreement, intervals, tests and strata, against numbers worked out by hand or by their law."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.statistics import (
    VOLUME_STRATA,
    agreement,
    bootstrap_interval,
    paired_test,
    summarise,
    volume_stratum,
)


def test_agreement_is_that_of_bland_and_altman() -> None:
    found = agreement([2.0, 4.0, 9.0], [1.0, 5.0, 6.0])  # errors 1, -1, 3: mean 1, standard deviation 2
    assert (found.cases, found.bias_ml) == (3, 1.0)
    assert found.mean_absolute_error_ml == pytest.approx(5 / 3)
    assert (found.lower_ml, found.upper_ml) == (pytest.approx(1 - 3.92), pytest.approx(1 + 3.92))


def test_one_case_has_no_limits_of_agreement() -> None:
    found = agreement([2.0], [1.0])
    assert found.bias_ml == 1
    assert math.isnan(found.lower_ml)


def test_the_interval_is_that_of_the_seed_and_covers_the_mean() -> None:
    values = np.random.default_rng(0).normal(5, 2, 40)
    low, high = bootstrap_interval(values, seed=1)
    assert bootstrap_interval(values, seed=1) == (low, high)
    assert bootstrap_interval(values, seed=2) != (low, high)
    assert low < values.mean() < high
    reach = 1.96 * values.std() / math.sqrt(40)
    assert high - low == pytest.approx(2 * reach, rel=0.1)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    intervals = [bootstrap_interval(rng.normal(0, 1, 50), seed) for seed in range(200)]
    covered = np.mean([low <= 0 <= high for low, high in intervals])
    assert 0.89 < covered < 0.99


def test_infinite_and_undefined_cases_are_counted() -> None:
    found = summarise([1.0, 3.0, math.inf, math.nan], seed=0)
    assert (found.cases, found.infinite, found.undefined) == (3, 1, 1)
    assert (found.mean, found.finite_mean, found.median) == (math.inf, 2.0, 3.0)
    assert math.isnan(found.low)
    assert summarise([math.nan], seed=0).cases == 0


def test_the_paired_test_is_scipys_on_the_pairs_that_differ() -> None:
    rng = np.random.default_rng(5)
    first = rng.normal(0.8, 0.1, 20)
    second = first - rng.normal(0.05, 0.05, 20)
    found = paired_test(first, second, seed=0)
    assert found.p == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert found.mean_difference == pytest.approx((first - second).mean())
    assert found.low < found.mean_difference < found.high
    assert paired_test(second, first, seed=0).p == pytest.approx(found.p)


def test_systems_that_do_not_differ_have_p_1() -> None:
    assert paired_test([1.0, 2.0], [1.0, 2.0], seed=0).p == 1
    found = paired_test([math.inf, 2.0], [math.inf, 2.0], seed=0)
    assert (found.p, found.pairs, found.infinite, found.mean_difference) == (1, 2, 1, 0)


def test_an_infinite_distance_counts_as_the_worst_and_is_told() -> None:
    first = [*np.arange(10.0, 20.0), math.inf, math.inf]
    second = [*np.arange(10.0, 20.0) + np.arange(1, 11), 5.0, math.inf]
    found = paired_test(first, second, seed=0)
    assert (found.pairs, found.infinite, found.undefined) == (12, 2, 0)
    assert found.mean_difference == pytest.approx(-5.5)  # of the ten finite pairs
    ranked = stats.wilcoxon([*-np.arange(1.0, 11), 1000.0])  # the infinite pair outranks all, for the second system
    assert found.p == pytest.approx(ranked.pvalue)
    assert found.p > paired_test(first[:10], second[:10], seed=0).p


def test_undefined_pairs_are_left_out_and_counted() -> None:
    found = paired_test([1.0, math.nan, 3.0], [2.0, 2.0, math.nan], seed=0)
    assert (found.pairs, found.undefined) == (1, 2)
    assert paired_test([math.nan], [1.0], seed=0).pairs == 0
    only_infinite = paired_test([math.inf], [1.0], seed=0)
    assert (only_infinite.pairs, only_infinite.infinite) == (1, 1)
    assert math.isnan(only_infinite.mean_difference)


def test_a_paired_test_wants_the_same_cases() -> None:
    with pytest.raises(InputError, match="found 1 and 2"):
        paired_test([1.0], [1.0, 2.0], seed=0)


@pytest.mark.parametrize(
    ("volume_ml", "stratum"),
    [(0, "no bleed"), (0.99, "<1 mL"), (1, "1-5 mL"), (5, "5-30 mL"), (29.9, "5-30 mL"), (30, ">30 mL")],
)
def test_every_volume_has_its_stratum(volume_ml: float, stratum: str) -> None:
    assert volume_stratum(volume_ml) == stratum
    assert stratum in VOLUME_STRATA
