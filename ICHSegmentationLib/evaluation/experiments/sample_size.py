"""Dice against the number of training cases, 1, 2, 4, 8, ... (Diaz et al., MELBA 2024)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ICHSegmentationLib.baselines.system import Budget
from ICHSegmentationLib.data.nnunet import read_raw
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.comparison import Entrant, Failure, OnNews, Standing, compare
from ICHSegmentationLib.evaluation.figures import MARKERS, dice_against
from ICHSegmentationLib.evaluation.split import Split, link_cases


def sample_size_experiment(
    entrants: Sequence[Entrant],
    split: Split,
    counts: Sequence[int],
    out: Path,
    budget: Budget,
    device: str,
    seed: int,
    on_news: OnNews,
) -> tuple[dict[int, list[Standing]], list[Failure]]:
    """Trains and judges all entrants once for every count, each time on that many of the training cases.

    The cases are put in one random order, by the seed, and each count takes the first ones: so the 4 cases of a
    count are among its 8. All are judged on the same test cases. Of every count the comparison lies in `out/N_cases`.

    Args:
        entrants, split, budget, device, seed, on_news: as of `comparison.compare`.
        counts: of training cases.
        out: folder of the experiment.

    Returns:
        count -> standings, and what failed of any count.

    Raises:
        InputError: a count is less than 1, or more than there are cases to train on; or as `comparison.compare`.
    """
    dataset = read_raw(split.training_data)
    order = np.random.default_rng(seed).permutation(len(dataset.cases)).tolist()
    if wrong := [count for count in counts if not 1 <= count <= len(order)]:
        raise InputError(f"there are {len(order)} cases to train on; found a wish for {wrong[0]}.")
    standings, failures = {}, []
    for count in counts:
        folder = out / f"{count}_cases"
        cases = [dataset.cases[index] for index in sorted(order[:count])]
        data = link_cases(dataset, cases, folder / "training_data")
        subset = dataclasses.replace(split, training_data=data, training=tuple(case.name for case in cases))
        standings[count], failed = compare(entrants, subset, folder, budget, device, seed, on_news)
        failures += failed
    return standings, failures


def powers_of_two(largest: int) -> list[int]:
    """2, 4, 8, ... up to `largest`; systems hold one of two cases or more back to validate on."""
    return [2**power for power in range(1, largest.bit_length()) if 2**power <= largest]


def sample_size_figure(standings: Mapping[int, Sequence[Standing]], title: str) -> Figure:
    """Mean Dice against the number of training cases, a line for each system."""
    figure = Figure(figsize=(7, 4), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    labels = dict.fromkeys(standing.entrant.label for group in standings.values() for standing in group)
    for label, marker in zip(labels, itertools.cycle(MARKERS)):
        points = [
            (count, standing.evaluation.overall.metrics["dice"].mean)
            for count, group in standings.items()
            for standing in group
            if standing.entrant.label == label
        ]
        axes.plot(*zip(*points, strict=True), marker=marker, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(standings), [str(count) for count in standings])
    dice_against(axes, "training cases")
    axes.set_title(title, fontsize=8)
    return figure
