"""Devices are named, found or refused."""

from __future__ import annotations

import pytest
import torch

from ICHSegmentationLib.devices import (
    CPU_BUDGET_BYTES,
    cpu_multiply_adds_per_second,
    describe,
    fastest_dtype,
    memory_budget_bytes,
    pick_device,
)
from ICHSegmentationLib.errors import DeviceError

CPU = torch.device("cpu")


def test_auto_takes_a_gpu_if_there_is_one() -> None:
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.parametrize("wanted", ["tpu", "gpu", "cuda:x", "meta", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(wanted: str) -> None:
    with pytest.raises(DeviceError, match=r"found|asked for"):
        pick_device(wanted)


@pytest.mark.parametrize(
    ("capabilities", "dtype"),
    [
        ({"avx2": True, "avx512_bf16": False}, torch.float32),
        ({"avx2": True, "avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({}, torch.float32),
    ],
)
def test_a_cpu_runs_in_half_precision_only_if_it_has_the_instructions(
    capabilities: dict[str, bool], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ICHSegmentationLib.devices.cpu_capabilities", lambda: capabilities)
    assert fastest_dtype(CPU) == dtype


def test_the_cpu_at_hand_is_known() -> None:
    assert fastest_dtype(CPU) in (torch.float32, torch.bfloat16)


def test_the_budget_of_a_cpu_is_bounded() -> None:
    assert 0 < memory_budget_bytes(CPU) <= CPU_BUDGET_BYTES


def test_the_device_is_described_in_words() -> None:
    assert describe(CPU, torch.float32) == f"cpu ({torch.get_num_threads()} threads, float32)"


def test_a_trial_says_how_fast_the_cpu_is() -> None:
    assert cpu_multiply_adds_per_second() > 1e8


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here")
def test_a_gpu_runs_in_half_precision() -> None:
    assert fastest_dtype(torch.device("cuda")) in (torch.bfloat16, torch.float16)
