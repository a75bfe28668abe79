"""`slicer.app.layoutManager()`: the three slice views of the usual layouts, on Slicer's own slice logics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import slicer
import vtk


@dataclass(frozen=True)
class SliceWidget:
    """`layoutManager().sliceWidget("Red")`, without a window."""

    sliceLogic: Callable[[], Any]

    def mrmlSliceNode(self) -> Any:
        return self.sliceLogic().GetSliceNode()


class LayoutManager:
    """Slice views only; a layout is a number in the real layout node."""

    threeDViewCount = 0

    def __init__(self, application_logic: Any, scene: Any) -> None:
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
        self._layout = slicer.vtkMRMLLayoutLogic()
        self._layout.SetMRMLApplicationLogic(application_logic)
        self._layout.SetMRMLScene(scene)  # makes the slice nodes
        self._widgets = {}
        self._logics = vtk.vtkCollection()
        for name in ("Red", "Green", "Yellow"):
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLApplicationLogic(application_logic)
            logic.SetMRMLScene(scene)
            logic.SetSliceNode(scene.GetSingletonNode(name, "vtkMRMLSliceNode"))
            self._logics.AddItem(logic)
            self._widgets[name] = SliceWidget(lambda logic=logic: logic)
        application_logic.SetSliceLogics(self._logics)

    @property
    def layout(self) -> int:
        return self._layout.GetLayoutNode().GetViewArrangement()

    def setLayout(self, arrangement: int) -> None:
        self._layout.GetLayoutNode().SetViewArrangement(arrangement)

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._widgets)

    def sliceWidget(self, name: str) -> SliceWidget | None:
        return self._widgets.get(name)

    def mrmlSliceLogics(self) -> Any:
        return self._logics

    def resetSliceViews(self) -> None:
        for widget in self._widgets.values():
            widget.sliceLogic().FitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """Nothing to do: there is no 3D view."""
