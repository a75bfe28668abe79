"""Prediction of a whole scan by several networks, in overlapping tiles: their mean, on the scan's own voxels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from ICHSegmentationLib.baselines.preparation import Prepared, restored
from ICHSegmentationLib.convolution import Spacing
from ICHSegmentationLib.geometry import Volume
from ICHSegmentationLib.patches import Blend, Tiling, blending_weights, plan_tiles

Answer = Callable[[torch.Tensor], torch.Tensor]  # inputs [batch, channel, x, y, z] -> logit [batch, 1, x, y, z]


def at_any_spacing(network: nn.Module, spacing_mm: Spacing) -> Answer:
    """A network asked at one spacing."""
    return lambda inputs: network(inputs, spacing_mm)


class TiledPredictor:
    """A `system.Predictor`: the mean probability of networks.

    Args:
        networks: in evaluation mode, on the device.
        prepare: scan -> what they see.
        tiling: of what they see.
        at_spacing: network and spacing -> the same, for one spacing.
        clean: mask and volume -> the mask after post-processing.
        device: to run on.
    """

    threshold = 0.5

    def __init__(
        self,
        networks: Sequence[nn.Module],
        prepare: Callable[[Volume], Prepared],
        tiling: Tiling,
        at_spacing: Callable[[nn.Module, Spacing], Answer],
        clean: Callable[[np.ndarray, Volume], np.ndarray],
        device: torch.device,
    ) -> None:
        self.networks, self.prepare, self.tiling = networks, prepare, tiling
        self.at_spacing, self.clean, self.device = at_spacing, clean, device

    @property
    def parameters(self) -> int:
        return sum(parameter.numel() for network in self.networks for parameter in network.parameters())

    def probability(self, volume: Volume) -> np.ndarray:
        """[x, y, z] float32, 0..1, on the volume's own grid."""
        prepared = self.prepare(volume)
        total = np.zeros(prepared.inside.shape, np.float32)
        for network in self.networks:
            total += run_tiles(self.at_spacing(network, prepared.spacing_mm), prepared, self.tiling, self.device)
        return restored(total / len(self.networks), volume).clip(0, 1)

    def mask(self, volume: Volume, probability: np.ndarray | None = None) -> np.ndarray:
        """[x, y, z] bool on the volume's own grid, after post-processing."""
        probability = self.probability(volume) if probability is None else probability
        return self.clean(probability >= self.threshold, volume)


def run_tiles(answer: Answer, prepared: Prepared, tiling: Tiling, device: torch.device) -> np.ndarray:
    """Probability of bleed [x, y, z] on the prepared grid; 0 in tiles with nothing inside."""
    size = prepared.inside.shape
    margin = tiling.margin if tiling.pad else (0, 0, 0)
    edges = [(0, 0), *((edge, edge) for edge in margin)]
    inputs = torch.from_numpy(np.pad(prepared.inputs, edges, constant_values=prepared.outside))
    tiles = plan_tiles(size, tiling)
    weights = blending_weights(tuple(side.stop - side.start for side in tiles[0].kept), tiling.gaussian)
    blend = Blend(size, torch.device("cpu"))
    for tile in tiles:
        if prepared.inside[tile.kept].any():
            seen = inputs[:, tile.seen[0], tile.seen[1], tile.seen[2]][None].float().to(device)
            with torch.inference_mode():
                blend.add(torch.sigmoid(answer(seen)[0, 0].float()).cpu(), tile, weights)
    return blend.mean().numpy()


def uncleaned(mask: np.ndarray, volume: Volume) -> np.ndarray:
    """No post-processing."""
    return mask
