"""What a slice view shows, rendered by Slicer's own displayable managers. Ask `host.why_no_rendering()` first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util.numpy_support import vtk_to_numpy

MANAGERS = ("vtkMRMLModelSliceDisplayableManager", "vtkMRMLSegmentationsDisplayableManager2D")


@dataclass(frozen=True)
class Picture:
    """What a view showed: rgb [y, x, 3], from the lower left, and the matrix from pixel (x, y, 0, 1) to RAS mm."""

    rgb: np.ndarray
    to_ras_mm: np.ndarray

    def places_mm(self) -> np.ndarray:
        """RAS mm of each pixel's centre, [y, x, 3]."""
        y, x = np.mgrid[: self.rgb.shape[0], : self.rgb.shape[1]]
        points = np.stack([x, y, np.zeros_like(x), np.ones_like(x)], axis=-1)
        return (points @ self.to_ras_mm.T)[..., :3]


def show(view: str, volume: Any, at_mm: Any, size: int) -> Any:
    """Puts a volume behind a view and centres the view on a place; gives the view's logic."""
    logic = slicer.app.layoutManager().sliceWidget(view).sliceLogic()
    logic.GetSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
    logic.ResizeSliceNode(size, size)
    logic.FitSliceToBackground(size, size)
    node = logic.GetSliceNode()
    node.JumpSliceByCentering(*at_mm)
    node.UpdateMatrices()
    return logic


def picture(view: str, volume: Any, at_mm: Any, size: int = 300) -> Picture:
    """What the view "Red", "Green" or "Yellow" shows of the scene with a volume behind, centred on a place."""
    logic = show(view, volume, at_mm, size)
    with window(size) as (rendered, behind):
        mapper = vtk.vtkImageMapper()
        mapper.SetColorWindow(255)
        mapper.SetColorLevel(127.5)
        mapper.SetInputConnection(logic.GetImageDataConnection())
        actor = vtk.vtkActor2D()
        actor.SetMapper(mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        behind.AddViewProp(actor)
        managers = slicer.vtkMRMLDisplayableManagerGroup()
        managers.SetRenderer(behind)
        managers.Initialize(factory(), behind)
        managers.SetMRMLDisplayableNode(logic.GetSliceNode())
        rendered.Render()
        rgb = pixels(rendered)
        managers.SetMRMLDisplayableNode(None)
    return Picture(rgb, slicer.util.arrayFromVTKMatrix(logic.GetSliceNode().GetXYToRAS()))


def factory() -> Any:
    """Slicer's factory of displayable managers for slice views, with those that draw segmentations."""
    found = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    found.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    for name in MANAGERS:
        if not found.IsDisplayableManagerRegistered(name):
            found.RegisterDisplayableManager(name)
    return found


@contextmanager
def window(size: int) -> Iterator[tuple[Any, Any]]:
    """An off-screen window and its renderer. Without an interactor displayable managers crash."""
    rendered = vtk.vtkRenderWindow()
    rendered.SetOffScreenRendering(1)
    rendered.SetMultiSamples(0)
    rendered.SetSize(size, size)
    interactor = vtk.vtkGenericRenderWindowInteractor()
    interactor.SetRenderWindow(rendered)
    interactor.Initialize()
    behind = vtk.vtkRenderer()
    behind.GetActiveCamera().ParallelProjectionOn()
    rendered.AddRenderer(behind)
    yield rendered, behind
    rendered.Finalize()


def pixels(rendered: Any) -> np.ndarray:
    """What a window holds, [y, x, 3] uint8."""
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(rendered)
    grab.ReadFrontBufferOff()
    grab.Update()
    width, height, _ = grab.GetOutput().GetDimensions()
    return vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(height, width, -1)[..., :3].copy()
