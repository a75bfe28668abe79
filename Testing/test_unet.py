"""The U-Net turns with its input, does not care about the spacing of the grid, and bakes to an ordinary CNN."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from e3nn import o3
from helpers import SMALL, small_network

from ICHSegmentationLib.convolution import Spacing
from ICHSegmentationLib.layers import FixedNorm, measured_norms
from ICHSegmentationLib.unet import PRESETS, EquivariantUNet, UNetConfig

ISOTROPIC = (1.0, 1.0, 1.0)
# compact with less width, so that all laws are checked on its own shape in seconds
NARROW = dataclasses.replace(
    PRESETS["compact"],
    irreps_levels=("3x0e+1x1o+1x2e", "4x0e+2x1o+1x2e", "4x0e+2x1o+1x2e", "4x0e+2x1o+1x2e"),
)


def rotations(mirrors: bool) -> list[np.ndarray]:
    """The 24 rotations of the cube, or its 48 symmetries, as matrices."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            for row, (column, sign) in enumerate(zip(order, signs, strict=True)):
                matrix[row, column] = sign
            if mirrors or np.linalg.det(matrix) > 0:
                found.append(matrix)
    return found


def turned(x: torch.Tensor, matrix: np.ndarray, irreps: o3.Irreps) -> torch.Tensor:
    """The field x [batch, irreps.dim, x, y, z] turned by a signed permutation: (Rf)(Ra) = D(R) f(a)."""
    columns = np.abs(matrix).argmax(axis=1)  # new axis i comes from old axis columns[i]
    moved = x.permute(0, 1, *(2 + int(column) for column in columns))
    moved = moved.flip([2 + axis for axis in range(3) if matrix[axis, columns[axis]] < 0])
    return torch.einsum("ij,bjxyz->bixyz", irreps.D_from_matrix(torch.tensor(matrix, dtype=torch.float32)), moved)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).detach().norm() / expected.detach().norm())


def assert_commutes(
    network: EquivariantUNet, x: torch.Tensor, matrices: Sequence[np.ndarray], spacing: Spacing = ISOTROPIC
) -> None:
    """Turning the input turns the output."""
    with torch.no_grad():
        expected = network(x, spacing)
        for matrix in matrices:
            found = network(turned(x, matrix, network.irreps_in), spacing)
            assert relative_error(found, turned(expected, matrix, network.irreps_out)) < 1e-4


@pytest.mark.parametrize("size", [(12, 12, 12), (13, 11, 12)])
def test_all_rotations_and_mirrors_commute_with_an_e3_network_on_an_isotropic_grid(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = EquivariantUNet(NARROW).eval()
    x = torch.randn(1, 3, *size)
    assert_commutes(network, x, rotations(mirrors=True))


def test_rotations_commute_with_an_se3_network_and_mirrors_do_not() -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(PRESETS["melba2024"], irreps_levels=("4x0e+2x1e+1x2e",) * 4)
    network = EquivariantUNet(config).eval()
    x = torch.randn(1, 3, 10, 10, 10)
    assert_commutes(network, x, rotations(mirrors=False))
    with torch.no_grad():
        expected, mirror = network(x, ISOTROPIC), np.diag([-1.0, 1.0, 1.0])
        found = network(turned(x, mirror, network.irreps_in), ISOTROPIC)
        assert relative_error(found, turned(expected, mirror, network.irreps_out)) > 1e-2


@pytest.mark.parametrize("size", [(16, 16, 5), (15, 13, 4), (9, 9, 1)])
def test_in_plane_rotations_and_mirrors_commute_on_thick_slices(size: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = EquivariantUNet(NARROW).eval()
    spacing = (0.9, 0.9, 5.0)
    x = torch.randn(1, 3, *size)
    assert_commutes(network, x, [matrix for matrix in rotations(mirrors=True) if abs(matrix[2, 2]) == 1], spacing)


def test_vector_and_tensor_outputs_turn_as_they_should() -> None:
    network = small_network(irreps_out="1x0e+1x0o+1x1o+1x1e+1x2e")
    x = torch.randn(1, 3, 8, 9, 10)
    assert_commutes(network, x, rotations(mirrors=True))


def test_vectors_may_go_in() -> None:
    network = small_network(irreps_in="1x0e+1x1o")
    x = torch.randn(1, 4, 8, 8, 8)
    assert_commutes(network, x, rotations(mirrors=True)[::5])


def test_the_same_content_on_two_spacings_gives_the_same_field() -> None:
    """A smooth field on pixels of 0.5 and of 1 mm: the answers of compact differ by a few per cent.

    Sampling the same kernels at voxel centres instead of integrating them makes that more than a third.
    """

    def network(integral: bool) -> EquivariantUNet:
        torch.manual_seed(0)
        return EquivariantUNet(dataclasses.replace(NARROW, integral_kernels=integral)).eval()

    def sampled(step: float) -> torch.Tensor:
        size = (round(48 / step), round(48 / step), 4)
        x, y = ((torch.arange(n) + 0.5) * step for n in size[:2])
        waves = torch.sin(x[:, None] / 5) * torch.cos(y[None] / 7)
        return torch.stack([waves, waves**2, waves**3]).unsqueeze(-1).expand(-1, -1, -1, size[2])[None]

    def difference(network: EquivariantUNet) -> float:
        with torch.no_grad():
            coarse = network(sampled(1.0), (1.0, 1.0, 5.0))
            fine = network(sampled(0.5), (0.5, 0.5, 5.0))
        merged = torch.nn.functional.avg_pool3d(fine, (2, 2, 1))
        inner = (slice(None), slice(None), slice(8, -8), slice(8, -8))
        return relative_error(merged[inner], coarse[inner])

    assert difference(network(integral=True)) < 0.06
    assert difference(network(integral=False)) > 0.3


@pytest.mark.parametrize("name", ["compact", "melba2024"])
def test_gradients_of_presets_are_finite_and_reach_every_weight(name: str) -> None:
    torch.manual_seed(0)
    network = EquivariantUNet(PRESETS[name])
    network(torch.randn(1, 3, 16, 16, 3), (1.0, 1.0, 5.0)).square().mean().backward()
    for parameter in network.parameters():
        if parameter.numel():
            assert parameter.grad is not None
            assert bool(torch.isfinite(parameter.grad).all())


def test_a_constant_volume_gives_a_finite_answer() -> None:
    with torch.no_grad():
        assert bool(torch.isfinite(small_network()(torch.zeros(1, 3, 8, 8, 2), (1.0, 1.0, 5.0))).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inference_stays_close(dtype: torch.dtype) -> None:
    network = small_network()
    x = torch.rand(1, 3, 16, 16, 3)
    with torch.no_grad():
        baked = network.bake((1.0, 1.0, 5.0))
        expected = torch.sigmoid(baked(x))
        found = torch.sigmoid(baked.to(dtype)(x.to(dtype)).float())
    assert float((found - expected).abs().mean()) < 1e-2


@pytest.mark.parametrize("name", ["compact", "melba2024"])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 5.0), (1.0, 1.0, 2.0)])
def test_a_baked_network_gives_the_same_answer(name: str, spacing: tuple[float, float, float]) -> None:
    torch.manual_seed(0)
    network = EquivariantUNet(PRESETS[name]).eval()
    x = torch.rand(1, 3, 19, 17, 4)
    with torch.no_grad():
        expected = network(x, spacing)
        assert relative_error(network.bake(spacing)(x), expected) < 1e-4


def with_measured_norms(seed: int = 0, **changes: object) -> EquivariantUNet:
    """A small network of fixed norms that have seen something."""
    network = small_network(seed, norm="fixed", **changes)
    torch.manual_seed(seed + 1)
    with torch.no_grad(), measured_norms(network):
        network(torch.randn(1, 3, 20, 18, 4) * 2 + 1, (1.0, 1.0, 5.0))
    return network


def test_fixed_norms_go_into_the_kernels_of_a_baked_network() -> None:
    network = with_measured_norms()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
        x, spacing = torch.rand(1, 3, 19, 17, 4), (1.0, 1.0, 5.0)
        baked = network.bake(spacing)
        assert relative_error(baked(x), network(x, spacing)) < 1e-4
    assert not any(isinstance(module, FixedNorm) for module in baked.modules())


def test_with_fixed_norms_what_lies_out_of_reach_changes_nothing() -> None:
    x = torch.rand(1, 3, 48, 44, 8)
    other = x.clone()
    other[:, :, :20] = 7.0
    spacing = (1.0, 1.0, 5.0)
    with torch.no_grad():
        difference = {
            network.config.norm: (network(x, spacing) - network(other, spacing))[:, :, 36:].abs().max()
            for network in (with_measured_norms(), small_network())
        }
    assert float(difference["fixed"]) == 0
    assert float(difference["instance"]) > 0.1


def test_rotations_and_mirrors_commute_with_fixed_norms() -> None:
    network = with_measured_norms()
    x = torch.randn(1, 3, 9, 10, 8)
    assert_commutes(network, x, rotations(mirrors=True)[::5])


def test_a_baked_network_holds_no_e3nn_modules_and_leaves_the_original_alone() -> None:
    network = small_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    baked = network.bake((1.0, 1.0, 5.0))
    assert not any(type(module).__module__.startswith("e3nn.o3") for module in baked.modules())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_baked_network_can_be_exported_with_torch_export() -> None:
    baked = small_network().bake((1.0, 1.0, 5.0))
    x = torch.rand(1, 3, 12, 10, 3)
    with torch.no_grad():
        exported = torch.export.export(baked, (x,))
        assert torch.allclose(exported.module()(x), baked(x), atol=1e-4)


@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_a_baked_network_runs_in_onnxruntime(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (the [dev] extra has it)")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (the [dev] extra has it)")
    baked = small_network().bake((1.0, 1.0, 5.0))
    x = torch.rand(1, 3, 12, 10, 3)
    with torch.no_grad():
        torch.onnx.export(baked, (x,), str(tmp_path / "network.onnx"), input_names=["x"], dynamo=True, verbose=False)
        expected = baked(x)
    session = onnxruntime.InferenceSession(str(tmp_path / "network.onnx"))
    (found,) = session.run(None, {"x": x.numpy()})
    assert np.allclose(found, expected.numpy(), atol=1e-4)


def test_a_configuration_survives_json() -> None:
    for config in PRESETS.values():
        assert UNetConfig.from_json(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_a_setting_of_another_version_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'dropout'"):
        UNetConfig.from_json({**dataclasses.asdict(SMALL), "dropout": 0.1})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"diameters_mm": (5.0,)}, "diameters_mm must have 2 entries"),
        ({"pool": "stride"}, "pool must be one of"),
        ({"norm": "batch"}, "norm must be one of"),
        ({"activation": "swish"}, "activation must be one of"),
    ],
)
def test_a_wrong_configuration_is_refused_with_what_is_wanted(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(SMALL, **changes)


def test_input_of_the_wrong_shape_is_refused_with_what_is_wanted() -> None:
    with pytest.raises(ValueError, match=r"\[batch, 3, x, y, z\]"):
        small_network()(torch.zeros(1, 2, 8, 8, 2), ISOTROPIC)


def test_presets_have_the_sizes_that_the_papers_and_our_floor_ask_for() -> None:
    millions = {name: sum(p.numel() for p in EquivariantUNet(PRESETS[name]).parameters()) / 1e6 for name in PRESETS}
    assert millions["instance2022"] == pytest.approx(4.8, rel=0.02)
    assert millions["melba2024"] == pytest.approx(0.38, rel=0.02)
    assert 8 * millions["compact"] * 2 < 12  # megabytes of eight members in float16


def test_pooling_follows_physical_size() -> None:
    config = PRESETS["instance2022"]
    assert config.pool_factors((0.43, 0.43, 5.0)) == [(4, 4, 1), (2, 2, 1), (2, 2, 1)]
    assert config.pool_factors((1.0, 1.0, 1.0)) == [(2, 2, 2)] * 3


def test_multiply_adds_are_those_of_the_dense_kernels() -> None:
    network = small_network()
    spacing, size = (1.0, 1.0, 5.0), (8, 8, 3)
    baked = network.bake(spacing)
    counted = 0

    def count(module: torch.nn.Module, arguments: tuple, output: torch.Tensor) -> None:
        nonlocal counted
        counted += module.weight.numel() * output[0, 0].numel()

    for module in baked.modules():
        if type(module).__name__ == "DenseConvolution":
            module.register_forward_hook(count)
    with torch.no_grad():
        baked(torch.zeros(1, 3, *size))
    assert network.multiply_adds(size, spacing) == counted
