"""The loop: a run that was stopped, killed or shared among processes ends as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from programs import python, wait_until
from systems import Optimizer, tiny_system
from torch import nn

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.checkpoint import CHECKPOINT, Run, kept_weights
from ICHSegmentationLib.training.loop import LoopConfig, Progress, Sitting, own_numbers, train_system
from ICHSegmentationLib.training.precision import flushed_denormals
from ICHSegmentationLib.training.processes import Processes
from ICHSegmentationLib.training.tensor_file import load_tensors

PROGRAM = Path(__file__).with_name("systems.py")
RESUMED = Sitting(resume=True)

OPTIMIZERS = {
    "Adam": lambda network: torch.optim.Adam(network.parameters(), 1e-2),
    "Adadelta": lambda network: torch.optim.Adadelta(network.parameters(), 1.0),
    "SGD with momentum": lambda network: torch.optim.SGD(network.parameters(), 1e-2, momentum=0.9, nesterov=True),
    "plain SGD": lambda network: torch.optim.SGD(network.parameters(), 1e-2),
}


def assert_same(one: Run, other: Run) -> None:
    assert one.step == other.step
    for name, value in one.system.network.state_dict().items():
        assert torch.equal(value, other.system.network.state_dict()[name]), name
        assert torch.equal(one.kept_weights()[name], other.kept_weights()[name]), name


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
def test_each_optimiser_goes_on_as_if_it_had_not_been_stopped(optimizer: Optimizer, tmp_path: Path) -> None:
    whole = train_system(tiny_system(optimizer), LoopConfig(40), {}, tmp_path / "whole")
    for steps in (7, 8, 40):
        resumed = train_system(tiny_system(optimizer), LoopConfig(steps), {}, tmp_path / "stopped", RESUMED)
    assert_same(whole, resumed)


def test_another_seed_drops_other_features(tmp_path: Path) -> None:
    """So the test above can fail: what it compares rests on the random state of each step."""
    one = train_system(tiny_system(), LoopConfig(5, seed=(0,)), {}, tmp_path / "one")
    other = train_system(tiny_system(), LoopConfig(5, seed=(1,)), {}, tmp_path / "other")
    assert not torch.equal(one.system.network[0].weight, other.system.network[0].weight)


def test_threads_that_draw_ahead_change_nothing(tmp_path: Path) -> None:
    runs = [
        train_system(tiny_system(), LoopConfig(20), {}, tmp_path / str(threads), Sitting(threads=threads))
        for threads in (0, 1, 3)
    ]
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])


def test_a_run_that_is_killed_and_resumed_ends_the_same(tmp_path: Path) -> None:
    whole = train_system(tiny_system(), LoopConfig(60), {}, tmp_path / "whole")
    with python(PROGRAM, tmp_path / "killed", 60, 0.05, 1) as process:
        wait_until((tmp_path / "killed" / CHECKPOINT).exists, process)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        assert process.wait(10) == -signal.SIGKILL
    _, step = kept_weights(tmp_path / "killed")
    assert 0 < step < 60
    resumed = train_system(tiny_system(), LoopConfig(60), {}, tmp_path / "killed", RESUMED)
    assert_same(whole, resumed)
    rows = (tmp_path / "killed" / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "20", "40", "60"]


def test_sigterm_leaves_a_checkpoint_of_the_step_it_came_at(tmp_path: Path) -> None:
    def stop_at_five(progress: Progress) -> None:
        if progress.step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    run = train_system(tiny_system(), LoopConfig(40), {}, tmp_path / "run", Sitting(on_step=stop_at_five))
    assert signal.getsignal(signal.SIGTERM) is before
    assert (run.step, run.stopped_by_signal) == (5, True)
    assert kept_weights(tmp_path / "run")[1] == 5


def test_two_processes_go_on_with_what_one_began_and_end_where_one_would(tmp_path: Path) -> None:
    alone = train_system(tiny_system(dropout=0.0), LoopConfig(12, batches_per_step=4), {}, tmp_path / "alone")
    train_system(tiny_system(dropout=0.0), LoopConfig(5, batches_per_step=4), {}, tmp_path / "two")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(PROGRAM)]
    command = [*torchrun, str(tmp_path / "two"), "12", "0", "4", "smooth", "resume"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    weights, step = kept_weights(tmp_path / "two")
    assert step == 12
    for name, value in alone.kept_weights().items():
        assert torch.allclose(weights[name], value, rtol=1e-4, atol=1e-6), name


def test_processes_share_the_batches_of_a_step_evenly_or_not_at_all() -> None:
    config = LoopConfig(3, batches_per_step=4)
    shares = [list(own_numbers(config, 1, Processes(rank, 2, torch.device("cpu")))) for rank in (0, 1)]
    assert shares == [[4, 6, 8, 10], [5, 7, 9, 11]]
    with pytest.raises(InputError, match="3 processes cannot share 4 batches a step; a multiple of 3"):
        own_numbers(config, 0, Processes(0, 3, torch.device("cpu")))


def test_training_stops_when_patience_is_lost_and_keeps_the_best_weights(tmp_path: Path) -> None:
    scores = iter([0.1, 0.5, 0.4, 0.5, 0.3, 0.9])
    seen: list[torch.Tensor] = []

    def validate(network: nn.Module) -> float:
        assert not network.training
        assert not torch.is_grad_enabled()
        seen.append(network[0].weight.clone())
        return next(scores)

    system = tiny_system()
    system.validate = validate
    config = LoopConfig(1000, validate_every=4, patience=3)
    first = train_system(system, config, {}, tmp_path / "run", Sitting(on_step=None))
    assert (first.step, first.best_step, first.best_score) == (20, 8, 0.5)
    assert torch.equal(first.kept_weights()["0.weight"], seen[1])
    assert torch.equal(kept_weights(tmp_path / "run")[0]["0.weight"], seen[1])
    again = train_system(system, config, {}, tmp_path / "run", RESUMED)
    assert again.step == 20
    with_scores = [row for row in (tmp_path / "run" / "log.csv").read_text().splitlines()[1:] if row.split(",")[3]]
    assert [row.split(",")[0] for row in with_scores] == ["4", "8", "12", "16", "20"]


def test_a_validation_leaves_the_run_as_it_was(tmp_path: Path) -> None:
    plain = train_system(tiny_system(), LoopConfig(10), {}, tmp_path / "plain")
    system = tiny_system()
    system.validate = lambda network: float(torch.rand(()))
    assert_same(plain, train_system(system, LoopConfig(10, validate_every=3), {}, tmp_path / "validated"))


def test_a_folder_with_a_run_is_not_trained_in_without_resume(tmp_path: Path) -> None:
    train_system(tiny_system(), LoopConfig(2), {"depth": 1}, tmp_path)
    with pytest.raises(InputError, match="add --resume"):
        train_system(tiny_system(), LoopConfig(4), {"depth": 1}, tmp_path)
    with pytest.raises(InputError, match=r"another configuration \(depth\)"):
        train_system(tiny_system(), LoopConfig(4), {"depth": 2}, tmp_path, RESUMED)


def test_bfloat16_trains_about_as_float32_does(tmp_path: Path) -> None:
    losses: dict[str, list[float]] = {}
    for precision in ("float32", "bfloat16"):
        told: list[float] = []
        sitting = Sitting(on_step=lambda progress, told=told: told.append(progress.loss))
        train_system(tiny_system(), LoopConfig(30, precision=precision), {}, tmp_path / precision, sitting)
        losses[precision] = told
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.1)
    assert losses["bfloat16"] != losses["float32"]
    with pytest.raises(InputError, match="float32, bfloat16; found 'half'"):
        LoopConfig(30, precision="half")


def test_progress_tells_time_left_and_minutes_end_a_sitting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    told: list[Progress] = []
    system = tiny_system()
    batch, loss = system.batch, system.loss

    def slow_batch(number: int) -> object:
        now[0] += 3.0
        return batch(number)

    def slow_loss(*arguments: object) -> torch.Tensor:
        now[0] += 1.0
        return loss(*arguments)  # type: ignore[arg-type]

    system.batch, system.loss = slow_batch, slow_loss
    sitting = Sitting(minutes=1, threads=0, on_step=told.append)
    run = train_system(system, LoopConfig(100_000), {}, tmp_path, sitting)
    assert run.step == 15  # of four seconds
    assert [progress.seconds_left for progress in told[::7]] == pytest.approx([56, 28, 0])
    assert all(progress.waiting_share == pytest.approx(0.75) for progress in told)


def test_training_works_beside_the_main_thread(tmp_path: Path) -> None:
    """There signals cannot be listened to."""
    runs: list[Run] = []
    thread = threading.Thread(target=lambda: runs.append(train_system(tiny_system(), LoopConfig(2), {}, tmp_path)))
    thread.start()
    thread.join(30)
    assert runs[0].step == 2


def test_a_checkpoint_holds_no_more_than_it_needs(tmp_path: Path) -> None:
    train_system(tiny_system(average=False), LoopConfig(2), {}, tmp_path)
    tensors, _ = load_tensors(tmp_path / CHECKPOINT)
    assert {name.split("/")[0] for name in tensors} == {"network", "optimizer"}


def test_the_processor_counts_as_before_when_training_is_over() -> None:
    smallest = np.nextafter(0.0, 1.0)
    with flushed_denormals():
        assert smallest * np.float64(1) == 0
    assert smallest * np.float64(1) > 0
