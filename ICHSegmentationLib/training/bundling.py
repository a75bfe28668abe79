"""From finished runs to a bundle."""

from __future__ import annotations

from pathlib import Path

from ICHSegmentationLib.ensemble import BundleInfo, save_bundle
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.training.sources import sources_of
from ICHSegmentationLib.unet import PRESETS
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
    network = sources[0].network
    if any(source.network != network for source in sources):
        raise InputError("the runs are of different networks; the members of an ensemble must share one.")
    preset = next((key for key, value in PRESETS.items() if value == network), "custom")
    info = BundleInfo(
        name=name,
        version=version,
        preset=preset,
        network=network,
        threshold=threshold,
        windows_hu=WINDOWS_HU,
        training={"data": trained_on, "members": [source.recipe for source in sources]},
        licence=LICENCE,
    )
    return save_bundle(out, info, [source.weights for source in sources])
