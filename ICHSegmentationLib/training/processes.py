"""The processes that train one network together, started by `torchrun`; without it there is one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed

LONGEST_WAIT = timedelta(hours=12)  # for each other: the first process prepares cases alone, which may take hours


@dataclass(frozen=True)
class Processes:
    """Which of how many this process is, and what they do together. One process alone has nobody to ask."""

    rank: int
    count: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this one writes files and prints."""
        return self.rank == 0

    def average_(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replaces each floating tensor by its mean over the processes."""
        found = [tensor for tensor in tensors if tensor.is_floating_point()]
        if self.count == 1 or not found:
            return
        flat = torch.cat([tensor.detach().flatten().float() for tensor in found])
        distributed.all_reduce(flat)
        flat /= self.count
        for tensor, mean in zip(found, flat.split([tensor.numel() for tensor in found]), strict=True):
            tensor.detach().copy_(mean.view_as(tensor))

    def from_first_(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replaces each tensor by the first process's."""
        if self.count > 1:
            for tensor in tensors:
                distributed.broadcast(tensor.detach(), 0)

    def number_from_first(self, number: float) -> float:
        """The first process's number."""
        if self.count == 1:
            return number
        shared = torch.tensor(number, dtype=torch.float64, device=self.device)
        distributed.broadcast(shared, 0)
        return float(shared)

    def wait(self) -> None:
        """Returns when all processes have come here."""
        self.any(False)

    def any(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        if self.count == 1:
            return flag
        shared = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(shared, distributed.ReduceOp.MAX)
        return bool(shared)


def started_together() -> int:
    """How many processes `torchrun` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def own_device(device: torch.device) -> torch.device:
    """The device of this process: each takes the GPU of its number on this machine."""
    if device.type == "cuda" and started_together() > 1:
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return device


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Joins the other processes that `torchrun` started (over NCCL on GPUs, over gloo elsewhere), and leaves them.

    Who has joined may join again: then only the outermost leaves.
    """
    if started_together() == 1:
        yield Processes(0, 1, device)
        return
    if distributed.is_initialized():
        yield Processes(distributed.get_rank(), distributed.get_world_size(), device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), device)
    finally:
        distributed.destroy_process_group()
