"""What the networks run on: device, number format, memory, speed."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional

from ICHSegmentationLib.errors import DeviceError

BFLOAT16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16")
CPU_BUDGET_BYTES = 3 * 2**30  # the whole process then stays below 4 GiB


def pick_device(wanted: str) -> torch.device:
    """The device to run on; "auto" takes a CUDA GPU if there is one, else the CPU."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise DeviceError(f"the device must be auto, cpu, cuda, cuda:N or mps; found {wanted!r}.") from None
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"the device must be auto, cpu, cuda, cuda:N or mps; found {wanted!r}.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"{wanted} was asked for; this machine offers {torch.cuda.device_count()} CUDA devices.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("mps was asked for; this machine, or its torch, has none.")
    return device


def fastest_dtype(device: torch.device) -> torch.dtype:
    """Half precision where the device computes in it: any recent GPU, a CPU that has instructions for bfloat16.

    Asked of the hardware and not of a clock, so that a machine always gives the same result.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu" and any(cpu_capabilities().get(name) for name in BFLOAT16_INSTRUCTIONS):
        return torch.bfloat16
    return torch.float32


def cpu_capabilities() -> Mapping[str, Any]:
    """What torch knows of the CPU's instructions; nothing where an older torch cannot tell."""
    return torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}


@functools.lru_cache
def cpu_multiply_adds_per_second() -> float:
    """Multiply-adds a second of convolutions on this CPU, from a trial of some milliseconds."""
    side = 192
    return side * side * 32 * 32 * 9 / convolution_seconds(fastest_dtype(torch.device("cpu")), side)


def convolution_seconds(dtype: torch.dtype, side: int) -> float:
    """Best of three times of one small convolution on the CPU."""
    x = torch.zeros(1, 32, side, side, dtype=dtype).contiguous(memory_format=torch.channels_last)
    kernel = torch.zeros(32, 32, 3, 3, dtype=dtype)
    times = []
    with torch.inference_mode():
        for _ in range(4):
            started = time.perf_counter()
            functional.conv2d(x, kernel, padding=1)
            times.append(time.perf_counter() - started)
    return min(times[1:])


def memory_budget_bytes(device: torch.device) -> int:
    """What the networks may use: most of what a GPU has left, at most 3 GiB and half of what is free otherwise."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * 0.8)
    import psutil  # here, because training on lent machines must do without it

    return min(CPU_BUDGET_BYTES, psutil.virtual_memory().available // 2)


def describe(device: torch.device, dtype: torch.dtype) -> str:
    """The device in words, e.g. `cpu (2 threads, float32)`."""
    what = {"cuda": torch.cuda.get_device_name, "cpu": lambda _: f"{torch.get_num_threads()} threads"}
    described = f"{what[device.type](device)}, " if device.type in what else ""
    return f"{device} ({described}{str(dtype).removeprefix('torch.')})"
