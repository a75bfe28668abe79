"""The training loop, read downwards. It knows steps, files and clocks; what is trained is handed to it as a `System`.

A step sees `batches_per_step` batches, numbered from the start of training; torch's random state is set from the
seed and the batch's number before each. So a run depends neither on when it was stopped and resumed nor, but for
rounding, on how many processes share its batches. The running statistics of batch normalisation are the exception:
one process lets its batches into them one after the other, several take the mean of what each of them found.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.staging import told_as_output_error, write_json
from ICHSegmentationLib.training.checkpoint import CHECKPOINT, Run, System, load_run, save_run
from ICHSegmentationLib.training.journal import Journal
from ICHSegmentationLib.training.precision import PRECISIONS, flushed_denormals, refuse_unsafe_convolutions
from ICHSegmentationLib.training.prefetch import Prefetch
from ICHSegmentationLib.training.processes import Processes, joined_processes
from ICHSegmentationLib.training.stopping import StopSignals

__all__ = ["LoopConfig", "Progress", "Sitting", "System", "train_system"]

logger = logging.getLogger(__name__)

CONFIG = "config.json"


@dataclass(frozen=True)
class LoopConfig:
    """What of the loop decides the result. JSON values only.

    Attributes:
        steps: optimiser steps.
        seed: numbers that name this run, e.g. (seed of the ensemble, member).
        batches_per_step: their gradients are averaged; with several processes a multiple of their number.
        gradient_clip: largest norm of the gradient; larger ones are scaled down to it.
        precision: "float32", or "bfloat16" for autocast (weights, gradients and optimiser stay in float32).
        validate_every: steps between validations.
        patience: stop after so many validations without a better score, and keep the best weights; None: never.
    """

    steps: int
    seed: tuple[int, ...] = (0,)
    batches_per_step: int = 1
    gradient_clip: float = 1e9
    precision: str = "float32"
    validate_every: int = 1000
    patience: int | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"the precision must be one of {', '.join(PRECISIONS)}; found {self.precision!r}.")


@dataclass(frozen=True)
class Progress:
    """Where a run stands; `score` is the last validation's (None before the first)."""

    step: int
    steps: int
    loss: float
    seconds_left: float
    waiting_share: float  # of the time, for data
    score: float | None


def nothing() -> None:
    """Nobody wants to know of checkpoints."""


@dataclass(frozen=True)
class Sitting:
    """One sitting at a run: what does not change its result.

    Attributes:
        resume: go on from the folder's checkpoint, if it has one; without it a folder with a checkpoint is refused.
        minutes: stop after so long, with a checkpoint.
        save_every_s: seconds between checkpoints.
        threads: that draw batches ahead; 0 draws each when it is needed.
        on_step: told of every step (in the first process only).
        on_save: called after every checkpoint (in the first process only).
    """

    resume: bool = False
    minutes: float = math.inf
    save_every_s: float = 300.0
    threads: int = 1
    on_step: Callable[[Progress], None] | None = None
    on_save: Callable[[], None] = nothing


UNTIL_DONE = Sitting()


def train_system(
    system: System, config: LoopConfig, described: dict[str, Any], folder: Path, sitting: Sitting = UNTIL_DONE
) -> Run:
    """Trains until the steps are done, patience is lost, the minutes are up or SIGTERM or Ctrl-C arrives.

    Whichever comes first, a checkpoint is left in `folder`, beside `config.json`, `log.csv` and `curves/`
    (TensorBoard's, where it is installed).

    Args:
        system: what is trained; its network lies on the device to train on.
        config: what decides the result.
        described: all settings of the system, JSON values only, kept as `config.json`; a run is only resumed with
            the same ones, `steps` excepted.
        folder: of the run.
        sitting: how long, how often to save, whether to resume.

    Raises:
        InputError: `folder` holds a run that is not to be resumed, or one with other settings; or the precision is
            unsafe here, see `precision.refuse_unsafe_convolutions`.
        OutputError: `folder` cannot be written to.
    """
    device = next(system.network.parameters()).device
    with flushed_denormals(), joined_processes(device) as processes, StopSignals() as signals:
        run = begin(system, described, folder, sitting.resume, processes)
        clock = Clock(config.steps - run.step, sitting)
        numbers = own_numbers(config, run.step, processes)
        with (
            Prefetch(system.batch, numbers, sitting.threads) as batches,
            first_journal(run, folder, processes) as journal,
        ):
            while not run.is_done(config.steps, config.patience):
                if processes.any(signals.arrived or clock.is_up):
                    break
                rate = set_learning_rate(system, run.step)
                loss = backward(system, config, batches, run.step, processes)
                nn.utils.clip_grad_norm_(system.network.parameters(), config.gradient_clip)
                system.optimizer.step()
                if system.average is not None:
                    system.average.update(system.network)
                run.step += 1
                due = system.validate is not None and run.step % config.validate_every == 0
                if due:
                    run.note(validated(run, journal, processes), config.patience)
                clock.steps_done += 1
                if journal is not None:
                    waiting_share = batches.waited_s / clock.elapsed_s
                    journal.add_step(run.step, loss, rate, run.score if due else None, waiting_share)
                    if sitting.on_step is not None:
                        left = clock.seconds_left()
                        sitting.on_step(Progress(run.step, config.steps, loss, left, waiting_share, run.score))
                    if clock.is_time_to_save():
                        save_run(run, folder)
                        sitting.on_save()
        if processes.is_first:
            save_run(run, folder)
            sitting.on_save()
        run.stopped_by_signal = signals.arrived
    return run


def begin(system: System, described: dict[str, Any], folder: Path, resume: bool, processes: Processes) -> Run:
    """A fresh run, or the one of the folder's checkpoint."""
    described = json.loads(json.dumps(described))
    run = Run(system)
    checkpoint, path = folder / CHECKPOINT, folder / CONFIG
    if checkpoint.exists():
        if not resume:
            raise InputError(
                f"{folder} already holds a run; add --resume to go on with it, or name another folder for this one."
            )
        other = different(json.loads(path.read_text()), described)
        if other:
            raise InputError(
                f"{folder} holds a run of another configuration ({', '.join(other)}); only the number of steps may "
                "change. Name another folder for this one."
            )
        load_run(run, folder)
        logger.info("%s goes on at step %d", folder, run.step)
    if processes.number_from_first(run.step) != run.step:
        raise InputError(
            f"process {processes.rank} does not see the checkpoint in {folder}; all must share the folder."
        )
    processes.from_first_(system.network.state_dict().values())
    if not processes.is_first:
        return run
    with told_as_output_error(folder):
        folder.mkdir(parents=True, exist_ok=True)
    write_json(path, described)
    return run


def different(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """The names of the settings that differ, the number of steps left aside."""
    names = sorted(set(ours) | set(theirs))
    return [name for name in names if name != "steps" and ours.get(name) != theirs.get(name)]


def own_numbers(config: LoopConfig, first_step: int, processes: Processes) -> Iterator[int]:
    """The numbers of the batches that this process sees, in their order."""
    count = config.batches_per_step
    if count % processes.count:
        raise InputError(
            f"{processes.count} processes cannot share {count} batches a step; a multiple of {processes.count} is "
            "wanted (--batches-per-step)."
        )
    steps = range(first_step, config.steps)
    return (step * count + share for step in steps for share in range(processes.rank, count, processes.count))


@contextmanager
def first_journal(run: Run, folder: Path, processes: Processes) -> Iterator[Journal | None]:
    """The journal of the first process; the others keep none."""
    if not processes.is_first:
        yield None
        return
    with Journal(folder, run.step) as journal:
        yield journal


def set_learning_rate(system: System, step: int) -> float:
    if system.learning_rate is not None:
        for group in system.optimizer.param_groups:
            group["lr"] = system.learning_rate(step)
    return float(system.optimizer.param_groups[0]["lr"])


def backward(system: System, config: LoopConfig, batches: Prefetch, step: int, processes: Processes) -> float:
    """Leaves the mean gradient over the step's batches, of all processes, in the network; returns their mean loss."""
    network = system.network.train()
    device = next(network.parameters()).device
    system.optimizer.zero_grad()
    total = torch.zeros((), device=device)
    count = config.batches_per_step
    for share in range(processes.rank, count, processes.count):
        batch = batches.next()
        torch.manual_seed(seed_of(config.seed, step * count + share))  # for dropout
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            loss = system.loss(batch) * (processes.count / count)
        refuse_unsafe_convolutions(loss)
        loss.backward()
        total += loss.detach()
    if processes.count > 1:
        for parameter in network.parameters():
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        processes.average_([total, *gradients, *network.buffers()])
    return float(total)


def seed_of(seed: tuple[int, ...], number: int) -> int:
    return int(np.random.SeedSequence((*seed, number)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def validated(run: Run, journal: Journal | None, processes: Processes) -> float:
    """The score of the weights that would be kept; the first process finds it for all."""
    system, score = run.system, math.nan
    if journal is not None and system.validate is not None:
        with evaluated(system) as network:
            score = system.validate(network)
            if system.picture is not None:
                journal.add_picture(run.step, system.picture(network))
    return processes.number_from_first(score)


@contextmanager
def evaluated(system: System) -> Iterator[nn.Module]:
    """The network in evaluation mode with the averaged weights, if they are averaged; as it was afterwards."""
    network, average = system.network, system.average
    own = {name: value.clone() for name, value in network.state_dict().items()}
    if average is not None:
        network.load_state_dict(average.weights)
    try:
        with torch.no_grad():
            yield network.eval()
    finally:
        network.load_state_dict(own)
        network.train()


class Clock:
    """When to save and to stop, and how long it will take."""

    def __init__(self, steps_to_do: int, sitting: Sitting) -> None:
        self.steps_to_do, self.sitting = steps_to_do, sitting
        self.started = self.saved = time.monotonic()
        self.steps_done = 0

    @property
    def elapsed_s(self) -> float:
        return max(1e-9, time.monotonic() - self.started)

    @property
    def is_up(self) -> bool:
        return self.elapsed_s >= self.sitting.minutes * 60

    def seconds_left(self) -> float:
        by_steps = self.elapsed_s / max(1, self.steps_done) * (self.steps_to_do - self.steps_done)
        return max(0.0, min(by_steps, self.sitting.minutes * 60 - self.elapsed_s))

    def is_time_to_save(self) -> bool:
        """Whether the next checkpoint is due; asking when it is winds the clock up again."""
        if time.monotonic() - self.saved < self.sitting.save_every_s:
            return False
        self.saved = time.monotonic()
        return True
