"""What the extension offers in Slicer's Sample Data module."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from host import why_not

if why_not():
    pytest.skip(why_not(), allow_module_level=True)

import slicer
import slicer.util
from PIL import Image

from ICHSegmentationLib.panel import sample_data
from ICHSegmentationLib.simulation import demo

MODULE = Path(__file__).resolve().parents[2] / "ICHSegmentation" / "ICHSegmentation.py"


@pytest.fixture
def offered(application: Any, load: Callable[[Path], Any]) -> dict[str, dict[str, Any]]:
    """What is registered when Slicer has started, by name."""
    load(MODULE)
    assert application.sample_data == []  # not while modules are loaded: Sample Data may come later
    application.startupCompleted.emit()
    return {source["sampleName"]: source for source in application.sample_data}


def test_a_public_scan_and_a_generated_head_are_offered_once_slicer_has_started(
    offered: dict[str, dict[str, Any]],
) -> None:
    assert sorted(offered) == ["GeneratedHead", "ICH-ADAPT2"]
    assert {source["category"] for source in offered.values()} == {"ICH Segmentation"}


def test_the_public_scan_is_fetched_from_its_address_and_checked(offered: dict[str, dict[str, Any]]) -> None:
    source = offered["ICH-ADAPT2"]
    assert source["uris"].startswith("https://")
    assert source["uris"].endswith(f"/{source['fileNames']}")
    assert re.fullmatch(r"SHA256:[0-9a-f]{64}", source["checksums"])


def test_what_is_not_fetched_has_lists_of_one_length_as_slicer_wants(offered: dict[str, dict[str, Any]]) -> None:
    source = offered["GeneratedHead"]
    assert {len(source[name]) for name in ("uris", "fileNames", "nodeNames", "loadFiles", "checksums")} == {0}
    assert callable(source["customDownloader"])


@pytest.mark.parametrize("name", ["GeneratedHead", "ICH-ADAPT2"])
def test_each_has_a_thumbnail_that_shows_a_head(name: str, offered: dict[str, dict[str, Any]]) -> None:
    picture = np.asarray(Image.open(offered[name]["thumbnailFileName"]))
    assert picture.shape == (256, 256)
    assert (picture == 255).mean() > 0.03  # skull
    assert ((picture > 40) & (picture < 200)).mean() > 0.2  # brain


def test_a_generated_head_lands_in_the_scene_and_the_views(application: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    small = (
        "import pathlib, sys, numpy, types; from ICHSegmentationLib.image_files import write_image_file; "
        "hu = numpy.full((20, 24, 6), -1000, numpy.int16); hu[5:15, 6:18] = int(sys.argv[1]); "
        "write_image_file(pathlib.Path(sys.argv[2]) / 'generated_ct.nii.gz', hu, numpy.diag([0.9, 0.9, 5, 1]), {})"
    )
    monkeypatch.setattr(sample_data, "GENERATE", small)  # the head itself: Testing/simulation/test_demo.py
    (node,) = sample_data.generate()
    assert node.GetName() == "GeneratedHead"
    assert node.GetSpacing() == pytest.approx(demo.DEMO_SPACING_MM)
    assert slicer.util.arrayFromVolume(node).max() == sample_data.GENERATED_SEED
    composite = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert composite.GetBackgroundVolumeID() == node.GetID()


def test_the_generated_head_is_the_demos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    called: list[Any] = []
    monkeypatch.setattr(demo, "demo_case", lambda seed: f"case {seed}")
    monkeypatch.setattr(demo, "write_demo_scan", lambda *given: called.append(given))
    monkeypatch.setattr(sys, "argv", ["-c", str(sample_data.GENERATED_SEED), str(tmp_path)])
    exec(sample_data.GENERATE, {})
    assert called == [(f"case {sample_data.GENERATED_SEED}", tmp_path)]


def test_why_a_head_cannot_be_generated_is_shown(application: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_data, "GENERATE", "import a_package_that_is_not_there")
    with pytest.raises(RuntimeError, match="No module named 'a_package_that_is_not_there'"):
        sample_data.generate()
    (text,) = application.shown("errorDisplay")
    assert text.startswith("The head could not be generated.")
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
