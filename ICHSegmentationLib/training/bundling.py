"""From finished runs to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ICHSegmentationLib.ensemble import BundleInfo, save_bundle
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.sources import sources_of
from ICHSegmentationLib.unet import PRESETS, UNetConfig
from ICHSegmentationLib.windowing import WINDOWS_HU

LICENCE = "Apache-2.0"


def bundle_runs(folders: list[Path], out: Path, name: str, version: str, threshold: float, trained_on: str) -> str:
    """Writes a bundle of the kept weights of runs, and of all members of other bundles; returns its SHA-256.

    Raises:
        InputError: a folder is neither, their networks differ, or the threshold is no probability.
    """
    if not 0 < threshold < 1:
        raise InputError(f"the threshold must lie between 0 and 1; found {threshold}.")
    sources = [source for folder in folders for source in sources_of(folder)]
    told = {"data": trained_on, "members": [source.recipe for source in sources]}
    info = bundle_info([source.network for source in sources], name, version, threshold, told)
    return save_bundle(out, info, [source.weights for source in sources])


def bundle_info(
    networks: list[UNetConfig], name: str, version: str, threshold: float, training: dict[str, Any]
) -> BundleInfo:
    """What the manifest of an ensemble of such networks says.

    Raises:
        InputError: they differ.
    """
    network = networks[0]
    if any(other != network for other in networks):
        raise InputError("the runs are of different networks; the members of an ensemble must share one.")
    preset = next((key for key, value in PRESETS.items() if value == network), "custom")
    return BundleInfo(name, version, preset, network, threshold, WINDOWS_HU, training, LICENCE)
