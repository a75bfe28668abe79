"""Girona's network: its gates, its sizes."""

from __future__ import annotations

import pytest
import torch

from ICHSegmentationLib.baselines.se_unet import SqueezeExcitation, SqueezeExcitationUNet

SPACING_MM = (0.5, 0.5, 5.0)


def test_gates_are_one_number_a_channel_between_0_and_1() -> None:
    torch.manual_seed(0)
    block, x = SqueezeExcitation(8, reduction=4), torch.randn(2, 8, 3, 4, 5)
    gates = block.gates(x).detach()
    assert gates.shape == (2, 8)
    assert 0 < float(gates.min()) < float(gates.max()) < 1
    assert torch.allclose(block(x), x * gates.view(2, 8, 1, 1, 1))


def test_gates_depend_on_the_channels_means_alone() -> None:
    torch.manual_seed(0)
    block, x = SqueezeExcitation(4, reduction=2), torch.randn(1, 4, 6, 6, 6)
    shuffled = x.flip(2).roll(2, dims=3)
    assert torch.allclose(block.gates(x), block.gates(shuffled), atol=1e-6)
    assert not torch.allclose(block.gates(x), block.gates(x + 1.0))


def test_a_closed_gate_silences_its_channel() -> None:
    block, x = SqueezeExcitation(3, reduction=1), torch.ones(1, 3, 2, 2, 2)
    torch.nn.init.zeros_(block.excite.weight)
    with torch.no_grad():
        block.excite.bias.copy_(torch.tensor([-50.0, 0.0, 50.0]))
    assert torch.allclose(block(x)[0, :, 0, 0, 0], torch.tensor([0.0, 0.5, 1.0]), atol=1e-6)


def test_every_encoder_level_has_gates_and_single_convolutions() -> None:
    network = SqueezeExcitationUNet(1)
    assert [gates.excite.out_features for gates in network.gates] == [32, 64, 128, 256]
    assert [tuple(layer.weight.shape[:2]) for layer in network.encoder] == [(32, 1), (64, 32), (128, 64), (256, 128)]
    assert all(layer.kernel_size == (3, 3, 3) for layer in [*network.encoder, *network.decoder])
    assert all(layer.kernel_size == layer.stride == (2, 2, 2) for layer in network.up)


@pytest.mark.parametrize("size", [(48, 48, 16), (17, 30, 5), (9, 8, 1)])
def test_any_size_goes_in_and_comes_out(size: tuple[int, int, int]) -> None:
    network = SqueezeExcitationUNet(2, width=2).eval()
    assert network(torch.randn(1, 2, *size), SPACING_MM).shape == (1, 1, *size)
