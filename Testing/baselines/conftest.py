"""A tiny nnU-Net raw folder, its scans, and every patch system with settings for seconds instead of days."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL, head_with_ball

from ICHSegmentationLib.baselines.gcnn import GroupSettings, gcnn
from ICHSegmentationLib.baselines.patch_system import PatchSystem, PatchTraining
from ICHSegmentationLib.baselines.se_system import GironaSettings, se_unet
from ICHSegmentationLib.baselines.steerable import ScanSettings, SteerableSettings, scan_e3nn, so3_steerable
from ICHSegmentationLib.data.nnunet import LabelledScan, write_nnunet_raw
from ICHSegmentationLib.patches import Tiling

SPACINGS_MM = ((5.0, 5.0, 10.0), (6.0, 5.0, 8.0), (5.0, 5.0, 10.0))
PATCH = (24, 24, 12)
TILING = Tiling(PATCH, overlap=(8, 8, 4), gaussian=True)
SE3 = dataclasses.replace(
    SMALL, parity=False, irreps_out="2x0e", irreps_levels=("3x0e+1x1e+1x2e", "4x0e+2x1e+1x2e"), pool="max_norm"
)


def scan(number: int) -> LabelledScan:
    """A noisy head with a ball of blood, and where the ball is."""
    rng = np.random.default_rng(number)
    centre = (float(rng.uniform(-25, 25)), float(rng.uniform(-25, 25)), float(rng.uniform(-15, 15)))
    volume = head_with_ball(SPACINGS_MM[number % 3], centre, 22.0)
    label = (volume.hu == 70).astype(np.uint8)
    noisy = np.asfortranarray(volume.hu + rng.normal(0, 2, volume.hu.shape), np.float32)
    return LabelledScan(f"case_{number}", dataclasses.replace(volume, hu=noisy), label)


@pytest.fixture(scope="session")
def scans() -> list[LabelledScan]:
    return [scan(number) for number in range(3)]


@pytest.fixture(scope="session")
def raw(scans: list[LabelledScan], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "raw"
    write_nnunet_raw(scans, folder)
    return folder


def training(**changes: object) -> PatchTraining:
    settings = PatchTraining(networks=2, learning_rate=1e-2, patch=PATCH, patches_per_case=4, validation_patches=2)
    return dataclasses.replace(settings, **changes)


GIRONA = training(learning_rate=1.0, patches_per_step=4, patience=50)


def small_systems() -> dict[str, PatchSystem]:
    """Every system that is trained on patches, small."""
    systems = [
        scan_e3nn(ScanSettings(SMALL, training(average_epsilon=0.01), tiling=TILING)),
        so3_steerable(SteerableSettings(SE3, training(patience=50, networks=1), tiling=TILING)),
        se_unet(
            GironaSettings(width=4, levels=3, training=training(learning_rate=1.0, patches_per_step=4, patience=50))
        ),
        gcnn(GroupSettings(width=2, levels=2, diameter=3, training=training(patience=50, networks=1), tiling=TILING)),
    ]
    return {system.name: system for system in systems}


@pytest.fixture
def nnunet_installed() -> None:
    if find_spec("nnunetv2") is None:
        pytest.skip("nnunetv2 is not installed (make nnunet)")
