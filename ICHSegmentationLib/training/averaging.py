"""The running average of the weights that the trained member is."""

from __future__ import annotations

import torch
from torch import nn


class WeightAverage:
    """w~ <- (1 - e) w~ + e w after every step, with e = max(`epsilon`, 1 / (1 + steps / 10)).

    The average of Geiger et al. (2022) has e = 5e-5 throughout. Ours forgets faster: its e falls to 5e-5 after
    199,990 steps only, the last of their training, and until then the average is mainly of the last tenth of the
    steps. So random weights have no part in the result of a short training either, but it is not the paper's.
    """

    def __init__(self, network: nn.Module, epsilon: float) -> None:
        self.epsilon = epsilon
        self.steps = 0
        self.weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        self.steps += 1
        epsilon = max(self.epsilon, 1 / (1 + self.steps / 10))
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, epsilon)

    def state_dict(self) -> dict[str, object]:
        return {"steps": self.steps, "weights": self.weights}

    def load_state_dict(self, state: dict) -> None:
        self.steps, self.weights = state["steps"], state["weights"]
