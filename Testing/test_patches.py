"""Tiles cover everything and blend to one."""

from __future__ import annotations

import itertools

import pytest
import torch

from ICHSegmentationLib.patches import (
    INSTANCE2022_TILING,
    Blend,
    Tiling,
    blending_weights,
    pad_for,
    plan_tiles,
)

TILINGS = [
    Tiling((8, 8, 4)),
    Tiling((8, 9, 4), overlap=(2, 3, 1)),
    Tiling((12, 12, 6), margin=(3, 2, 1), overlap=(2, 2, 1), gaussian=True),
    Tiling((12, 12, 6), margin=(3, 2, 1), overlap=(2, 2, 1), gaussian=True, pad=True),
    Tiling((100, 100, 100)),
]


@pytest.mark.parametrize("tiling", TILINGS)
@pytest.mark.parametrize("size", [(20, 17, 9), (8, 9, 4), (3, 2, 1), (9, 40, 1)])
def test_a_network_that_copies_its_input_gives_the_input_back(tiling: Tiling, size: tuple[int, ...]) -> None:
    """Every voxel, the border too, is answered for, and blending changes nothing where tiles agree."""
    torch.manual_seed(0)
    volume = torch.randn(size)
    padded = pad_for(volume, tiling, -1000)
    tiles = plan_tiles(size, tiling)
    weights = blending_weights(tuple(side.stop - side.start for side in tiles[0].kept), tiling.gaussian)
    blend = Blend(size, torch.device("cpu"))
    for tile in tiles:
        blend.add(padded[tile.seen], tile, weights)
    assert torch.allclose(blend.mean(), volume, atol=1e-5)


def test_the_paper_sees_patches_of_144_by_144_by_13_and_keeps_their_middle() -> None:
    tiles = plan_tiles((512, 512, 30), INSTANCE2022_TILING)
    assert {tuple(side.stop - side.start for side in tile.seen) for tile in tiles} == {(144, 144, 13)}
    assert {tuple(side.stop - side.start for side in tile.kept) for tile in tiles} == {(100, 100, 9)}
    starts = sorted({tile.kept[0].start for tile in tiles})
    assert starts[0] == 0
    assert starts[-1] + 100 == 512
    assert all(after - before <= 74 for before, after in itertools.pairwise(starts))


def test_padding_is_air_in_the_plane_and_repeats_the_end_slices() -> None:
    volume = torch.arange(8.0).view(2, 2, 2)
    padded = pad_for(volume, Tiling((4, 4, 4), margin=(1, 1, 1), pad=True), -1000)
    assert padded.shape == (4, 4, 4)
    assert padded[0].eq(-1000).all()
    assert torch.equal(padded[1:3, 1:3, 0], volume[:, :, 0])
    assert torch.equal(padded[1:3, 1:3, 3], volume[:, :, 1])


def test_a_gaussian_is_heaviest_in_the_middle_and_nowhere_zero() -> None:
    weights = blending_weights((9, 9, 5), gaussian=True)
    assert weights.argmax() == weights.numel() // 2
    assert weights.min() > 0
    assert torch.equal(weights, weights.flip(0, 1, 2))


def test_where_no_tile_answered_the_mean_is_zero() -> None:
    assert Blend((2, 2, 2), torch.device("cpu")).mean().eq(0).all()


def test_a_patch_that_keeps_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must be larger"):
        Tiling((8, 8, 4), margin=(4, 2, 1))
