"""Stand-ins for Slicer's MRML widgets on a real scene: properties, signals and slots as in its qMRML headers.

As in PythonQt their plain setters cannot be called: `selector.nodeTypes = [...]`, not `selector.setNodeTypes([...])`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from host.stand_in import in_a_row, stored

Signal, Property = QtCore.Signal, QtCore.Property


class qMRMLWidget(QtWidgets.QWidget):
    mrmlSceneChanged = Signal(object)
    _scene: Any

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        return self._scene


class Observed:
    """A VTK object that a widget shows: it is followed while the widget lives."""

    def __init__(self, widget: QtWidgets.QWidget, events: list, callback: Callable[[], None]) -> None:
        self.object, self._events, self._callback, self._tags = None, events, callback, []
        widget.destroyed.connect(self._release)

    def set(self, observed: Any) -> None:
        self._release()
        self.object = observed
        self._tags = [] if observed is None else [observed.AddObserver(event, self._tell) for event in self._events]
        self._callback()

    def _tell(self, *_: Any) -> None:
        self._callback()

    def _release(self, *_: Any) -> None:
        for tag in self._tags:
            self.object.RemoveObserver(tag)
        self._tags = []


SCENE_EVENTS = [
    slicer.vtkMRMLScene.NodeAddedEvent,
    slicer.vtkMRMLScene.NodeRemovedEvent,
    slicer.vtkMRMLScene.EndImportEvent,
    slicer.vtkMRMLScene.EndCloseEvent,
]


class qMRMLNodeComboBox(QtWidgets.QWidget):
    """The nodes of the scene that pass the filter, then "Create" and "Delete"."""

    currentNodeChanged = Signal((object,), (bool,))
    currentNodeIDChanged = Signal(str)
    nodeAddedByUser = Signal(object)
    nodeActivated = Signal(object)
    _observed: Observed
    _attributes: dict[str, tuple[str, str | None]]
    _box: QtWidgets.QComboBox
    _current: str

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._attributes, self._current, self._box = {}, "", QtWidgets.QComboBox()
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        in_a_row(self, self._box)
        self._observed = Observed(self, SCENE_EVENTS, self._refresh)
        self._box.activated.connect(self._chosen)
        self.setEnabled(False)

    def setMRMLScene(self, scene: Any) -> None:
        self.setEnabled(scene is not None)
        self._observed.set(scene)

    def mrmlScene(self) -> Any:
        return self._observed.object

    def addAttribute(self, node_type: str, name: str, value: str | None = None) -> None:
        self._attributes[node_type] = (name, value)
        self._refresh()

    def removeAttribute(self, node_type: str, name: str) -> None:
        self._attributes.pop(node_type, None)
        self._refresh()

    def _nodes(self) -> tuple:
        scene = self.mrmlScene()
        all_nodes = [scene.GetNthNode(index) for index in range(scene.GetNumberOfNodes())] if scene else []
        return tuple(node for node in all_nodes if self._passes(node))

    def _passes(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        types = [kind for kind in self.nodeTypes if node.IsA(kind)]
        if not self.showChildNodeTypes:
            types = [kind for kind in types if kind == node.GetClassName()]
        return any(self._has_attribute(node, kind) for kind in types[:1])

    def _has_attribute(self, node: Any, kind: str) -> bool:
        name, wanted = self._attributes.get(kind, ("", None))
        found = node.GetAttribute(name) if name else ""
        return found is not None and wanted in (None, found)

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int) -> Any:
        return self._nodes()[index] if 0 <= index < self.nodeCount() else None

    def currentNode(self) -> Any:
        return self.mrmlScene().GetNodeByID(self._current) if self._current and self.mrmlScene() else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node is not None else "")

    def setCurrentNodeID(self, node_id: str | None) -> None:
        if self.mrmlScene() is None:
            self._current = node_id or ""  # until there is a scene to look in
            return
        known = node_id if node_id in [node.GetID() for node in self._nodes()] else ""
        changed, self._current = known != self._current, known
        self._box.setCurrentIndex(self._box.findData(known))
        if changed:
            node = self.currentNode()
            self.currentNodeChanged.emit(node)
            self.currentNodeChanged[bool].emit(node is not None)
            self.currentNodeIDChanged.emit(known)

    def setCurrentNodeIndex(self, index: int) -> None:
        self.setCurrentNode(self.nodeFromIndex(index))

    def addNode(self, node_type: str | None = None) -> Any:
        kind = node_type or self.nodeTypes[0]
        name = self.baseName or self.mrmlScene().GetTypeDisplayNameByClassName(kind) or kind
        node = self.mrmlScene().AddNewNodeByClass(kind, self.mrmlScene().GenerateUniqueName(name))
        attribute, value = self._attributes.get(kind, ("", None))
        if attribute:
            node.SetAttribute(attribute, value or "")
        self._refresh()
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self) -> None:
        self.mrmlScene().RemoveNode(self.currentNode())

    def _refresh(self) -> None:
        """Fill the list again and keep the current node; without a "None" the first node becomes current."""
        if self.mrmlScene() is None:
            return
        self._box.clear()
        if self.noneEnabled:
            self._box.addItem(self.noneDisplay, "")
        nodes = self._nodes()
        for node in nodes:
            self._box.addItem(node.GetName(), node.GetID())
        self._add_actions()
        gone = self._current not in [node.GetID() for node in nodes]
        first = nodes[0].GetID() if nodes and not self.noneEnabled else ""
        self.setCurrentNodeID(first if gone else self._current)

    def _add_actions(self) -> None:
        for kind in self.nodeTypes if self.addEnabled else ():
            self._box.addItem(f"Create new {self.mrmlScene().GetTypeDisplayNameByClassName(kind)}", f"+{kind}")
        if self.removeEnabled:
            self._box.addItem("Delete current node", "-")

    def _chosen(self, row: int) -> None:
        data = self._box.itemData(row)
        if data.startswith("+"):
            self.addNode(data[1:])
        elif data == "-":
            self.removeCurrentNode()
        else:
            self.setCurrentNodeID(data)
            self.nodeActivated.emit(self.currentNode())

    nodeTypes = stored("QStringList", [], _refresh)
    noneEnabled = stored(bool, False, _refresh)
    noneDisplay = stored(str, "None", _refresh)
    addEnabled = stored(bool, True, _refresh)
    removeEnabled = stored(bool, True, _refresh)
    editEnabled = stored(bool, False)
    renameEnabled = stored(bool, False)
    showHidden = stored(bool, False, _refresh)
    showChildNodeTypes = stored(bool, True, _refresh)
    selectNodeUponCreation = stored(bool, True)
    baseName = stored(str, "")
    currentNodeID = Property(str, lambda self: self._current, setCurrentNodeID)


class qMRMLTableView(QtWidgets.QTableView):
    """The text of a table node's cells; the columns are named in a first row unless the node has them as header."""

    selectionChanged = Signal()
    _observed: Observed
    _model: QtGui.QStandardItemModel
    _scene: Any

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene, self._model = None, QtGui.QStandardItemModel(self)
        self.setModel(self._model)
        self.selectionModel().selectionChanged.connect(lambda *_: self.selectionChanged.emit())
        self._observed = Observed(self, [vtk.vtkCommand.ModifiedEvent], self._refresh)

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene

    def mrmlScene(self) -> Any:
        return self._scene

    def setMRMLTableNode(self, node: Any) -> None:
        self._observed.set(node)

    def mrmlTableNode(self) -> Any:
        return self._observed.object

    def _refresh(self) -> None:
        self._model.clear()
        table = self._observed.object
        if table is None:
            return
        columns = range(table.GetNumberOfColumns())
        names = [table.GetColumnName(column) for column in columns]
        if table.GetUseColumnNameAsColumnHeader():
            self._model.setHorizontalHeaderLabels(names)
        else:
            self._model.appendRow([QtGui.QStandardItem(name) for name in names])
        for row in range(table.GetNumberOfRows()):
            self._model.appendRow([QtGui.QStandardItem(table.GetCellText(row, column)) for column in columns])

    firstRowLocked = stored(bool, False)
    firstColumnLocked = stored(bool, False)
    transposed = stored(bool, False)


class qMRMLSegmentsTableView(qMRMLWidget):
    """One row a segment: its colour and its name."""

    selectionChanged = Signal(QtCore.QItemSelection, QtCore.QItemSelection)
    _observed: Observed
    _table: QtWidgets.QTableWidget
    _ids: list[str]

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._ids, self._table = [], QtWidgets.QTableWidget(0, 2)
        self._table.setSelectionBehavior(QtWidgets.QTableWidget.SelectRows)
        in_a_row(self, self._table)
        self._table.selectionModel().selectionChanged.connect(self.selectionChanged)
        events = [vtk.vtkCommand.ModifiedEvent, slicer.vtkSegmentation.SegmentAdded]
        changes = [slicer.vtkSegmentation.SegmentRemoved, slicer.vtkSegmentation.SegmentModified]
        self._observed = Observed(self, [*events, *changes], self._refresh)

    def setSegmentationNode(self, node: Any) -> None:
        self._observed.set(node)

    def segmentationNode(self) -> Any:
        return self._observed.object

    def selectedSegmentIDs(self) -> tuple[str, ...]:
        return tuple(self._ids[index.row()] for index in self._table.selectionModel().selectedRows())

    def setSelectedSegmentIDs(self, ids: list[str]) -> None:
        self._table.clearSelection()
        for segment_id in ids:
            self._table.selectRow(self._ids.index(segment_id))

    def clearSelection(self) -> None:
        self._table.clearSelection()

    def _refresh(self) -> None:
        segmentation = self._observed.object and self._observed.object.GetSegmentation()
        self._ids = list(segmentation.GetSegmentIDs()) if segmentation else []
        self._table.setRowCount(len(self._ids))
        for row, segment_id in enumerate(self._ids):
            segment = segmentation.GetSegment(segment_id)
            swatch = QtWidgets.QTableWidgetItem()
            swatch.setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
            self._table.setItem(row, 0, swatch)
            self._table.setItem(row, 1, QtWidgets.QTableWidgetItem(segment.GetName()))

    segmentCount = Property(int, lambda self: len(self._ids))
    selectionMode = stored(int, 3)
    readOnly = stored(bool, False)
    headerVisible = stored(bool, True, lambda self: self._table.horizontalHeader().setVisible(self.headerVisible))
    visibilityColumnVisible = stored(bool, True)
    colorColumnVisible = stored(bool, True, lambda self: self._table.setColumnHidden(0, not self.colorColumnVisible))
    opacityColumnVisible = stored(bool, True)
    statusColumnVisible = stored(bool, False)


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """What it is told to edit, in a real segment editor node."""

    _node: Any

    def setMRMLSegmentEditorNode(self, node: Any) -> None:
        self._node = node

    def mrmlSegmentEditorNode(self) -> Any:
        return self._node

    def setSegmentationNode(self, node: Any) -> None:
        self._node.SetAndObserveSegmentationNode(node)

    def segmentationNode(self) -> Any:
        return self._node.GetSegmentationNode()

    def setSourceVolumeNode(self, node: Any) -> None:
        self._node.SetAndObserveSourceVolumeNode(node)

    def sourceVolumeNode(self) -> Any:
        return self._node.GetSourceVolumeNode()

    def setCurrentSegmentID(self, segment_id: str) -> None:
        self._node.SetSelectedSegmentID(segment_id)


STAND_INS = {name: found for name, found in list(globals().items()) if name.startswith("qMRML")}
