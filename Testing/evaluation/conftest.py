"""Data sets and stand-in systems for the tests of comparisons and experiments."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from stand_ins import scan_with_ball

from ICHSegmentationLib.data.nnunet import write_nnunet_raw


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """An nnU-Net raw folder of four cases with a ball of blood."""
    folder = tmp_path / "raw"
    write_nnunet_raw((scan_with_ball(f"case_{number}", seed=number) for number in range(4)), folder)
    return folder


@pytest.fixture(autouse=True)
def children_find_the_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Child processes import `stand_ins` from here."""
    import os

    here, root = Path(__file__).parent, Path(__file__).resolve().parents[2]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(root), os.environ.get("PYTHONPATH", "")]))
