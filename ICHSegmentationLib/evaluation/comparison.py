"""Systems side by side: trained on the same cases with the same budget, judged on the same others.

Each system trains and predicts in processes of its own; what is done is not done again, so a comparison that was
stopped goes on where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from ICHSegmentationLib.baselines.system import Budget
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.evaluation.child import CATALOGUE, Job
from ICHSegmentationLib.evaluation.evaluate import Evaluation, evaluate
from ICHSegmentationLib.evaluation.pairs import Pair
from ICHSegmentationLib.evaluation.split import Split
from ICHSegmentationLib.staging import write_json

WHERE = ("run", "report", "out")  # of a job: paths within the comparison's folder, which may be moved
LOOK_SECONDS = 0.5  # between two looks at a child's memory


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
class Spent:
    """What a job took so far, over all its sittings.

    Attributes:
        seconds: wall clock.
        processor_seconds: of all its processes' cores; what the wall clock would be on one free core.
        memory_mb: most that its processes held together.
    """

    seconds: float = 0.0
    processor_seconds: float = 0.0
    memory_mb: float = 0.0

    def looked_at(self, process: int, seconds: float) -> Spent:
        """The same after a look at a running process and those it started."""
        memory = used = 0.0
        try:
            parent = psutil.Process(process)
            for each in (parent, *parent.children(recursive=True)):
                memory += each.memory_info().rss / 1e6
                times = each.cpu_times()
                used += times.user + times.system
            ended = parent.cpu_times()
            used += ended.children_user + ended.children_system
        except psutil.Error:  # it ended while we looked
            pass
        return Spent(seconds, max(self.processor_seconds, used), max(self.memory_mb, memory))

    def and_then(self, later: Spent) -> Spent:
        """Both sittings together."""
        return Spent(
            self.seconds + later.seconds,
            self.processor_seconds + later.processor_seconds,
            max(self.memory_mb, later.memory_mb),
        )


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


OnNews = Callable[[str], None]


def compare(
    entrants: Sequence[Entrant],
    split: Split,
    out: Path,
    budget: Budget,
    device: str = "auto",
    seed: int = 0,
    on_news: OnNews = lambda sentence: None,
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
        InputError: two entrants have one label, or `out` holds a comparison of other settings.
    """
    labels = [entrant.label for entrant in entrants]
    if len(set(labels)) < len(labels):
        raise InputError(f"each system must be named once; found {', '.join(labels)}.")
    standings, failures = [], []
    for entrant in entrants:
        folder = out / entrant.label
        try:
            if entrant.run is None:
                train_entrant(entrant, split, folder, budget, device, seed, on_news)
            predict_entrant(entrant, split, folder, device, seed, on_news)
        except InputError as error:
            on_news(f"{entrant.label} failed: {error}")
            failures.append(Failure(entrant, str(error)))
            continue
        standings.append(standing_of(entrant, split, folder, seed))
    return standings, failures


def train_entrant(
    entrant: Entrant, split: Split, folder: Path, budget: Budget, device: str, seed: int, on_news: OnNews
) -> None:
    minutes = None if math.isinf(budget.minutes) else budget.minutes
    job = Job(
        task="train",
        catalogue=entrant.catalogue,
        system=entrant.system,
        settings=entrant.settings,
        run=str(folder / "run"),
        device=device,
        seed=seed,
        report=str(folder / "training.json"),
        data=str(split.training_data.resolve()),
        steps=budget.steps,
        minutes=minutes,
        networks=budget.networks,
    )
    check_same_job(folder / "training_job.json", job, but=WHERE)
    run_job(job, folder / "training_job.json", f"training {entrant.label}", on_news)


def predict_entrant(entrant: Entrant, split: Split, folder: Path, device: str, seed: int, on_news: OnNews) -> None:
    job = Job(
        task="predict",
        catalogue=entrant.catalogue,
        system=entrant.system,
        settings=entrant.settings,
        run=str(run_folder(entrant, folder)),
        device=device,
        seed=seed,
        report=str(folder / "prediction.json"),
        scans={pair.case: str(pair.image.resolve()) for pair in split.tests},
        out=str(folder / "predictions"),
    )
    check_same_job(folder / "prediction_job.json", job, but=WHERE if entrant.run is None else WHERE[1:])
    run_job(job, folder / "prediction_job.json", f"predicting with {entrant.label}", on_news)


def run_folder(entrant: Entrant, folder: Path) -> Path:
    return (entrant.run or folder / "run").resolve()


def check_same_job(path: Path, job: Job, but: Sequence[str]) -> None:
    """Whether a job that was begun here is the one that is wanted, but for some of its fields.

    Raises:
        InputError: it is another.
    """
    if not path.exists():
        return
    begun, wanted = json.loads(path.read_text()), json.loads(json.dumps(dataclasses.asdict(job)))
    for name, value in wanted.items():
        if name not in but and begun.get(name) != value:
            raise InputError(
                f"{path.parent} was begun with {name} {shown(begun.get(name))} and {shown(value)} is wanted now; name "
                "another folder, or remove this one."
            )


def shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def run_job(job: Job, path: Path, what: str, on_news: OnNews) -> None:
    """Runs a job in a process of its own unless it is done; its seconds and memory go into its report.

    Raises:
        InputError: the process failed; the sentence holds its last words.
    """
    report = Path(job.report)
    if report.exists():
        return
    on_news(f"{what} ...")
    with alone(path.with_name(f"{path.stem}.pid")):
        seconds = run_child(job, path, what)
    on_news(f"{what}: done in {seconds:.0f} s")


def run_child(job: Job, path: Path, what: str) -> float:
    """Runs the process, looks at it now and then, and returns the seconds of all its sittings."""
    report = Path(job.report)
    write_json(path, dataclasses.asdict(job))
    log = path.with_name(f"{path.stem}.log")
    spent = path.with_name(f"{path.stem}_spent.json")
    before = Spent(**json.loads(spent.read_text())) if spent.exists() else Spent()
    command = [sys.executable, "-m", "ICHSegmentationLib.evaluation.child", str(path)]
    started = time.monotonic()
    with log.open("ab") as words, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=words, stderr=words) as child:
        now = Spent()
        while True:
            now = now.looked_at(child.pid, time.monotonic() - started)
            write_json(spent, dataclasses.asdict(before.and_then(now)))
            try:
                code = child.wait(LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
    now = dataclasses.replace(now, seconds=time.monotonic() - started)
    write_json(spent, dataclasses.asdict(before.and_then(now)))
    if code != 0 or not report.exists():
        raise InputError(f"{what} failed with exit code {code}: {last_words(log)} (more in {log}).")
    return before.and_then(now).seconds


@contextlib.contextmanager
def alone(mark: Path) -> Iterator[None]:
    """Keeps a second comparison from the same job while this one is at it.

    Raises:
        InputError: another process is.
    """
    if mark.exists() and psutil.pid_exists(int(mark.read_text())):
        raise InputError(
            f"process {mark.read_text()} is at work in {mark.parent}; wait for it, or stop it (and remove {mark.name} "
            "if that is another program)."
        )
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(str(os.getpid()))
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it said nothing"


def standing_of(entrant: Entrant, split: Split, folder: Path, seed: int) -> Standing:
    """Judges the predictions of an entrant and gathers what it cost."""
    pairs = [
        Pair(test.case, folder / "predictions" / f"{test.case}.nii.gz", test.reference, test.image)
        for test in split.tests
    ]
    predicted = json.loads((folder / "prediction.json").read_text())
    return Standing(
        entrant=entrant,
        evaluation=evaluate(pairs, seed, ignored=split.ignored),
        parameters=predicted["parameters"],
        training=None if entrant.run is not None else spent_by(folder, "training"),
        prediction=spent_by(folder, "prediction"),
        seconds_per_scan=sum(predicted["seconds"].values()) / len(predicted["seconds"]),
    )


def spent_by(folder: Path, task: str) -> Spent:
    """What a finished job took; its own word on its peak memory counts where looks from outside missed it."""
    spent = Spent(**json.loads((folder / f"{task}_job_spent.json").read_text()))
    peak_mb = json.loads((folder / f"{task}.json").read_text())["peak_memory_mb"]
    return dataclasses.replace(spent, memory_mb=max(spent.memory_mb, peak_mb))
