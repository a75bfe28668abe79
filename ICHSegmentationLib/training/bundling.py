"""From finished runs to a bundle."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ICHSegmentationLib.ensemble import BundleInfo, save_bundle
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.sources import Source, source_for, sources_of
from ICHSegmentationLib.unet import PRESETS
from ICHSegmentationLib.windowing import WINDOWS_HU

LICENCE = "Apache-2.0"


def bundle_runs(
    folders: list[Path],
    out: Path,
    name: str,
    version: str,
    threshold: float,
    trained_on: str,
    average: bool = False,
    towards: Path | None = None,
    share: float | None = None,
) -> str:
    """Writes a bundle of the kept weights of runs, and of all members of other bundles; returns its SHA-256.

    With `average` it has one member, the mean of them all; see `averaged`. With `towards`, a run, the weights of each
    member are moved that share of the way to the run's (None: half of it).

    Raises:
        InputError: a folder is neither, their networks differ, or the threshold or the share is none.
    """
    if not 0 < threshold < 1:
        raise InputError(f"the threshold must lie between 0 and 1; found {threshold}.")
    if share is None:
        share = 0.5
    elif towards is None:
        raise InputError(f"a share of {share} was asked for and no run to move towards; name one, or no share.")
    if not 0 <= share <= 1:
        raise InputError(f"the share of the way must lie between 0 and 1; found {share}.")
    sources = [source for folder in folders for source in sources_of(folder)]
    if towards is not None:
        other = source_for(towards, 0)
        sources = [mean_of([source, other], [1 - share, share]) for source in sources]
    members = [averaged(sources)] if average else sources
    told = {"data": trained_on, "members": [source.recipe for source in members]}
    info = bundle_info(members, name, version, threshold, told)
    return save_bundle(out, info, [source.weights for source in members])


def averaged(sources: Sequence[Source]) -> Source:
    """One network whose weights are the mean of several that share a line of training.

    Networks that went on from common weights lie in one basin, and their mean is about as good as their ensemble
    (Wortsman et al., ICML 2022) at the cost of one. The mean of networks that share nothing is no network.
    """
    return mean_of(sources, [1 / len(sources)] * len(sources))


def mean_of(sources: Sequence[Source], shares: Sequence[float]) -> Source:
    """One network whose weights are a weighted mean; the shares add up to 1."""
    require_one_network(sources)
    weights = {
        key: torch.stack([share * source.weights[key] for source, share in zip(sources, shares, strict=True)]).sum(0)
        for key in sources[0].weights
    }
    told = [source.told for source in sources]
    recipe = {"average_of": told, "shares": list(shares), "recipes": [source.recipe for source in sources]}
    return Source(weights, sources[0].network, recipe, f"the mean of {', '.join(told)}")


def require_one_network(sources: Sequence[Source]) -> None:
    """Raises an InputError if they are of different networks."""
    if any(source.network != sources[0].network for source in sources):
        raise InputError("the runs are of different networks; the members of an ensemble must share one.")


def bundle_info(
    sources: Sequence[Source], name: str, version: str, threshold: float, training: dict[str, Any]
) -> BundleInfo:
    """What the manifest of an ensemble of such networks says; see `require_one_network`."""
    require_one_network(sources)
    network = sources[0].network
    preset = next((key for key, value in PRESETS.items() if value == network), "custom")
    return BundleInfo(name, version, preset, network, threshold, WINDOWS_HU, training, LICENCE)
