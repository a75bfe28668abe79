"""Number formats that a network is trained in, and what processors make of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from ICHSegmentationLib.devices import cpu_capabilities
from ICHSegmentationLib.errors import InputError

PRECISIONS = ("float32", "bfloat16")


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Vanishing gradients of certain voxels would make CPU steps four times slower.

    The processor's setting is given back: with it, SciPy's KDTree recurses without end.
    """
    were_flushed = bool(np.nextafter(0.0, 1.0) * np.float64(1) == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(were_flushed)


def refuse_unsafe_convolutions(loss: torch.Tensor) -> None:
    """Looks through what led to a loss for what must not be differentiated on this processor.

    oneDNN's gradient of 3D kernels in bfloat16 writes beyond its memory on CPUs with AMX (seen with torch 2.13, for
    some sizes); without oneDNN it takes 10 to 100 times as long. `convolution.convolve` makes do with 2D kernels.

    Raises:
        InputError: there is such a convolution.
    """
    if loss.device.type != "cpu" or not cpu_capabilities().get("amx_bf16"):
        return
    nodes, seen = [loss.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [earlier for earlier, _ in node.next_functions]
        if node.name() != "ConvolutionBackward0":
            continue
        kernel = node._saved_weight  # type: ignore[attr-defined]
        if kernel.dtype == torch.bfloat16 and kernel.dim() == 5:
            raise InputError(
                "the network has ordinary 3D convolutions, whose gradients in bfloat16 corrupt memory on this CPU "
                "(with AMX); the precision float32 or a GPU is wanted."
            )
