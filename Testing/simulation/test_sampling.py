"""Volumes sampled at other places."""

from __future__ import annotations

import torch

from ICHSegmentationLib.simulation.fields import length
from ICHSegmentationLib.simulation.sampling import node_voxels, sampled, sampled_distances, sampling_grid

SIZE, SPACING_MM = (60, 70, 40), (0.7, 0.7, 1.2)


def distance_to_a_ball() -> torch.Tensor:
    """[1, x, y, z] in mm, positive inside a ball of 8 mm."""
    x, y, z = ((torch.arange(n) - n / 2) * step for n, step in zip(SIZE, SPACING_MM, strict=True))
    return (8 - length((x[:, None, None], y[None, :, None], z[None, None, :])))[None]


def test_distances_looked_up_at_few_places_are_those_of_every_voxel() -> None:
    volume = distance_to_a_ball()
    nodes = node_voxels(SIZE, (5, 5, 5), torch.device("cpu"))
    places = nodes + 1.5 * torch.sin(nodes / 9)
    everywhere = sampled(volume, sampling_grid(places, SIZE, SIZE))
    few = sampled_distances(volume, places, SIZE, SPACING_MM)
    assert few.shape == everywhere.shape == (1, *SIZE)
    wrong_mm = (few - everywhere).abs()
    assert float(wrong_mm[everywhere.abs() < 4].max()) < 0.15
    assert float(wrong_mm.max()) < 1.0  # at the ball's middle, where distances have a kink


def test_on_a_grid_that_is_coarse_itself_distances_are_looked_up_at_every_voxel() -> None:
    places = node_voxels(SIZE, (2, 2, 2), torch.device("cpu"))
    volume = distance_to_a_ball()
    assert torch.allclose(sampled_distances(volume, places, SIZE, (5.0, 5.0, 5.0)), volume, atol=1e-3)
