"""The commands that judge: `ich evaluate`, `ich compare`, and by experiments/commands.py `ich experiment`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.experiments.commands import add_experiments
from ICHSegmentationLib.evaluation.options import (
    add_data,
    add_training,
    budget_of,
    data_of,
    entrants_of,
    seed_of,
    setting_of,
    tell,
)
from ICHSegmentationLib.staging import Staging


def add_commands(commands: Any) -> None:
    """Adds them to the subparsers of the command line."""
    add_evaluate(commands)
    add_compare(commands)
    add_experiments(commands)


def add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="measure predicted masks against reference masks")
    evaluate.add_argument("--pred", type=Path, required=True, help="folder of CASE.nii.gz or CASE/segmentation.nii.gz")
    evaluate.add_argument("--ref", type=Path, required=True, help="folder of CASE.nii.gz, e.g. labelsTs")
    evaluate.add_argument("--out", type=Path, required=True, help="folder for the results")
    evaluate.add_argument("--other", type=Path, help="folder of another system's predictions, to test against")
    evaluate.add_argument("--images", type=Path, help="folder of the scans, e.g. imagesTs, for overlays")
    evaluate.add_argument("--ignore", type=int, help="label that counts for nothing (default: dataset.json's)")
    evaluate.add_argument("--seed", type=int, default=0, help="of the bootstrap intervals")
    evaluate.add_argument("--overwrite", action="store_true", help="replace results that are there")
    evaluate.set_defaults(command=run_evaluate)


def add_compare(commands: Any) -> None:
    compare = commands.add_parser("compare", help="train systems on the same cases and judge them on the same others")
    compare.add_argument("--out", type=Path, required=True, help="folder of the comparison; goes on where it stopped")
    add_data(compare)
    compare.add_argument("--systems", default="all", help="names, separated by commas (default: all)")
    compare.add_argument("--runs", type=Path, help="folder of finished runs, one a system and by its name, to judge")
    add_training(compare)
    compare.set_defaults(command=run_compare)


def run_evaluate(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.evaluation.evaluate import compare_paired, evaluate
    from ICHSegmentationLib.evaluation.pairs import find_pairs, labels_beside, left_over
    from ICHSegmentationLib.evaluation.results import write_evaluation
    from ICHSegmentationLib.evaluation.tables import paired_in_words, printed

    seed, labels = seed_of(options), labels_beside(options.ref, options.ignore)
    pairs = find_pairs(options.pred, options.ref, options.images)
    others = find_pairs(options.other, options.ref) if options.other is not None else None
    with staging.folder(options.out, options.overwrite) as folder:
        evaluation = evaluate(pairs, seed, labels)
        tests = None
        if others is not None:
            tests = compare_paired(evaluation, evaluate(others, seed, labels))
        write_evaluation(folder, evaluation, pairs, tests)
    print(printed(evaluation))
    if tests is not None:
        print(paired_in_words(tests, str(options.other)))
    if left := left_over(options.pred, pairs):
        print(f"Without a reference and left out: {', '.join(left)}")
    print(f"Results in {options.out}")


def run_compare(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.evaluation.comparison import compare
    from ICHSegmentationLib.evaluation.split import split_of
    from ICHSegmentationLib.evaluation.standings import printed, write_standings

    seed, data, budget = seed_of(options), data_of(options), budget_of(options)
    entrants = entrants_of(options)
    split = split_of(data, options.out, options.test_share, seed)
    standings, failures = compare(entrants, split, options.out, budget, options.device, seed, tell)
    write_standings(options.out, standings, failures, setting_of(options, len(split.training), len(split.tests)))
    print(printed(standings))
    print(f"Results in {options.out}")
    if failures:
        raise InputError(f"{len(failures)} of {len(entrants)} systems failed; the first: {failures[0].reason}")
