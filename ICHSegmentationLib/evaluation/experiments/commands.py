"""`ich experiment NAME`: each of the papers' arguments by one command, with a table, a JSON file and a figure."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.options import (
    add_data,
    add_training,
    budget_of,
    catalogue_of,
    data_in_words,
    data_of,
    entrants_of,
    seed_of,
    setting_of,
    settings_of,
    tell,
)
from ICHSegmentationLib.staging import Staging

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ICHSegmentationLib.data.nnunet import LabelledScan
    from ICHSegmentationLib.evaluation.comparison import Entrant, Failure, Standing
    from ICHSegmentationLib.evaluation.experiments.turning import Patient


def add_experiments(commands: Any) -> None:
    """Adds the command and the experiments below it."""
    experiment = commands.add_parser("experiment", help="Dice against rotation, cases, kernels, spacing; calibration")
    kinds = experiment.add_subparsers(required=True, metavar="EXPERIMENT")
    add_rotation(kinds)
    add_spacing(kinds)
    add_calibration(kinds)
    add_trained(kinds, "cases", "Dice against the number of training cases", run_cases)
    add_trained(kinds, "kernel", "Dice against parameters and kernel size", run_kernel)
    add_trained(kinds, "irreps", "Dice against the share of scalars, vectors and tensors", run_irreps)


def add_on_runs(kinds: Any, name: str, text: str) -> argparse.ArgumentParser:
    """What experiments on finished runs have in common."""
    command = kinds.add_parser(name, help=text)
    command.add_argument("--runs", type=Path, required=True, help="folder of `ich compare`, or of runs by system")
    command.add_argument("--systems", default="", help="names, separated by commas (default: all that are there)")
    command.add_argument("--data", type=Path, required=True, help="nnU-Net raw folder with the cases to test on")
    command.add_argument("--cases", type=int, help="only the first so many")
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--device", default="auto")
    command.add_argument("--overwrite", action="store_true", help="replace results that are there")
    return command


def add_rotation(kinds: Any) -> None:
    command = add_on_runs(kinds, "rotation", "Dice against the angle by which the patient is turned")
    command.description = "What was stopped goes on: until all is measured, what is lies in OUT.turns."
    command.add_argument("--step", type=float, default=15.0, help="degrees between the angles, 0 to 180 (default: 15)")
    command.add_argument(
        "--turn",
        choices=("scan", "head"),
        default="scan",
        help="the scan's voxels; or the head before it is scanned, of data of `ich compare --simulate` (default: scan)",
    )
    command.set_defaults(command=run_rotation)


def add_spacing(kinds: Any) -> None:
    command = add_on_runs(kinds, "spacing", "Dice on the same scans with coarser voxels and thicker slices")
    command.add_argument(
        "--spacings", nargs="+", required=True, metavar="XxYxZ", help="voxels in mm, such as 1x1x5 2x2x5"
    )
    command.set_defaults(command=run_spacing)


def add_calibration(kinds: Any) -> None:
    command = kinds.add_parser("calibration", help="what an ensemble's probability and range of volumes are worth")
    command.add_argument("--data", type=Path, required=True, help="nnU-Net raw folder with the cases to test on")
    command.add_argument("--bundle", type=Path, help="folder of another ensemble than the bundled one")
    command.add_argument("--quality", default="auto", help="auto, full or fast")
    command.add_argument("--cases", type=int, help="only the first so many")
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--device", default="auto")
    command.add_argument("--overwrite", action="store_true", help="replace results that are there")
    command.set_defaults(command=run_calibration)


def add_trained(kinds: Any, name: str, text: str, run: Any) -> None:
    """Experiments that train."""
    command = kinds.add_parser(name, help=text)
    command.add_argument("--out", type=Path, required=True, help="folder of the experiment; goes on where it stopped")
    add_data(command)
    if name == "cases":
        command.add_argument("--systems", default="all", help="names, separated by commas (default: all)")
        command.add_argument("--counts", type=int, nargs="+", help="of training cases (default: 2, 4, 8, ...)")
    if name == "kernel":
        command.add_argument("--factors", type=float, nargs="+", default=[0.6, 1.0, 1.4], help="of all diameters")
        command.add_argument("--widths", type=int, nargs="+", default=[4, 8], help="scalars at the top")
    add_training(command)
    command.set_defaults(command=run, runs=None)


def run_rotation(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.devices import pick_device
    from ICHSegmentationLib.evaluation.experiments.kept import KeptTurns
    from ICHSegmentationLib.evaluation.experiments.rotation import (
        largest_change,
        rotation_experiment,
        rotation_figure,
    )
    from ICHSegmentationLib.evaluation.experiments.trained import trained_systems

    if not 0 < options.step <= 180:
        raise InputError(f"the step between angles must lie between 0 and 180 degrees; found {options.step:g}.")
    predictors = trained_systems(options.runs, named(options.systems), pick_device(options.device))
    patients = turned_patients(options, scans_for(options, predictors))
    angles = [options.step * number for number in range(int(180 / options.step + 1e-6) + 1)]
    kept = KeptTurns(options.out.with_name(f"{options.out.name}.turns"), options.runs, angles, tell)
    with staging.folder(options.out, options.overwrite) as folder:
        turns = rotation_experiment(predictors, patients, angles, kept=kept)
        changes = {
            name: {
                "at_quarter_turns": largest_change(turns, name, between_quarters=False),
                "between_them": largest_change(turns, name, between_quarters=True),
            }
            for name in predictors
        }
        values = {
            "largest_change_of_mean_dice": changes,
            "turned": options.turn,
            "cubic_voxels_mm": {patient.name: patient.cube_side_mm for patient in patients},
            "turns": [dataclasses.asdict(turn) for turn in turns],
        }
        write(folder, "rotation", values, rotation_figure(turns, about(options, len(patients))))
    kept.remove()
    for name, change in changes.items():
        words = [
            f"{round(value, 3) + 0.0:+.3f} {where.replace('_', ' ')}"  # and not -0.000
            for where, value in change.items()
            if not math.isnan(value)
        ]
        print(f"{name:16s} mean Dice changes by at most {', '.join(words)}")
    finish(options)


def turned_patients(options: argparse.Namespace, scans: Sequence[LabelledScan]) -> list[Patient]:
    """Who is turned: the scans, or the simulated heads that they are of."""
    from ICHSegmentationLib.evaluation.experiments.turning import TurnedHead, TurnedScan
    from ICHSegmentationLib.evaluation.small_set import described_set

    if options.turn == "scan":
        return [TurnedScan(scan) for scan in scans]
    wanted = described_set(options.data)
    return [TurnedHead(scan, wanted) for scan in scans]


def run_spacing(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.devices import pick_device
    from ICHSegmentationLib.evaluation.experiments.spacing import (
        mean_at,
        spacing_experiment,
        spacing_figure,
    )
    from ICHSegmentationLib.evaluation.experiments.trained import trained_systems

    spacings = [parsed_spacing(text) for text in options.spacings]
    predictors = trained_systems(options.runs, named(options.systems), pick_device(options.device))
    scans = scans_for(options, predictors)
    with staging.folder(options.out, options.overwrite) as folder:
        found = spacing_experiment(predictors, scans, spacings, tell)
        values = {"predictions": [dataclasses.asdict(each) for each in found]}
        write(folder, "spacing", values, spacing_figure(found, about(options, len(scans))))
    for name in predictors:
        means = [
            f"{text} {mean_at(found, name, spacing):.3f}"
            for text, spacing in zip(options.spacings, spacings, strict=True)
        ]
        print(f"{name:16s} mean Dice: {', '.join(means)}")
    finish(options)


def run_calibration(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.ensemble import load_bundle
    from ICHSegmentationLib.evaluation.experiments.calibration import calibration_experiment, calibration_figure
    from ICHSegmentationLib.evaluation.experiments.trained import held_out_pairs, labelled_pairs, scans_of

    # the bundled ensemble has seen simulated heads only, another one may have seen what is in labelsTr
    pairs = labelled_pairs(options.data) if options.bundle is None else held_out_pairs(options.data, ())
    ensemble, scans = load_bundle(options.bundle), scans_of(options.data, pairs, options.cases)
    with staging.folder(options.out, options.overwrite) as folder:
        found = calibration_experiment(ensemble, scans, options.quality, options.device, tell)
        errors = {"head": found.head.expected_error, "in_question": found.in_question.expected_error}
        values = {
            "expected_calibration_error": errors,
            "share_of_true_volumes_in_range": found.coverage,
            "volumes": [dataclasses.asdict(case) for case in found.volumes],
            "ensemble_sha256": ensemble.sha256,
        }
        write(folder, "calibration", values, calibration_figure(found, about(options, len(scans))))
    print(f"Expected calibration error: {errors['head']:.4f} in the head, {errors['in_question']:.4f} from 1 % on")
    print(f"The members' range covers the true volume in {found.coverage:.0%} of {len(found.volumes)} cases")
    finish(options)


def run_cases(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.evaluation.experiments.sample_size import (
        powers_of_two,
        sample_size_experiment,
        sample_size_figure,
    )
    from ICHSegmentationLib.evaluation.split import split_of
    from ICHSegmentationLib.evaluation.standings import refuse_none

    seed = seed_of(options)
    split = split_of(data_of(options), options.out, options.test_share, seed)
    counts = options.counts or powers_of_two(len(split.training))
    standings, failures = sample_size_experiment(
        entrants_of(options), split, counts, options.out, budget_of(options), options.device, seed, tell
    )
    refuse_none([each for group in standings.values() for each in group], failures)
    rows: list[dict[str, Any]] = [
        {"cases": count, "system": each.entrant.label, "dice": each.evaluation.values("dice")}
        for count, group in standings.items()
        for each in group
    ]
    write(options.out, "cases", {"results": rows}, sample_size_figure(standings, about(options, len(split.tests))))
    for row in rows:
        print(f"{row['system']:16s} {row['cases']:4d} cases: mean Dice {sum(row['dice']) / len(row['dice']):.3f}")
    finish(options, failures)


def run_kernel(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.evaluation.experiments.variants import kernel_figure, kernel_variants

    catalogue = catalogue_of(options)
    network, settings = steerable_settings(options.settings, catalogue)
    entrants = kernel_variants(network, settings, options.factors, options.widths, catalogue)
    run_variants(options, "kernel", entrants, kernel_figure)


def run_irreps(options: argparse.Namespace, staging: Staging) -> None:
    from ICHSegmentationLib.evaluation.experiments.variants import irreps_variants, variants_figure

    catalogue = catalogue_of(options)
    network, settings = steerable_settings(options.settings, catalogue)
    run_variants(options, "irreps", irreps_variants(network, settings, catalogue), variants_figure)


def steerable_settings(path: Path | None, catalogue: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The network that is varied, and what a settings file changes of its system's settings already."""
    from ICHSegmentationLib.evaluation.child import find_system, load_catalogue
    from ICHSegmentationLib.evaluation.experiments.variants import SYSTEM

    settings = settings_of(path, list(load_catalogue(catalogue))).get(SYSTEM, {})
    system: Any = find_system(catalogue, SYSTEM, settings)
    return dataclasses.asdict(system.settings.network), settings


def run_variants(
    options: argparse.Namespace,
    name: str,
    entrants: Sequence[Entrant],
    figure_of: Callable[[Sequence[Standing], str], Figure],
) -> None:
    from ICHSegmentationLib.evaluation.comparison import compare
    from ICHSegmentationLib.evaluation.split import split_of
    from ICHSegmentationLib.evaluation.standings import printed, write_standings

    seed, budget = seed_of(options), budget_of(options)
    split = split_of(data_of(options), options.out, options.test_share, seed)
    standings, failures = compare(entrants, split, options.out, budget, options.device, seed, tell)
    write_standings(options.out, standings, failures, setting_of(options, len(split.training), len(split.tests)))
    write(options.out, name, points(standings), figure_of(standings, about(options, len(split.tests))))
    print(printed(standings))
    finish(options, failures)


def points(standings: Sequence[Standing]) -> dict[str, Any]:
    return {
        standing.entrant.label: {"parameters": standing.parameters, "dice": standing.evaluation.values("dice")}
        for standing in standings
    }


def scans_for(options: argparse.Namespace, systems: Iterable[str]) -> list[LabelledScan]:
    """The scans to ask trained systems about: none that one of them was trained on."""
    from ICHSegmentationLib.evaluation.experiments.trained import held_out_pairs, prediction_jobs, scans_of

    pairs = held_out_pairs(options.data, prediction_jobs(options.runs, systems))
    return scans_of(options.data, pairs, options.cases)


def named(systems: str) -> list[str]:
    return systems.split(",") if systems else []


def parsed_spacing(text: str) -> tuple[float, float, float]:
    """`1x1x5` -> (1.0, 1.0, 5.0)."""
    try:
        x, y, z = (float(step) for step in text.split("x"))
    except ValueError:
        raise InputError(f"a spacing is three numbers of mm such as 1x1x5; found {text!r}.") from None
    if not all(0 < step < math.inf for step in (x, y, z)):
        raise InputError(f"a spacing is three numbers of mm above 0; found {text!r}.")
    return x, y, z


def about(options: argparse.Namespace, cases: int) -> str:
    from ICHSegmentationLib.terminology import DISCLAIMER

    return f"{data_in_words(options)}, {cases} cases. {DISCLAIMER}"


def write(folder: Path, name: str, values: dict[str, Any], figure: Figure) -> None:
    """`experiment_NAME.json` and `.png`."""
    from ICHSegmentationLib.evaluation.evaluate import finite_or_null
    from ICHSegmentationLib.evaluation.results import save
    from ICHSegmentationLib.report import to_json, write_text
    from ICHSegmentationLib.terminology import DISCLAIMER

    write_text(folder / f"experiment_{name}.json", to_json(finite_or_null({"disclaimer": DISCLAIMER, **values})))
    save(figure, folder / f"experiment_{name}.png")


def finish(options: argparse.Namespace, failures: Sequence[Failure] = ()) -> None:
    from ICHSegmentationLib.terminology import DISCLAIMER

    print(DISCLAIMER)
    print(f"Results in {options.out}")
    if failures:
        raise InputError(f"{len(failures)} trainings failed; the first: {failures[0].reason}")
