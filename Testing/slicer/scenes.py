"""Volumes in the scene for the tests of the Slicer parts: any grid, under any transform, or from DICOM files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import slicer
import slicer.util
import vtk
from helpers import head_hu

from ICHSegmentationLib.geometry import Volume

TURN = np.array([[0.8, -0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
ROLL = np.array([[1.0, 0.0, 0.0], [0.0, 0.96, -0.28], [0.0, 0.28, 0.96]])
DIRECTIONS = {
    "axial": np.eye(3),
    "as DICOM": np.diag([-1.0, -1.0, 1.0]),
    "flipped": np.diag([1.0, -1.0, -1.0]),
    "oblique": TURN @ ROLL,
    "sagittal": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
}
SPACING_MM = np.array([1.6, 2.0, 5.0])
SHAPE = (112, 108, 31)
BALL_MM = (20.0, 10.0, 5.0)


def affine_of(name: str) -> np.ndarray:
    """A grid of SHAPE and SPACING_MM along one of DIRECTIONS, with the head's centre in its middle."""
    affine = np.eye(4)
    affine[:3, :3] = DIRECTIONS[name] * SPACING_MM
    affine[:3, 3] = -affine[:3, :3] @ (np.array(SHAPE) - 1) / 2
    return affine


def head_on(affine: np.ndarray, radius_mm: float = 18.0) -> Volume:
    """The head of ellipsoids with a ball of blood, on any grid."""
    grid = Volume(np.zeros(SHAPE, np.float32, order="F"), affine)
    return Volume(head_hu(grid, BALL_MM, radius_mm), affine)


def node_of(hu: np.ndarray, affine: np.ndarray, name: str = "CT") -> Any:
    """A volume node that holds an array [x, y, z] as 16-bit integers, shown in the brain window without smoothing."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(hu.T.astype(np.int16)))
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    show_plainly(node)
    return node


def show_plainly(node: Any) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.AutoWindowLevelOff()
    display.SetWindowLevel(80, 40)
    display.SetInterpolate(0)


def put_under(node: Any, matrix: np.ndarray) -> Any:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    return transform


class DicomDatabase:
    """What `slicer.dicomDatabase` says of files: a tag of an instance, as text."""

    def __init__(self, files: list[Path]) -> None:
        headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
        self.headers = {str(header.SOPInstanceUID): header for header in headers}

    def instanceValue(self, uid: str, tag: str) -> str:
        element = self.headers[uid].get(tuple(int(part, 16) for part in tag.split(",")))
        if element is None:
            return ""
        return "\\".join(map(str, element.value)) if element.VM > 1 else str(element.value)


def node_of_dicom(files: list[Path]) -> Any:
    """A series as Slicer's DICOM module loads it: by the same reader, with the instances' UIDs as attribute."""
    listed = vtk.vtkStringArray()
    for file in files:
        listed.InsertNextValue(str(file))
    node = slicer.modules.volumes.logic().AddArchetypeVolume(str(files[0]), "head CT", 0, listed)
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in files]
    node.SetAttribute("DICOM.instanceUIDs", " ".join(str(header.SOPInstanceUID) for header in headers))
    show_plainly(node)
    return node


def regularize(node: Any, origins_mm: np.ndarray) -> Any:
    """Puts a volume under the displacement field that Slicer makes of irregular slices.

    The field has a vector for each corner of each slice: from where the node's own matrix puts it to where the
    slice's header does (origins_mm [slices, 3] RAS).
    """
    columns, rows, slices = node.GetImageData().GetDimensions()
    matrix = slicer.util.arrayFromVTKMatrix(matrix_of(node))
    moved = origins_mm - (matrix[:3, 3] + np.arange(slices)[:, None] * matrix[:3, 2])
    field = vtk.vtkImageData()
    field.SetOrigin(*node.GetOrigin())
    field.SetDimensions(2, 2, slices)
    spacing = node.GetSpacing()
    field.SetSpacing(spacing[0] * columns, spacing[1] * rows, spacing[2])
    field.AllocateScalars(vtk.VTK_DOUBLE, 3)
    directions = vtk.vtkMatrix4x4()
    node.GetIJKToRASDirectionMatrix(directions)
    transform = slicer.vtkOrientedGridTransform()
    transform.SetGridDirectionMatrix(directions)
    transform.SetDisplacementGridData(field)
    transform_node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode", "acquisition transform")
    transform_node.SetAndObserveTransformToParent(transform)
    slicer.util.arrayFromGridTransform(transform_node)[:] = moved[:, None, None, :]
    slicer.util.arrayFromGridTransformModified(transform_node)
    node.SetAndObserveTransformNodeID(transform_node.GetID())
    return transform_node


def matrix_of(node: Any) -> vtk.vtkMatrix4x4:
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return matrix
