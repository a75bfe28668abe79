"""A whole lease of a lent machine, on the packages such a machine has, with a tiny network and heads of formulas."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SMALL

from ICHSegmentationLib.cli import main
from ICHSegmentationLib.ensemble import load_bundle
from ICHSegmentationLib.errors import InputError
from ICHSegmentationLib.image_files import write_image_file
from ICHSegmentationLib.simulation.procedural import procedural_labels
from ICHSegmentationLib.training.checkpoint import kept_weights
from ICHSegmentationLib.training.lease import (
    LARGEST_WEIGHTS_BYTES,
    Deadline,
    claim_run,
    pack_runs,
    pack_weights,
    unpack_runs,
)
from ICHSegmentationLib.training.packing import LabelledHead, pack_heads, unpack_heads
from ICHSegmentationLib.training.pool import StoredCase
from ICHSegmentationLib.training.tensor_file import load_tensors, save_tensors
from ICHSegmentationLib.training.trial import CaseResult, summary, tried, try_case
from ICHSegmentationLib.volume import as_volume

NOT_THERE = ("SimpleITK", "safetensors", "pydicom", "matplotlib", "psutil", "tqdm", "tensorboard")
BARE = f"""
import sys
from importlib.machinery import PathFinder

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in {NOT_THERE} else super().find_spec(name, path, target)

sys.meta_path = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
from ICHSegmentationLib.training.job import main
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


def head(seed: int) -> LabelledHead:
    return LabelledHead(f"head_{seed}", procedural_labels(seed, 6.0), 6.0)


def test_a_lease_is_trained_tested_and_brought_home_and_the_next_goes_on(tmp_path: Path, small_bundle: Path) -> None:
    pack_heads([head(0), head(1)], tmp_path / "heads.npz")
    config = {"patch_sizes": [[24, 24, 4]], "steps": 3, "validation_cases": 0}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "bare.py").write_text(BARE)
    words = "heads.npz --out home --work work --minutes 60 --members 0 --config config.json --cases 1 --test-cases 1"
    words += f" --held-out 1 --simulation-seed 97 --start {small_bundle}"
    command = [sys.executable, "bare.py", *words.split()]
    done = subprocess.run(command, cwd=tmp_path, env=bare_environment(), check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    home = tmp_path / "home"
    assert sorted(path.name for path in home.iterdir()) == ["job.json", "job.log", "runs.zip", "weights.safetensors"]
    told = json.loads((home / "job.json").read_text())
    assert told["members"]["0"]["step"] == 3
    begun = json.loads((tmp_path / "work/runs/member_0/config.json").read_text())
    assert begun["started_from"].startswith("member 0 of small 0")
    assert begun["network"]["irreps_levels"] == list(SMALL.irreps_levels)
    assert told["test"]["cases"] == 1
    tensors, metadata = load_tensors(home / "weights.safetensors")
    assert json.loads(metadata["member_0"])["step"] == 3
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}

    (tmp_path / "config.json").write_text(json.dumps({**config, "steps": 4}))
    (tmp_path / "work" / "runs").rename(tmp_path / "lost")  # the next machine is bare
    again = subprocess.run(
        [*command, "--resume", "home/runs.zip"], cwd=tmp_path, env=bare_environment(), check=True, capture_output=True
    )
    assert b"member 0 stands at step 4" in again.stdout
    unpack_runs(home / "runs.zip", tmp_path / "runs")
    refused = subprocess.run(
        [*command, "--simulation-seed", "98"], cwd=tmp_path, env=bare_environment(), check=False, capture_output=True
    )
    assert refused.returncode != 0
    assert b"member_0 was begun with simulation seed 97; this lease has simulation seed 98" in refused.stdout
    bundle = ["bundle", str(tmp_path / "runs" / "member_0"), "--out", str(tmp_path / "bundle"), "--name", "lease"]
    assert main([*bundle, "--version", "0", "--trained-on", "one case"]) == 0
    assert load_bundle(tmp_path / "bundle").info.name == "lease"


def test_a_lease_with_other_heads_held_out_is_refused(tmp_path: Path) -> None:
    origin = {"simulation seed": 1, "heads": ["a", "b"], "heads held out": ["c"]}
    run = tmp_path / "member_0"
    claim_run(run, origin)
    claim_run(run, origin)
    save_tensors(run / "checkpoint.safetensors", {"network/w": torch.zeros(1)}, {"step": "1"})
    pack_runs([run], tmp_path / "runs.zip")
    unpack_runs(tmp_path / "runs.zip", tmp_path / "next")
    with pytest.raises(InputError, match=r"begun with heads \['a', 'b'\], heads held out \['c'\]; this lease has"):
        claim_run(tmp_path / "next/member_0", {**origin, "heads": ["a"], "heads held out": ["b", "c"]})
    with pytest.raises(InputError, match="begun with simulation seed 1; this lease has simulation seed 2"):
        claim_run(tmp_path / "next/member_0", {**origin, "simulation seed": 2})


def bare_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def test_heads_are_packed_small_and_unpacked_the_same(tmp_path: Path) -> None:
    packed = [head(0), dataclasses.replace(head(1), name="other", spacing_mm=5.0)]
    size = pack_heads(packed, tmp_path / "heads.npz")
    assert size < 0.2 * sum(one.labels.size for one in packed)
    for before, after in zip(packed, unpack_heads(tmp_path / "heads.npz"), strict=True):
        assert (before.name, before.spacing_mm) == (after.name, after.spacing_mm)
        filled = np.argwhere(before.labels > 0)
        low, high = filled.min(axis=0), filled.max(axis=0) + 1
        box = tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))
        assert np.array_equal(before.labels[box], after.labels)
    assert [path.name for path in tmp_path.iterdir()] == ["heads.npz"]


def test_label_maps_are_packed_by_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = as_volume(procedural_labels(0, 6.0), (6.0, 6.0, 6.0))
    (tmp_path / "maps").mkdir()
    write_image_file(tmp_path / "maps" / "head_a.nii.gz", labels.hu.astype(np.int16), labels.affine, {})
    assert main(["pack", str(tmp_path / "maps"), "--out", str(tmp_path / "heads.npz")]) == 0
    assert "1 heads in" in capsys.readouterr().out
    (found,) = unpack_heads(tmp_path / "heads.npz")
    assert (found.name, found.spacing_mm) == ("head_a", 6.0)
    assert np.bincount(found.labels.ravel())[1:].tolist() == np.bincount(head(0).labels.ravel())[1:].tolist()


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"nothing")
    with pytest.raises(InputError, match="holds no packed heads"):
        unpack_heads(tmp_path / "x")
    with pytest.raises(InputError, match="holds no runs"):
        unpack_runs(tmp_path / "x", tmp_path / "runs")
    with pytest.raises(InputError, match="no label maps to pack"):
        pack_heads([], tmp_path / "heads.npz")
    with pytest.raises(InputError, match="the label map blank is empty"):
        pack_heads([LabelledHead("blank", np.zeros((4, 4, 4), int), 1.0)], tmp_path / "heads.npz")


def run_of(folder: Path, weights: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(parents=True)
    save_tensors(folder / "checkpoint.safetensors", {f"average/{k}": v for k, v in weights.items()}, {"step": "7"})
    (folder / "config.json").write_text("{}")
    return folder


def test_runs_travel_and_those_that_are_there_already_stay(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / "a" / f"member_{k}", {"w": torch.full((3,), float(k))}) for k in (0, 1)]
    pack_runs(runs, tmp_path / "runs.zip")
    kept = run_of(tmp_path / "b" / "member_1", {"w": torch.full((3,), 9.0)})
    unpack_runs(tmp_path / "runs.zip", tmp_path / "b")
    assert kept_weights(tmp_path / "b" / "member_0")[0]["w"].tolist() == [0, 0, 0]
    assert kept_weights(kept)[0]["w"].tolist() == [9, 9, 9]


def test_what_is_too_large_to_come_back_is_said(tmp_path: Path) -> None:
    large = run_of(tmp_path / "member_0", {"w": torch.zeros(LARGEST_WEIGHTS_BYTES // 2 + 1)})
    with pytest.raises(InputError, match="at most 12 MB"):
        pack_weights([large], tmp_path / "weights.safetensors")
    noise = torch.randn(5 * 2**20, generator=torch.Generator().manual_seed(0))
    heavy = run_of(tmp_path / "member_1", {"w": noise})
    with pytest.raises(InputError, match="at most 16 come back"):
        pack_runs([heavy], tmp_path / "runs.zip")
    assert not (tmp_path / "runs.zip").exists()
    wild = run_of(tmp_path / "member_2", {"w": torch.tensor([1e9])})
    with pytest.raises(InputError, match="w does not fit float16"):
        pack_weights([wild], tmp_path / "weights.safetensors")


def test_a_trial_measures_volumes_and_dice_of_the_members_mean(case: StoredCase) -> None:
    from helpers import BrightnessNetwork

    members = [BrightnessNetwork(50.0).eval(), BrightnessNetwork(500.0).eval()]
    alone = try_case(case, members[:1], torch.float32)
    assert alone.dice > 0.9
    assert alone.found_ml == pytest.approx(alone.true_ml, rel=0.2)
    assert alone.true_ml == pytest.approx(int((case.label == 1).sum()) * 5e-3)
    both = try_case(case, members, torch.float32)
    assert both.member_ml == (alone.found_ml, 0.0)
    assert not tried([], members, torch.float32, Deadline(1.0))


def test_a_trials_figures_count_bleeds_of_a_millilitre_and_heads_without_any() -> None:
    results = [
        CaseResult("a", 10.0, 12.0, (9.0, 14.0), 0.8),
        CaseResult("b", 2.0, 2.0, (2.5, 3.0), 0.6),
        CaseResult("c", 0.4, 0.0, (0.0, 0.0), 0.0),
        CaseResult("d", 0.0, 0.6, (0.5, 0.7), 0.0),
    ]
    found = summary(results)
    assert found["median_dice_from_1_ml"] == pytest.approx(0.7)
    assert found["mean_error_ml"] == pytest.approx(1.0)
    assert found["true_volume_in_member_range"] == 0.5
    assert found["mean_false_ml_without_bleed"] == pytest.approx(0.6)
    assert summary([])["median_dice_from_1_ml"] is None
