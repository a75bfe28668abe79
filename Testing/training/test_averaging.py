"""The weight average."""

from __future__ import annotations

import torch
from helpers import small_network

from ICHSegmentationLib.training.averaging import WeightAverage


def test_the_weight_average_follows_its_formula_after_the_warm_up() -> None:
    network = small_network()
    average = WeightAverage(network, 0.1)
    average.steps = 10_000
    before = average.weights["bias"].clone()
    with torch.no_grad():
        network.bias.fill_(5.0)
    average.update(network)
    assert torch.allclose(average.weights["bias"], 0.9 * before + 0.1 * 5.0)


def test_the_weight_average_forgets_the_start() -> None:
    network = small_network()
    average = WeightAverage(network, 5e-5)
    with torch.no_grad():
        network.bias.fill_(1.0)
    for _ in range(200):
        average.update(network)
    assert float(average.weights["bias"]) > 0.99
