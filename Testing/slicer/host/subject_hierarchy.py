"""Keeps an item of the subject hierarchy for each data node, as Slicer's Qt plugins do."""

from __future__ import annotations

from typing import Any

import slicer
import vtk

KINDS = ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode", "vtkMRMLSequenceNode")


def keep(scene: Any) -> None:
    scene.AddObserver(scene.NodeAddedEvent, _added)
    scene.AddObserver(scene.NodeRemovedEvent, _removed)
    scene.AddObserver(scene.EndImportEvent, _imported)


def _add(scene: Any, node: Any) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if not hierarchy.GetItemByDataNode(node):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def _belongs(node: Any) -> bool:
    return any(node.IsA(kind) for kind in KINDS) and not node.GetHideFromEditors()


@vtk.calldata_type(vtk.VTK_OBJECT)
def _added(scene: Any, event: str, node: Any) -> None:
    if _belongs(node) and not scene.IsImporting():
        _add(scene, node)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _removed(scene: Any, event: str, node: Any) -> None:
    if not _belongs(node) or scene.IsClosing():
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.RemoveItem(item, False, False)


def _imported(scene: Any, event: str) -> None:
    for node in [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())]:
        if _belongs(node):
            _add(scene, node)
