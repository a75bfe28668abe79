"""The group of four rotations: features move with the input, and the network's answer commutes with them exactly."""

from __future__ import annotations

import pytest
import torch

from ICHSegmentationLib.baselines.group_unet import (
    ORDER,
    GroupConvolution,
    GroupUNet,
    LiftingConvolution,
    rotate,
    rotate_features,
)

SPACING_MM = (0.5, 0.5, 5.0)
TURNS = range(1, ORDER)


def volume(channels: int, *size: int) -> torch.Tensor:
    return torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_half_turns_form_a_group() -> None:
    x = volume(1, 4, 5, 6)
    for g in range(ORDER):
        for h in range(ORDER):
            assert torch.equal(rotate(rotate(x, h), g), rotate(x, g ^ h))


def test_a_half_turn_about_z_reverses_x_and_y() -> None:
    x = torch.arange(8.0).view(2, 2, 2)
    assert torch.equal(rotate(x, 3), x[[1, 0]][:, [1, 0]])


@pytest.mark.parametrize("g", TURNS)
def test_lifting_turns_the_input_into_moved_channels(g: int) -> None:
    torch.manual_seed(0)
    lifting, x = LiftingConvolution(2, 3, 3).double(), volume(2, 6, 7, 5)
    lifted = lifting(x)  # [1, 3, group, 6, 7, 5]
    assert torch.allclose(lifting(rotate(x, g)), rotate_features(lifted, g), atol=1e-12)
    assert not torch.allclose(lifting(rotate(x, g)), rotate(lifted, g), atol=1e-3)  # turned alone is not enough


@pytest.mark.parametrize("g", TURNS)
def test_group_convolutions_commute_with_rotations_of_features(g: int) -> None:
    torch.manual_seed(0)
    convolution = GroupConvolution(2, 3, 3).double()
    features = volume(2 * ORDER, 6, 7, 5).unflatten(1, (2, ORDER))
    assert torch.allclose(
        convolution(rotate_features(features, g)), rotate_features(convolution(features), g), atol=1e-12
    )


@pytest.mark.parametrize("size", [(8, 8, 8), (13, 10, 7), (9, 11, 1)])
def test_the_networks_answer_turns_with_its_input(size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    network, x = GroupUNet(3, width=2, levels=3, diameter=3).double().eval(), volume(3, *size)
    with torch.no_grad():
        answer = network(x, SPACING_MM)
        assert answer.shape == (1, 1, *size)
        for g in TURNS:
            assert torch.allclose(network(rotate(x, g), SPACING_MM), rotate(answer, g), atol=1e-10)


def test_it_does_not_know_mirrors() -> None:
    torch.manual_seed(0)
    network, x = GroupUNet(1, width=2, levels=2, diameter=3).double().eval(), volume(1, 8, 8, 8)
    with torch.no_grad():
        assert not torch.allclose(network(x.flip(2), SPACING_MM), network(x, SPACING_MM).flip(2), atol=1e-3)


def test_an_untrained_network_holds_bleed_for_rare_and_can_answer_more() -> None:
    torch.manual_seed(0)
    network, x = GroupUNet(1, width=2, levels=2, diameter=3).double().eval(), volume(1, 8, 8, 8)
    with torch.no_grad():
        assert network(x, SPACING_MM).sigmoid().mean() < 0.1
        network.head.weight.fill_(4.0)
        assert network(x, SPACING_MM).sigmoid().max() > 0.9
