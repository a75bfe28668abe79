"""Slicer around its scene: windows, views, the DICOM database, export, its Python. Imports slicer, not torch."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from ICHSegmentationLib.errors import InputError

WINDOWS = {"brain": (80, 40), "blood": (80, 55), "subdural": (200, 75)}  # width, level in HU


def show_window(volume: Any, name: str) -> None:
    """Shows a volume in one of the `WINDOWS`."""
    width, level = WINDOWS[name]
    volume.CreateDefaultDisplayNodes()
    display = volume.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(width, level)


def show_volume(volume: Any) -> None:
    """Shows a volume in all slice views."""
    slicer.util.setSliceViewerLayers(background=volume)


def jump_to(position_mm_ras: list[float]) -> None:
    """Centres all slice views on a place."""
    slicer.modules.markups.logic().JumpSlicesToLocation(*position_mm_ras, True)


def show_3d(segmentation: Any, shown: bool) -> None:
    """Shows or hides a segmentation's surface, which is made when it is first wanted."""
    if shown:
        segmentation.CreateClosedSurfaceRepresentation()
    segmentation.GetDisplayNode().SetVisibility3D(shown)


def is_shown_3d(segmentation: Any) -> bool:
    """Whether a segmentation's surface is shown."""
    has_surface = segmentation.GetSegmentation().ContainsRepresentation("Closed surface")
    return has_surface and bool(segmentation.GetDisplayNode().GetVisibility3D())


def open_in_segment_editor(segmentation: Any, volume: Any) -> None:
    """Goes to Slicer's Segment Editor with a segmentation and its scan."""
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    editor.setSegmentationNode(segmentation)
    editor.setSourceVolumeNode(volume)


def dicom_tag(uid: str, tag: str) -> str:
    """A tag of a DICOM file that Slicer has loaded; empty where its database does not know it."""
    database = getattr(slicer, "dicomDatabase", None)
    return database.instanceValue(uid, tag) if database is not None else ""


def export_dicom_seg(segmentation: Any, volume: Any, folder: Path) -> None:
    """Writes a segmentation as DICOM SEG with the plugin of Slicer's QuantitativeReporting extension.

    Raises:
        InputError: the plugin is not there, the scan is not from DICOM, or what the plugin found wrong.
    """
    plugins = getattr(slicer.modules, "dicomPlugins", {})
    if "DICOMSegmentationPlugin" not in plugins:
        raise InputError(_("DICOM SEG export needs the extension QuantitativeReporting; install it first."))
    if not volume.GetAttribute("DICOM.instanceUIDs"):
        raise InputError(_("DICOM SEG refers to the CT's DICOM images; this volume was not loaded from DICOM."))
    plugin = plugins["DICOMSegmentationPlugin"]()
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    exportables = plugin.examineForExport(hierarchy.GetItemByDataNode(segmentation))
    if not exportables:
        raise InputError(_("Slicer's plugin finds nothing to export: images of the CT are missing in its database."))
    for exportable in exportables:
        exportable.directory = str(folder)
    if problem := plugin.export(exportables):
        raise InputError(problem)


def python_of_slicer() -> str:
    """The interpreter that has Slicer's packages; in Slicer, `sys.executable` is the application."""
    return shutil.which("PythonSlicer") or sys.executable


def application_name() -> str:
    """Slicer and its version."""
    return f"Slicer {getattr(slicer.app, 'applicationVersion', '')}".strip()


def names_in_scene() -> list[str]:
    """How patients, studies, scans and what belongs to them are called in the subject hierarchy."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    items = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    return [hierarchy.GetItemName(items.GetId(index)) for index in range(items.GetNumberOfIds())]
