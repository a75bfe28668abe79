"""The pool on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from ICHSegmentationLib.simulation.case import CaseParameters, simulate
from ICHSegmentationLib.simulation.procedural import procedural_anatomy
from ICHSegmentationLib.training.pool import case_folders, read_case, simulate_pool, write_case


def test_only_complete_cases_are_seen(pool: Path) -> None:
    assert [path.name for path in case_folders(pool)] == ["case_000000", "case_000001", "case_000002"]
    assert read_case(case_folders(pool)[0]).spacing_mm == (1.0, 1.0, 5.0)


def test_a_pool_goes_on_where_it_stopped_and_case_k_is_always_the_same(tmp_path: Path) -> None:
    anatomies = [procedural_anatomy(0, 4.0)]
    assert [path.name for path in simulate_pool(anatomies, tmp_path / "a", range(1), 5)] == ["case_000000"]
    assert [path.name for path in simulate_pool(anatomies, tmp_path / "a", range(1), 5)] == []
    parameters = CaseParameters.draw(np.random.default_rng((5, 0)), 1)
    with torch.inference_mode():
        again = simulate(parameters, anatomies[0])
    stored = read_case(tmp_path / "a" / "case_000000")
    assert np.array_equal(stored.hu, again.hu.numpy().astype(np.int16))
    assert np.array_equal(stored.label, again.subtype.numpy())
    write_case(again, tmp_path / "b" / "case_000000")
    description = json.loads((tmp_path / "b" / "case_000000" / "case.json").read_text())
    assert description["parameters"]["pose"]["mirrored"] in (True, False)
    assert set(description["volume_ml"]) == {"IPH", "IVH", "SAH", "SDH", "EDH"}
