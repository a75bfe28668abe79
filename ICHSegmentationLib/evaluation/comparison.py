"""Systems side by side: trained on the same cases with the same budget, judged on the same others.

Each system trains and predicts in processes of its own; what is done is not done again, so a comparison that was
stopped goes on where it was.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ICHSegmentationLib.baselines.system import Budget
from ICHSegmentationLib.data.grids import check_same_grid
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.child import CATALOGUE, Job
from ICHSegmentationLib.evaluation.evaluate import Evaluation, evaluate
from ICHSegmentationLib.evaluation.jobs import OnNews, Spent, check_same_job, nobody, run_job, spent_by
from ICHSegmentationLib.evaluation.metrics import require_surface_distance
from ICHSegmentationLib.evaluation.pairs import Pair, read_labels
from ICHSegmentationLib.evaluation.split import Split
from ICHSegmentationLib.image_files import read_image_file

WHERE = ("run", "report", "out")  # of a job: paths within the comparison's folder, which may be moved
TRAINING, PREDICTION = "training", "prediction"  # names of an entrant's jobs


@dataclass(frozen=True)
class Entrant:
    """A system as it takes part.

    Attributes:
        label: its name in folder, table and figure.
        system: its name in the catalogue.
        settings: what differs from its own settings, nested as they are.
        run: a finished run folder to take instead of training.
        catalogue: MODULE:FUNCTION that gives the systems by name.
    """

    label: str
    system: str
    settings: dict[str, Any] = field(default_factory=dict)
    run: Path | None = None
    catalogue: str = CATALOGUE


@dataclass(frozen=True)
class Standing:
    """How an entrant did.

    Attributes:
        entrant: who.
        evaluation: on the test cases.
        parameters: trained numbers of all its networks.
        training: what it took over all sittings; None if it came trained.
        prediction: the same of the test cases, with loading, reading and writing.
        seconds_per_scan: mean over the test cases, without those.
    """

    entrant: Entrant
    evaluation: Evaluation
    parameters: int
    training: Spent | None
    prediction: Spent
    seconds_per_scan: float


@dataclass(frozen=True)
class Failure:
    """An entrant that could not be trained or used, and the sentence that says why."""

    entrant: Entrant
    reason: str


def compare(
    entrants: Sequence[Entrant],
    split: Split,
    out: Path,
    budget: Budget,
    device: str = "auto",
    seed: int = 0,
    on_news: OnNews = nobody,
) -> tuple[list[Standing], list[Failure]]:
    """Trains, predicts with and judges every entrant; one that fails does not stop the others.

    Args:
        entrants: with different labels.
        split: cases to train on and to judge on.
        out: folder of the comparison; each entrant has a folder in it.
        budget: the same for all.
        device: "auto", "cpu", "cuda", ...
        seed: of training and of the bootstrap.
        on_news: is told in a sentence what begins or has ended.

    Raises:
        InputError: two entrants have one label, `out` holds a comparison of other settings, or a test case could not
            be judged; nothing has been trained then.
    """
    labels = [entrant.label for entrant in entrants]
    if len(set(labels)) < len(labels):
        raise InputError(f"each system must be named once; found {', '.join(labels)}.")
    require_surface_distance()
    check_tests(split)
    jobs = {entrant.label: jobs_of(entrant, split, out / entrant.label, budget, device, seed) for entrant in entrants}
    for entrant in entrants:
        check_not_seen(entrant, split)
        for name, job in jobs[entrant.label].items():
            may_differ = WHERE if entrant.run is None else WHERE[1:]
            check_same_job(out / entrant.label / f"{name}_job.json", job, but=may_differ)
    standings, failures = [], []
    for entrant in entrants:
        folder = out / entrant.label
        try:
            for name, job in jobs[entrant.label].items():
                run_job(job, folder / f"{name}_job.json", f"{name} of {entrant.label}", on_news)
            standings.append(standing_of(entrant, split, folder, seed))
        except InputError as error:
            on_news(f"{entrant.label} failed: {error}")
            failures.append(Failure(entrant, str(error)))
    return standings, failures


def check_tests(split: Split) -> None:
    """Whether every test case has a scan and a reference that fit each other, as is asked before hours of training.

    Raises:
        InputError: one has not.
    """
    for test in split.tests:
        _, grid = read_labels(test.reference, split.labels.in_reference)
        check_same_grid(test.case, read_image_file(test.image), grid, ("the scan", "the reference"))


def check_not_seen(entrant: Entrant, split: Split) -> None:
    """Raises an InputError if a finished run was trained on a case that it would be judged on.

    A run keeps its cases, and of each the sizes of its files, as `baselines.cases.prepare_cases` writes them.
    """
    if entrant.run is None:
        return
    for test in split.tests:
        kept = entrant.run / "cases" / test.case / "case.json"
        sizes = [file.stat().st_size for file in (test.image, test.reference)]
        if kept.exists() and [size for size, _ in json.loads(kept.read_text())["source"]] == sizes:
            raise InputError(
                f"{entrant.run} was trained on {test.case}, on which it would be judged; put cases that it has not "
                "seen into imagesTs and labelsTs."
            )


def jobs_of(entrant: Entrant, split: Split, folder: Path, budget: Budget, device: str, seed: int) -> dict[str, Job]:
    """What is to be done for an entrant, in order: training unless it comes trained, and prediction.

    The whole budget goes into the job: a run knows itself what it has used in earlier sittings.
    """
    training = Job(
        task="train",
        catalogue=entrant.catalogue,
        system=entrant.system,
        settings=entrant.settings,
        run=str(run_folder(entrant, folder)),
        device=device,
        seed=seed,
        report=str(folder / f"{TRAINING}.json"),
        data=str(split.training_data.resolve()),
        steps=budget.steps,
        minutes=None if math.isinf(budget.minutes) else budget.minutes,
        networks=budget.networks,
    )
    prediction = Job(
        task="predict",
        catalogue=entrant.catalogue,
        system=entrant.system,
        settings=entrant.settings,
        run=str(run_folder(entrant, folder)),
        device=device,
        seed=seed,
        report=str(folder / f"{PREDICTION}.json"),
        scans={test.case: str(test.image.resolve()) for test in split.tests},
        out=str(folder / "predictions"),
    )
    return {PREDICTION: prediction} if entrant.run is not None else {TRAINING: training, PREDICTION: prediction}


def run_folder(entrant: Entrant, folder: Path) -> Path:
    return (entrant.run or folder / "run").resolve()


def standing_of(entrant: Entrant, split: Split, folder: Path, seed: int) -> Standing:
    """Judges the predictions of an entrant and gathers what it cost."""
    pairs = [
        Pair(test.case, folder / "predictions" / f"{test.case}.nii.gz", test.reference, test.image)
        for test in split.tests
    ]
    predicted = json.loads((folder / f"{PREDICTION}.json").read_text())
    return Standing(
        entrant=entrant,
        evaluation=evaluate(pairs, seed, split.labels),
        parameters=predicted["parameters"],
        training=None if entrant.run is not None else spent_by(folder, TRAINING),
        prediction=spent_by(folder, PREDICTION),
        seconds_per_scan=sum(predicted["seconds"].values()) / len(predicted["seconds"]),
    )
