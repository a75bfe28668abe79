"""A tiny system to train: a linear rule with dropout, learned from noise, in milliseconds. Also a program."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ICHSegmentationLib.training.averaging import WeightAverage
from ICHSegmentationLib.training.checkpoint import System
from ICHSegmentationLib.training.loop import LoopConfig, Sitting, train_system

Optimizer = Callable[[nn.Module], torch.optim.Optimizer]


def adam(network: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), 1e-2)


def tiny_system(optimizer: Optimizer = adam, average: bool = True, dropout: float = 0.3) -> System:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 1))

    def batch(number: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.randn(16, 6, generator=torch.Generator().manual_seed(number))
        return x, x.sum(dim=1, keepdim=True)

    def loss(batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        x, y = batch
        return (network(x) - y).square().mean()

    return System(network, optimizer(network), batch, loss, average=WeightAverage(network, 0.01) if average else None)


def main(folder: str, steps: str, seconds_per_step: str, batches_per_step: str, *more: str) -> None:
    """Trains in a process of its own, to be killed, or under torchrun."""
    system = tiny_system(dropout=0.0 if "smooth" in more else 0.3)
    batch = system.batch

    def slow_batch(number: int) -> object:
        time.sleep(float(seconds_per_step))
        return batch(number)

    system.batch = slow_batch
    config = LoopConfig(int(steps), batches_per_step=int(batches_per_step))
    train_system(system, config, {}, Path(folder), Sitting("resume" in more, save_every_s=0.05))


if __name__ == "__main__":
    main(*sys.argv[1:])
