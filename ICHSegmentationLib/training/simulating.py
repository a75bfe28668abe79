"""Processes that simulate cases into a pool while a network is trained on those that are there."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.memory import keep_freed_memory
from ICHSegmentationLib.simulation.anatomy import Anatomy
from ICHSegmentationLib.training.pool import simulate_pool


def simulate_share(anatomies: list[Path], pool: Path, numbers: range, seed: int) -> None:
    """Simulates some of a pool's cases, on one thread, until all are there or the process that asked is gone."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked; it ends this one
    torch.set_num_threads(1)
    keep_freed_memory()
    parent = os.getppid()
    heads = [Anatomy.load(path) for path in anatomies]
    for _ in simulate_pool(heads, pool, numbers, seed):
        if os.getppid() != parent:
            return


class Simulators:
    """A few processes that share the cases 0 to `count` - 1 of a pool, the first ones first."""

    def __init__(self, anatomies: list[Path], pool: Path, count: int, seed: int, processes: int) -> None:
        context = multiprocessing.get_context("spawn")  # a fork of a process that computes on a GPU would not work
        self.workers = [
            context.Process(
                target=simulate_share,
                args=(anatomies, pool, range(first, count, processes), seed),
                name=f"simulator {first}",
                daemon=True,
            )
            for first in range(processes)
        ]

    def __enter__(self) -> Simulators:
        for worker in self.workers:
            worker.start()
        return self

    def check(self) -> None:
        """Raises if one of them failed: the cases of its share would be waited for in vain."""
        for worker in self.workers:
            if worker.exitcode:
                raise InputError(
                    f"the process {worker.name} of the simulation ended with code {worker.exitcode}; see its message "
                    "above. A full disk or too little memory are the usual reasons."
                )

    def __exit__(self, *error: object) -> None:
        for worker in self.workers:
            worker.terminate()
        for worker in self.workers:
            worker.join()
