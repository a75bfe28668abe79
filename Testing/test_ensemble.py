"""A bundle comes back as it was saved. (What is refused: test_bad_input.py.)"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers import small_info, small_network

from ICHSegmentationLib.bundle import bundled_path
from ICHSegmentationLib.ensemble import Ensemble, load_bundle, save_bundle
from ICHSegmentationLib.errors import InputError

CPU = torch.device("cpu")


def test_a_bundle_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    networks = [small_network(seed) for seed in (1, 2)]
    sha256 = save_bundle(tmp_path, small_info(name="round trip"), [network.state_dict() for network in networks])
    ensemble = load_bundle(tmp_path)
    assert ensemble.info == small_info(name="round trip")
    assert ensemble.sha256 == sha256
    x = torch.rand(1, 3, 8, 8, 2)
    for ours, theirs in zip(ensemble.members, networks, strict=True):
        with torch.no_grad():
            assert torch.allclose(ours(x, (1.0, 1.0, 5.0)), theirs(x, (1.0, 1.0, 5.0)), atol=2e-2)


def test_members_are_ready_for_inference(tmp_path: Path) -> None:
    save_bundle(tmp_path, small_info(), [small_network().state_dict()])
    (member,) = load_bundle(tmp_path).members
    assert not member.training
    assert not any(parameter.requires_grad for parameter in member.parameters())


def test_the_manifest_says_everything_in_json(tmp_path: Path) -> None:
    save_bundle(tmp_path, small_info(), [small_network().state_dict()])
    manifest = json.loads((tmp_path / "bundle.json").read_text())
    assert manifest["network"]["irreps_in"] == "3x0e"
    assert len(manifest["members"][0]["sha256"]) == 64
    assert manifest["licence"] == "Apache-2.0"


def test_weights_that_half_precision_cannot_hold_are_not_saved(tmp_path: Path) -> None:
    weights = {name: value.clone() for name, value in small_network().state_dict().items()}
    weights["bias"] = torch.tensor([1e6])
    with pytest.raises(InputError, match="no number that float16 can hold"):
        save_bundle(tmp_path, small_info(), [weights])


def test_baked_kernels_are_kept_for_the_next_scan_of_the_same_spacing(small_ensemble: Ensemble) -> None:
    first = small_ensemble.baked(0, (1.0, 1.0, 5.0), CPU, torch.float32)
    assert small_ensemble.baked(0, (1.0, 1.0, 5.00001), CPU, torch.float32) is first
    assert small_ensemble.baked(1, (1.0, 1.0, 5.0), CPU, torch.float32) is not first


def test_baked_kernels_are_let_go_when_they_grow_too_many(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ICHSegmentationLib.ensemble.BAKED_BYTES", 1)
    ensemble = load_bundle(small_bundle)
    first = ensemble.baked(0, (1.0, 1.0, 5.0), CPU, torch.float32)
    ensemble.baked(0, (2.0, 2.0, 5.0), CPU, torch.float32)
    assert ensemble.baked(0, (1.0, 1.0, 5.0), CPU, torch.float32) is not first


def test_the_bundled_ensemble_is_small_and_loads() -> None:
    folder = bundled_path()
    assert sum(file.stat().st_size for file in folder.iterdir()) < 12e6
    ensemble = load_bundle()
    assert len(ensemble.members) >= 2
    assert ensemble.info.preset == "compact"
