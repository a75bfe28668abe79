"""Number formats: what a processor computes wrongly is refused before it is computed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import SMALL
from torch import nn

from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.checkpoint import CHECKPOINT, System
from ICHSegmentationLib.training.loop import LoopConfig, train_system
from ICHSegmentationLib.training.precision import refuse_unsafe_convolutions
from ICHSegmentationLib.unet import EquivariantUNet


def cpu_has(instructions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ICHSegmentationLib.training.precision.cpu_capabilities", lambda: {instructions: True})


def loss_of(convolve: Callable[..., torch.Tensor], axes: int, dtype: torch.dtype) -> torch.Tensor:
    x, kernel = torch.randn(1, 1, *[5] * axes), torch.randn(1, 1, *[3] * axes, requires_grad=True)
    return torch.relu(convolve(x.to(dtype), kernel.to(dtype))).float().sum()


@pytest.mark.parametrize("convolve", [nn.functional.conv3d, nn.functional.conv_transpose3d])
def test_gradients_of_3d_kernels_in_bfloat16_are_refused_on_a_cpu_with_amx(
    convolve: Callable[..., torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu_has("amx_bf16", monkeypatch)
    with pytest.raises(InputError, match="3D convolutions, whose gradients in bfloat16 corrupt memory"):
        refuse_unsafe_convolutions(loss_of(convolve, 3, torch.bfloat16))
    refuse_unsafe_convolutions(loss_of(convolve, 3, torch.float32))
    refuse_unsafe_convolutions(loss_of(nn.functional.conv2d, 2, torch.bfloat16))
    cpu_has("avx512_bf16", monkeypatch)
    refuse_unsafe_convolutions(loss_of(convolve, 3, torch.bfloat16))


def test_our_own_network_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_has("amx_bf16", monkeypatch)
    logits = EquivariantUNet(SMALL)(torch.randn(1, 3, 12, 12, 6).to(torch.bfloat16), (1.0, 1.0, 2.0))
    refuse_unsafe_convolutions(logits.float().sum())


def test_a_system_that_would_corrupt_memory_is_not_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu_has("amx_bf16", monkeypatch)
    network = nn.Conv3d(1, 1, 3)
    optimizer = torch.optim.Adam(network.parameters())
    system = System(network, optimizer, lambda number: torch.zeros(1, 1, 5, 5, 5), lambda x: network(x).float().sum())
    with pytest.raises(InputError, match="the precision float32 or a GPU is wanted"):
        train_system(system, LoopConfig(1, precision="bfloat16"), {}, tmp_path)
    assert not (tmp_path / CHECKPOINT).exists()
    train_system(system, LoopConfig(1), {}, tmp_path)
    assert (tmp_path / CHECKPOINT).exists()
