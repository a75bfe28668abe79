"""Fixtures that many tests share: small ensembles, the data beside the project."""

from __future__ import annotations

import os
import signal
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")
if "PYTEST_XDIST_WORKER" in os.environ:  # several tests at a time, so one thread each, in what they start too
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from helpers import BrightnessNetwork, small_info, small_network

from ICHSegmentationLib.ensemble import Ensemble, load_bundle, save_bundle

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job, whose programs would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED_DATA = Path(os.environ.get("ICH_SHARED_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The data beside the project; tests that need it skip, visibly, where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the shared data is not at {SHARED_DATA} (set ICH_SHARED_DATA)")
    return SHARED_DATA


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of two small networks with random weights."""
    folder = tmp_path_factory.mktemp("bundle")
    save_bundle(folder, small_info(), [small_network(seed).state_dict() for seed in (1, 2)])
    return folder


@pytest.fixture(scope="session")
def small_ensemble(small_bundle: Path) -> Ensemble:
    return load_bundle(small_bundle)


@pytest.fixture(scope="session")
def brightness_ensemble() -> Ensemble:
    return Ensemble(small_info(), "0" * 64, [BrightnessNetwork(55.0).eval(), BrightnessNetwork(58.0).eval()])
