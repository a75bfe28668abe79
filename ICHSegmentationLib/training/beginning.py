"""How an untrained network begins: it holds bleed for rare (as Lin et al., ICCV 2017, section 4.1).

Else a narrow head first learns that bleed is rare by turning its weights negative. What they weigh comes out of GELUs
or ReLUs and is hardly below 0, so no answer then rises above what the bias says, and bleed is told apart below the
threshold, or not at all.
"""

from __future__ import annotations

import math

import torch

from ICHSegmentationLib.unet import EquivariantUNet, UNetConfig

RARE = 0.01  # probability of bleed at a voxel, where the features say nothing
RARE_LOGIT = math.log(RARE / (1 - RARE))


def untrained_network(config: UNetConfig) -> EquivariantUNet:
    """A network with random weights whose bias says RARE.

    Its first outputs are scalars: the logit of bleed, or several classes of which the first is background.
    """
    network = EquivariantUNet(config)
    classes = network.irreps_out.dim
    with torch.no_grad():
        network.bias[0] = RARE_LOGIT if classes == 1 else math.log(classes - 1) - RARE_LOGIT
    return network
