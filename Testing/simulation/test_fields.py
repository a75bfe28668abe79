"""Random fields and filters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from ICHSegmentationLib.simulation.fields import axis_coordinates_mm, blur, filter_axis, length, resize, smooth_noise

CPU = torch.device("cpu")


def test_noise_follows_its_seed_has_about_unit_variance_and_is_smooth() -> None:
    noise = smooth_noise(1, (40, 50, 30), (1.0, 1.0, 1.0), 12.0, CPU)
    assert torch.equal(noise, smooth_noise(1, (40, 50, 30), (1.0, 1.0, 1.0), 12.0, CPU))
    assert float(noise.std()) == pytest.approx(1, abs=0.05)
    assert float((noise[1:] - noise[:-1]).abs().mean()) < 0.3


def test_noise_of_one_voxel_is_a_number() -> None:
    assert float(smooth_noise(1, (1, 1, 1), (1.0, 1.0, 1.0), 12.0, CPU)) == 0


def test_blur_keeps_constants_and_sums() -> None:
    assert torch.allclose(blur(torch.full((5, 6, 7), 3.0), (1.0, 2.0, 0.0)), torch.full((5, 6, 7), 3.0), atol=1e-5)
    spike = torch.zeros(21, 21, 5)
    spike[10, 10, 2] = 1
    assert float(blur(spike, (1.0, 1.0, 0.0)).sum()) == pytest.approx(1, abs=1e-5)
    assert float(blur(spike, (1.0, 1.0, 0.0))[:, :, 1].sum()) == 0


def test_resizing_goes_from_corner_to_corner() -> None:
    field = torch.arange(8.0).view(2, 2, 2)
    large = resize(field, (5, 5, 5))
    assert large[0, 0, 0] == 0
    assert large[-1, -1, -1] == 7


def test_a_filter_correlates_with_its_kernel_and_repeats_the_edges() -> None:
    field = torch.tensor([1.0, 2.0, 4.0]).view(3, 1, 1)
    kernel = torch.tensor([1.0, 0.0, -1.0])
    assert filter_axis(field, kernel, 0).flatten().tolist() == [-1.0, -3.0, -2.0]


def test_coordinates_are_centred_and_in_millimetres() -> None:
    x, y, z = axis_coordinates_mm((3, 2, 1), (2.0, 1.0, 5.0), CPU)
    assert x.flatten().tolist() == [-2.0, 0.0, 2.0]
    assert y.flatten().tolist() == [-0.5, 0.5]
    assert z.flatten().tolist() == [0.0]
    assert length((x, y, z)).shape == (3, 2, 1)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((5, 6, 7), (20, 31, 12)), ((40, 41, 42), (10, 9, 8)), ((1, 3, 2), (5, 1, 9)), ((4, 4, 4), (1, 1, 1))],
)
def test_resizing_is_the_trilinear_one_of_torch(size: tuple, wanted: tuple) -> None:
    fields = torch.from_numpy(np.random.default_rng(0).normal(size=(2, *size)).astype(np.float32))
    theirs = functional.interpolate(fields[None], size=wanted, mode="trilinear", align_corners=True)[0]
    assert torch.allclose(resize(fields, wanted), theirs, atol=1e-5)
