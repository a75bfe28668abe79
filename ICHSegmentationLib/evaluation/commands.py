"""The commands that judge: `ich evaluate`, `ich compare`, `ich experiment`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ICHSegmentationLib.staging import Staging


def add_commands(commands: Any) -> None:
    """Adds them to the subparsers of the command line."""
    add_evaluate(commands)


def add_evaluate(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="measure predicted masks against reference masks")
    evaluate.add_argument("--pred", type=Path, required=True, help="folder of CASE.nii.gz or CASE/segmentation.nii.gz")
    evaluate.add_argument("--ref", type=Path, required=True, help="folder of CASE.nii.gz, e.g. labelsTs")
    evaluate.add_argument("--out", type=Path, required=True, help="folder for the results")
    evaluate.add_argument("--other", type=Path, help="folder of another system's predictions, to test against")
    evaluate.add_argument("--images", type=Path, help="folder of the scans, e.g. imagesTs, for overlays")
    evaluate.add_argument("--seed", type=int, default=0, help="of the bootstrap intervals")
    evaluate.add_argument("--overwrite", action="store_true", help="replace results that are there")
    evaluate.set_defaults(command=run_evaluate)


def run_evaluate(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.evaluation.evaluate import compare_paired, evaluate
    from ICHSegmentationLib.evaluation.pairs import find_pairs, left_over
    from ICHSegmentationLib.evaluation.results import write_evaluation
    from ICHSegmentationLib.evaluation.tables import paired_in_words, printed

    pairs = find_pairs(options.pred, options.ref, options.images)
    others = find_pairs(options.other, options.ref) if options.other is not None else None
    with staging.folder(options.out, options.overwrite) as folder:
        evaluation = evaluate(pairs, options.seed)
        tests = compare_paired(evaluation, evaluate(others, options.seed)) if others is not None else None
        write_evaluation(folder, evaluation, pairs, tests)
    print(printed(evaluation))
    if tests is not None:
        print(paired_in_words(tests, str(options.other)))
    if left := left_over(options.pred, pairs):
        print(f"Without a reference and left out: {', '.join(left)}")
    print(f"Results in {options.out}")
