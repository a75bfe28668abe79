"""The steerable convolution obeys its laws and equals e3nn's own."""

from __future__ import annotations

import math

import pytest
import torch
from e3nn import o3
from e3nn.nn.models.v2104.voxel_convolution import Convolution

from ICHSegmentationLib.convolution import (
    KernelShape,
    PointwiseLinear,
    VoxelConvolution,
    divisor,
    kernel_box,
    kernel_waist,
    rounded_spacing,
)
from ICHSegmentationLib.dense_convolution import (
    DenseConvolution,
    convolve,
    convolve_in_parts,
    is_small,
    is_wide_on_cpu,
    within_reach,
)

E3 = "0e+1o+2e"
MANY = "2x0e+1x0o+2x1o+1x1e+1x2e+1x2o"


def copy_weights(ours: VoxelConvolution, theirs: Convolution) -> None:
    self_connection = {f"self_connection.{name}": value for name, value in theirs.sc.state_dict().items()}
    ours.load_state_dict({"weight": theirs.weight, **self_connection})


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.43, 0.43, 5.0), (0.7, 1.1, 2.5)])
@pytest.mark.parametrize("irreps_sh", [E3, "0e+1e+2e", "0e+1o+2e+3o"])
def test_it_equals_the_convolution_of_e3nn(spacing: tuple[float, float, float], irreps_sh: str) -> None:
    torch.manual_seed(0)
    theirs = Convolution(MANY, MANY, o3.Irreps(irreps_sh), 5.0, 4, steps=spacing)
    ours = VoxelConvolution(MANY, MANY, irreps_sh, 5.0, 4)
    copy_weights(ours, theirs)
    x = torch.randn(2, theirs.irreps_in.dim, 9, 8, 7)
    expected = theirs(x).detach()
    assert torch.allclose(ours(x, spacing), expected, atol=1e-5 * float(expected.abs().max()))


def test_gradients_equal_those_of_e3nn() -> None:
    torch.manual_seed(0)
    theirs = Convolution(MANY, MANY, o3.Irreps(E3), 5.0, 3)
    ours = VoxelConvolution(MANY, MANY, E3, 5.0, 3)
    copy_weights(ours, theirs)
    x = torch.randn(1, theirs.irreps_in.dim, 6, 6, 6)
    target = torch.randn(1, theirs.irreps_out.dim, 6, 6, 6)
    (theirs(x) * target).sum().backward()
    (ours(x, (1.0, 1.0, 1.0)) * target).sum().backward()
    for a, b in ((ours.weight.grad, theirs.weight.grad), (ours.self_connection.weight.grad, theirs.sc.weight.grad)):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


def test_the_kernel_turns_with_its_features() -> None:
    """k(Ra) = D_out(R) k(a) D_in(R)^T for a rotation by 90 degrees and for a mirror."""
    convolution = VoxelConvolution(MANY, MANY, E3, 5.0, 3)
    kernel = convolution.kernel((1.0, 1.0, 1.0)).detach()
    for matrix, turned in (
        (torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), lambda k: k.flip(2).transpose(2, 3)),
        (torch.diag(torch.tensor([-1.0, 1.0, 1.0])), lambda k: k.flip(2)),
    ):
        d_in, d_out = (irreps.D_from_matrix(matrix) for irreps in (convolution.irreps_in, convolution.irreps_out))
        expected = torch.einsum("oi,ijxyz,jk->okxyz", d_out, kernel, d_in.T)
        assert torch.allclose(turned(kernel), expected, atol=1e-5)


def test_the_centre_tap_is_the_self_connection() -> None:
    convolution = VoxelConvolution("2x0e+1x1o", "3x0e+2x1o", E3, 5.0, 3)
    with torch.no_grad():
        convolution.weight.zero_()
    x = torch.randn(1, 5, 4, 4, 4)
    expected = convolution.self_connection(x.movedim(1, -1)).movedim(-1, 1)
    assert torch.allclose(convolution(x, (1.0, 1.0, 1.0)), expected, atol=1e-6)


def test_the_number_of_taps_follows_the_spacing_and_the_weights_do_not() -> None:
    convolution = VoxelConvolution("1x0e", "1x0e", E3, 5.0, 3)
    weights = {name: value.clone() for name, value in convolution.state_dict().items()}
    assert convolution.kernel((1.0, 1.0, 1.0)).shape[2:] == (5, 5, 5)
    assert convolution.kernel((0.43, 0.43, 5.0)).shape[2:] == (11, 11, 1)
    assert all(torch.equal(weights[name], value) for name, value in convolution.state_dict().items())


def test_taps_at_the_radius_are_dropped_and_the_result_is_the_same() -> None:
    assert kernel_box((2.5, 2.5, 2.5), KernelShape(5.0, 3)) == (1, 1, 1)
    assert kernel_box((1.0, 1.0, 5.0), KernelShape(10.0, 3)) == (9, 9, 1)


def test_the_z_reach_cuts_the_kernel_along_z_only() -> None:
    assert kernel_box((1.0, 1.0, 1.0), KernelShape(7.0, 3, z_reach_mm=1.0)) == (7, 7, 3)


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (1.0, 1.0, 5.0), (0.45, 0.45, 7.0)])
def test_an_integrated_kernel_has_the_same_sum_on_every_grid(spacing: tuple[float, float, float]) -> None:
    """The integral of the kernel does not depend on the voxels it is cut into."""
    torch.manual_seed(0)
    convolution = VoxelConvolution("1x0e", "1x0e", "0e", 4.0, 2, integral=True)
    with torch.no_grad():
        convolution.self_connection.weight.zero_()
    fine = float(convolution.kernel((0.25, 0.25, 0.25)).detach().sum())
    assert float(convolution.kernel(spacing).detach().sum()) == pytest.approx(fine, rel=0.05)


def test_an_integrated_kernel_is_a_sampled_one_where_voxels_are_small() -> None:
    torch.manual_seed(0)
    spacing = (0.25, 0.25, 0.25)
    integrated = VoxelConvolution("1x0e", "1x0e+1x1o", E3, 4.0, 2, integral=True)
    sampled = VoxelConvolution("1x0e", "1x0e+1x1o", E3, 4.0, 2)
    sampled.load_state_dict(integrated.state_dict())
    a, b = integrated.kernel(spacing).detach(), sampled.kernel(spacing).detach()
    inner = (slice(None), slice(None), *([slice(1, -1)] * 3))
    a = a if a.shape == b.shape else a[inner]
    a = a * divisor(spacing, integrated.shape) / divisor(spacing, sampled.shape)
    centre = [side // 2 for side in b.shape[2:]]
    a[:, :, centre[0], centre[1], centre[2]] = b[:, :, centre[0], centre[1], centre[2]]
    assert float((a - b).norm() / b.norm()) < 0.05


def test_a_diameter_of_zero_leaves_the_self_connection() -> None:
    convolution = VoxelConvolution("2x0e", "2x0e", E3, 0.0, 0)
    assert convolution.kernel((1.0, 1.0, 1.0)).shape == (2, 2, 1, 1, 1)


def test_an_integrated_kernel_does_not_jump_where_a_tap_comes_into_reach() -> None:
    """e3nn's count of taps does: the same weights would answer three times as strongly."""
    within, beyond = (1.0, 1.0, 2.4999), (1.0, 1.0, 2.5001)
    sampled, integrated = KernelShape(5.0, 3), KernelShape(5.0, 3, integral=True)
    assert divisor(within, sampled) == 3 * divisor(beyond, sampled)
    assert divisor(within, integrated) == pytest.approx(divisor(beyond, integrated), rel=1e-3)


def test_spacings_that_differ_in_the_last_digits_share_a_kernel() -> None:
    assert rounded_spacing((0.48828125, 0.4882812, 5.00000001)) == rounded_spacing((0.4882812, 0.488281, 5.0))


@pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, math.nan)])
def test_a_spacing_that_is_not_positive_is_refused(spacing: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="spacing must be positive"):
        VoxelConvolution("1x0e", "1x0e", E3, 5.0, 3).kernel(spacing)


def test_a_negative_diameter_is_refused() -> None:
    with pytest.raises(ValueError, match="diameter_mm must be 0 or more"):
        VoxelConvolution("1x0e", "1x0e", E3, -1.0, 3)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 5.0)])
def test_a_baked_convolution_is_the_same_map(spacing: tuple[float, float, float]) -> None:
    convolution = VoxelConvolution(MANY, MANY, E3, 5.0, 3)
    x = torch.randn(2, convolution.irreps_in.dim, 7, 6, 5)
    baked = convolution.bake(spacing)
    assert isinstance(baked, DenseConvolution)
    assert torch.allclose(baked(x), convolution(x, spacing), atol=1e-5)


def test_a_pointwise_linear_equals_the_linear_of_e3nn() -> None:
    linear = PointwiseLinear(MANY, "3x0e+1x2o")
    x = torch.randn(2, linear.linear.irreps_in.dim, 4, 3, 5)
    expected = linear.linear(x.movedim(1, -1)).movedim(-1, 1)
    assert torch.allclose(linear(x), expected, atol=1e-6)
    assert torch.allclose(linear.bake()(x), expected, atol=1e-6)


def test_a_flat_kernel_gives_the_same_in_two_and_three_dimensions() -> None:
    x, kernel = torch.randn(2, 3, 6, 7, 5), torch.randn(4, 3, 3, 5, 1)
    expected = torch.nn.functional.conv3d(x, kernel, padding=(1, 2, 0))
    assert torch.allclose(convolve(x, kernel), expected, atol=1e-5)


def test_a_kernel_made_for_inference_serves_training_too() -> None:
    convolution = VoxelConvolution("2x0e", "2x0e+1x1o", "0e+1o+2e", 7.3, 3)
    spacing = (0.913, 0.913, 4.7)  # of no other test, so that nothing is cached yet
    x = torch.rand(1, 2, 6, 6, 3)
    with torch.inference_mode():
        convolution(x, spacing)
    convolution(x, spacing).sum().backward()
    assert all(parameter.grad is not None for parameter in convolution.parameters() if parameter.numel())


def test_taps_that_meet_nothing_but_padding_are_left_out_and_change_nothing() -> None:
    torch.manual_seed(0)
    kernel = torch.randn(3, 2, 5, 5, 9)
    for size in ((6, 5, 1), (6, 5, 2), (1, 1, 4), (7, 7, 12)):
        x = torch.randn(1, 2, *size)
        expected = torch.nn.functional.conv3d(x, kernel, padding=(2, 2, 4))
        assert torch.allclose(convolve(x, kernel), expected, atol=1e-4)
    assert within_reach(kernel, torch.Size((6, 2, 1))).shape[2:] == (5, 3, 1)


@pytest.mark.parametrize("size", [(24, 20, 8), (12, 10, 4)])
def test_gradients_in_bfloat16_are_those_in_float32(size: tuple[int, int, int]) -> None:
    """oneDNN's own 3D weight gradient in bfloat16 corrupts memory on CPUs with AMX."""
    torch.manual_seed(0)
    x, kernel, target = torch.randn(2, 20, *size), torch.randn(20, 20, 5, 5, 3), torch.randn(2, 20, *size)
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        x_, kernel_ = (each.to(dtype).detach().clone().requires_grad_() for each in (x, kernel))
        (convolve(x_, kernel_) * target.to(dtype)).sum().backward()
        gradients.append((x_.grad.float(), kernel_.grad.float()))
    for exact, rounded in zip(*gradients, strict=True):
        assert float((exact - rounded).norm() / exact.norm()) < 0.02


@pytest.mark.parametrize("slices", [1, 2, 12])
@pytest.mark.parametrize(("spacing", "diameter"), [((3.2, 3.2, 5.0), 12.0), ((6.4, 6.4, 5.0), 24.0)])
def test_the_empty_half_of_an_integrated_kernels_box_may_be_left_out(
    spacing: tuple[float, float, float], diameter: float, slices: int
) -> None:
    torch.manual_seed(0)
    convolution = VoxelConvolution("3x0e+1x1o", "2x0e+1x2e", E3, diameter, 5, integral=True)
    waist = kernel_waist(spacing, convolution.shape)
    assert waist is not None
    kernel = convolution.kernel(spacing).detach().double()
    x = torch.randn(1, 6, 9, 8, slices, dtype=torch.float64)
    assert torch.allclose(convolve_in_parts(x, kernel, waist), convolve(x, kernel), atol=1e-12)
    assert convolution(x.float(), spacing).shape == (1, 7, 9, 8, slices)


def test_a_kernel_that_fills_its_box_has_no_waist() -> None:
    assert kernel_waist((1.0, 1.0, 5.0), KernelShape(12.0, 5, integral=True)) is None
    assert kernel_waist((3.0, 3.0, 3.0), KernelShape(0.0, 0)) is None


def test_a_small_volume_is_convolved_as_planes_with_the_same_result_and_gradient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    torch.manual_seed(0)
    x, kernel = torch.randn(1, 6, 7, 7, 4), torch.randn(5, 6, 3, 3, 5)
    assert is_small(x)
    found, expected = [], []
    for gradients, several in ((found, 1), (expected, 2)):  # two volumes at once are no small one
        at, taps = x.clone().requires_grad_(), kernel.clone().requires_grad_()
        out = convolve(at.expand(several, -1, -1, -1, -1), taps)
        out.square().sum().div(several).backward()
        gradients.extend([out[:1].detach(), at.grad, taps.grad])
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))


def test_a_wide_kernel_is_convolved_as_planes_with_the_same_result_and_gradient() -> None:
    torch.manual_seed(0)
    x, kernel = torch.randn(2, 6, 9, 9, 3), torch.randn(5, 6, 7, 5, 3)
    found, expected = [], []
    for gradients, convolved in (
        (found, convolve),
        (expected, lambda at, taps: torch.nn.functional.conv3d(at, taps, padding="same")),
    ):
        at, taps = x.clone().requires_grad_(), kernel.clone().requires_grad_()
        assert is_wide_on_cpu(at, taps)
        out = convolved(at, taps)
        out.square().sum().backward()
        gradients.extend([out.detach(), at.grad, taps.grad])
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max()))
