"""What tests of the panel share: scans in the scene, waiting, looking."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from helpers import head_with_ball

from ICHSegmentationLib.bundle import MANIFEST, bundled_path
from ICHSegmentationLib.mrml import mask_of

MODULE = Path(__file__).resolve().parents[2] / "ICHSegmentation" / "ICHSegmentation.py"
SPACING_MM = (3.0, 3.0, 5.0)  # coarse, so that a run takes a second
VOXEL_ML = 3.0 * 3.0 * 5.0 / 1000
BALL_ML = 4 / 3 * np.pi * 1.8**3
HEAD = head_with_ball(spacing_mm=SPACING_MM, radius_mm=18.0)
LONGEST_WAIT_S = 120.0  # on a machine that has other things to do


def add_volume(name: str, hu: np.ndarray = HEAD.hu) -> Any:
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(hu.T.astype(np.int16)))
    node.SetSpacing(*SPACING_MM)
    node.SetOrigin(*HEAD.affine[:3, 3])
    return node


def add_demo_volume() -> Any:
    """The generated head of `make demo`."""
    import torch

    from ICHSegmentationLib.simulation.demo import DEMO_SPACING_MM, demo_case
    from ICHSegmentationLib.volume import as_volume

    with torch.inference_mode():
        volume = as_volume(demo_case(1).hu.numpy(), DEMO_SPACING_MM)
    node = add_volume("Generated head", volume.hu)
    node.SetSpacing(*volume.spacing_mm)
    node.SetOrigin(*volume.affine[:3, 3])
    return node


def put_under(node: Any, values: np.ndarray) -> Any:
    """Puts a node under a linear transform."""
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = vtk.vtkMatrix4x4()
    matrix.DeepCopy(values.ravel().tolist())
    transform.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


def one_member(folder: Path) -> Path:
    """The last member of the bundled ensemble as a bundle of its own: a fraction of the time.

    Not the first: those that were trained on from where they were wrong are made to be outvoted, and know no phantoms.
    """
    manifest = json.loads((bundled_path() / MANIFEST).read_text())
    manifest["members"] = manifest["members"][-1:]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    shutil.copy(bundled_path() / manifest["members"][0]["file"], folder)
    return folder


def run(panel: Any) -> None:
    panel.ui.segmentButton.click()
    assert panel.logic.job is not None, (panel.ui.problemLabel.text, panel.ui.segmentButton.toolTip)
    wait_for_end(panel)


def wait_for_end(panel: Any) -> None:
    slicer.app.wait_until(lambda: panel.logic.job is None, LONGEST_WAIT_S)


def wait_until_computing(panel: Any) -> None:
    slicer.app.wait_until(lambda: "Segmenting" in panel.ui.progressLabel.text, LONGEST_WAIT_S)


def settle(panel: Any) -> None:
    """Waits until an edit or a new threshold has been measured."""
    slicer.app.wait_until(lambda: not panel.result.edit_timer.active, LONGEST_WAIT_S)


def is_shown(widget: Any) -> bool:
    """Whether a widget would be seen if the window were open."""
    return not widget.isHidden()


def mask(panel: Any) -> np.ndarray:
    return mask_of(panel.parameters.segmentation, panel.result.shown.scan)


def widgets_below(widget: Any) -> Iterator[Any]:
    """All widgets in a widget that have a name."""
    import qt

    return (found for found in widget.findChildren(qt.QWidget) if found.objectName)
