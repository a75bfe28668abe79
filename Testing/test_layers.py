"""Norm, gate, pooling, upsampling: equal to e3nn where it has them, and equivariant."""

from __future__ import annotations

import pytest
import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from torch.nn import functional

from ICHSegmentationLib.layers import (
    AveragePool,
    ChannelMoments,
    FixedNorm,
    Gate,
    InstanceNorm,
    MaxPoolByNorm,
    as_planes,
    as_stack,
    concatenate,
    from_planes,
    from_stack,
    measured_norms,
    upsample,
)

IRREPS = o3.Irreps("3x0e+2x0o+2x1o+1x1e+1x2e")


def features(*size: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, IRREPS.dim, *size) * 3 + 1


def test_views_of_planes_and_stacks_lead_back() -> None:
    x = features(5, 4, 3)
    assert torch.equal(from_planes(as_planes(x), 2), x)
    assert torch.equal(from_stack(as_stack(x)), x)


@pytest.mark.parametrize("size", [(6, 5, 4), (6, 5, 1), (1, 5, 4), (1, 1, 1)])
def test_moments_are_mean_and_mean_square(size: tuple[int, int, int]) -> None:
    x = features(*size)
    mean, square = ChannelMoments.apply(x)
    assert torch.allclose(mean.flatten(1), x.mean(dim=(2, 3, 4)), atol=1e-5)
    assert torch.allclose(square.flatten(1), x.pow(2).mean(dim=(2, 3, 4)), rtol=1e-4)


def test_gradients_of_moments_match_finite_differences() -> None:
    x = torch.randn(1, 2, 3, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: tuple(m.double() for m in ChannelMoments.apply(x)), (x,), eps=1e-2, atol=1e-2
    )


def test_instance_norm_equals_that_of_e3nn() -> None:
    x = features(6, 5, 4)
    ours, theirs = InstanceNorm(IRREPS, 1e-5), e3nn_nn.BatchNorm(IRREPS, eps=1e-5, instance=True)
    with torch.no_grad():
        ours.weight.copy_(torch.rand(IRREPS.num_irreps) + 0.5)
        ours.bias.copy_(torch.randn(3))
        theirs.weight.copy_(ours.weight)
        theirs.bias.copy_(ours.bias)
    expected = theirs(x.movedim(1, -1)).movedim(-1, 1)
    assert torch.allclose(ours(x), expected, atol=1e-4)


def test_without_gradients_instance_norm_overwrites_its_input_with_the_same_answer() -> None:
    x = features(6, 5, 4)
    norm = InstanceNorm(IRREPS, 1e-5)
    expected = norm(x.clone()).detach()
    with torch.no_grad():
        assert torch.allclose(norm(x), expected, atol=1e-6)


def test_a_fixed_norm_keeps_what_it_measured_and_minds_nothing_else_in_view() -> None:
    x, other = features(6, 5, 4), features(6, 5, 4) * 7 - 3
    fixed, instance = FixedNorm(IRREPS, 1e-5), InstanceNorm(IRREPS, 1e-5)
    with measured_norms(fixed):
        assert torch.equal(fixed(x[:1]), instance(x[:1]))
    assert torch.equal(fixed(x[:1]), instance(x[:1]))
    crop = other[:, :, 2:5, 1:3, :2]
    assert torch.equal(fixed(crop), fixed(other)[:, :, 2:5, 1:3, :2])
    assert not torch.allclose(instance(crop), instance(other)[:, :, 2:5, 1:3, :2], atol=0.1)


def test_a_fixed_norm_that_measured_several_volumes_keeps_their_mean() -> None:
    x = features(6, 5, 4)
    fixed = FixedNorm(IRREPS, 1e-5)
    with measured_norms(fixed):
        fixed(x[:1])
        fixed(x[1:] * 3)
    expected = (x[0].mean(dim=(1, 2, 3)) + 3 * x[1].mean(dim=(1, 2, 3))) / 2
    assert torch.allclose(fixed.fixed_mean[:3], expected[:3], atol=1e-4)
    assert (fixed.fixed_mean[3:] == 0).all()  # odd scalars and vectors have no mean to take off


def test_a_fixed_norm_that_saw_nothing_is_as_it_was() -> None:
    fixed = FixedNorm(IRREPS, 1e-5)
    with measured_norms(fixed):
        pass
    assert (fixed.fixed_variance == 1).all()
    assert (fixed.fixed_mean == 0).all()


def test_the_mean_norm_variant_divides_vectors_by_their_mean_norm() -> None:
    x = features(6, 5, 4)
    y = InstanceNorm(IRREPS, 1e-8, mean_norm=True)(x).detach()
    vector = IRREPS.slices()[2].start
    assert y[:, vector : vector + 3].norm(dim=1).mean(dim=(1, 2, 3)).tolist() == pytest.approx([1.0, 1.0], abs=1e-3)


def test_gate_equals_that_of_e3nn() -> None:
    ours = Gate("3x0e+2x1o+1x2e", functional.gelu, torch.sigmoid)
    theirs = e3nn_nn.Gate("3x0e", [functional.gelu], "3x0e", [torch.sigmoid], "2x1o+1x2e")
    assert ours.irreps_in.dim == theirs.irreps_in.dim
    x = torch.randn(2, ours.irreps_in.dim, 4, 3, 5)
    expected = theirs(x.movedim(1, -1)).movedim(-1, 1)
    assert torch.allclose(ours(x), expected, atol=1e-5)


def test_odd_scalars_keep_their_sign() -> None:
    gate = Gate("2x0e+2x0o", functional.gelu, torch.sigmoid)
    x = torch.randn(1, 4, 3, 3, 3)
    mirrored = x * torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None, None, None]
    assert torch.allclose(gate(mirrored)[:, 2:], -gate(x)[:, 2:], atol=1e-6)
    assert torch.allclose(gate(mirrored)[:, :2], gate(x)[:, :2])


def test_a_gate_of_scalars_alone_has_no_gates() -> None:
    gate = Gate("4x0e", torch.relu, torch.sigmoid)
    assert gate.irreps_in == o3.Irreps("4x0e")
    assert gate(torch.randn(1, 4, 2, 2, 2)).shape == (1, 4, 2, 2, 2)


def test_a_gate_wants_its_scalars_first() -> None:
    with pytest.raises(ValueError, match="scalars first"):
        Gate("1x1o+2x0e", torch.relu, torch.sigmoid)


@pytest.mark.parametrize("size", [(8, 6, 4), (7, 9, 5), (3, 1, 1)])
@pytest.mark.parametrize("factors", [(2, 2, 1), (2, 2, 2), (3, 2, 1)])
def test_average_pooling_commutes_with_mirrors_at_any_size(
    size: tuple[int, ...], factors: tuple[int, int, int]
) -> None:
    x, pool = features(*size), AveragePool()
    for axis in (2, 3, 4):
        assert torch.allclose(pool(x.flip(axis), factors), pool(x, factors).flip(axis), atol=1e-6)


def test_average_pooling_of_whole_blocks_is_their_mean() -> None:
    x = features(4, 6, 2)
    assert torch.allclose(AveragePool()(x, (2, 3, 1)), functional.avg_pool3d(x, (2, 3, 1)), atol=1e-6)


def test_max_pooling_keeps_the_longest_vector_whole() -> None:
    x = torch.zeros(1, 3, 2, 2, 1)
    x[0, :, 0, 1, 0] = torch.tensor([1.0, -2.0, 0.5])
    x[0, :, 1, 1, 0] = torch.tensor([0.0, 1.0, 0.0])
    assert MaxPoolByNorm("1x1o")(x, (2, 2, 1)).flatten().tolist() == [1.0, -2.0, 0.5]


def test_max_pooling_takes_the_largest_even_scalar_and_the_strongest_odd_one() -> None:
    x = torch.tensor([1.0, -3.0]).view(1, 1, 2, 1, 1)
    assert MaxPoolByNorm("1x0e")(x, (2, 1, 1)).item() == 1.0
    assert MaxPoolByNorm("1x0o")(x, (2, 1, 1)).item() == -3.0


@pytest.mark.parametrize("size", [(7, 6, 3), (8, 9, 6)])
def test_upsampling_is_trilinear(size: tuple[int, int, int]) -> None:
    x = features(4, 3, 3)
    expected = functional.interpolate(x, size, mode="trilinear", align_corners=False)
    assert torch.allclose(upsample(x, size), expected, atol=1e-5)


def test_concatenation_puts_features_side_by_side() -> None:
    x, y = features(3, 4, 2), features(3, 4, 2) * 2
    assert torch.equal(concatenate(x, y), torch.cat([x, y], dim=1))
