"""An untrained network holds bleed for rare, however many classes it tells apart; trained weights load as they are."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from helpers import SMALL, small_network

from ICHSegmentationLib.training.beginning import RARE, RARE_LOGIT, untrained_network
from ICHSegmentationLib.training.loss import bleed_logit


@pytest.mark.parametrize("irreps_out", ["1x0e", "2x0e", "6x0e"])
def test_an_untrained_network_says_that_bleed_is_rare(irreps_out: str) -> None:
    torch.manual_seed(0)
    network = untrained_network(dataclasses.replace(SMALL, irreps_out=irreps_out)).eval()
    with torch.no_grad():
        answer = bleed_logit(network(torch.rand(1, 3, 16, 16, 8), (1.0, 1.0, 1.0))).sigmoid()
        assert RARE / 3 < answer.median() < 3 * RARE
        network.head.linear.weight.zero_()
        answer = bleed_logit(network(torch.rand(1, 3, 16, 16, 8), (1.0, 1.0, 1.0)))
    assert answer.unique().tolist() == pytest.approx([RARE_LOGIT], abs=1e-5)


def test_nothing_else_of_a_random_network_is_other_than_it_was() -> None:
    torch.manual_seed(3)
    begun, plain = untrained_network(SMALL).state_dict(), small_network(3).state_dict()
    assert {name for name, value in plain.items() if not torch.equal(begun[name], value)} == {"bias"}


def test_trained_weights_load_unchanged() -> None:
    trained = small_network(1)
    with torch.no_grad():
        trained.bias.fill_(0.7)
    network = untrained_network(SMALL)
    network.load_state_dict(trained.state_dict())
    x = torch.randn(1, 3, 8, 8, 4)
    assert torch.equal(network.eval()(x, (1.0, 1.0, 5.0)), trained(x, (1.0, 1.0, 5.0)))
