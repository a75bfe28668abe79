"""The host holds what it promises: a tiny module lives in it, and what Slicer would refuse is refused."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import host
import numpy as np
import pytest

if host.why_not():
    pytest.skip(str(host.why_not()), allow_module_level=True)

import slicer
from host.application import start

start()  # makes qt, ctk and slicer.app

import ctk  # noqa: E402
import qt  # noqa: E402
from host.photograph import DARK, LIGHT, photograph  # noqa: E402
from host.ui_file import UiFileError  # noqa: E402

MODULE = """
import enum, sys
from typing import Annotated, Optional

import qt, slicer, vtk
from slicer import vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import *
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

PATH = list(sys.path)

class Mode(enum.Enum):
    FAST = 1
    EXACT = 2

@parameterNodeWrapper
class Parameters:
    volume: vtkMRMLScalarVolumeNode
    result: Optional[vtkMRMLSegmentationNode]
    threshold: Annotated[float, WithinRange(0.0, 1.0)] = 0.5
    mode: Mode
    window: Annotated[str, Choice(["brain", "blood"]), Default("blood")]
    invert: bool

class Tiny(ScriptedLoadableModule):
    def __init__(self, parent):
        super().__init__(parent)
        parent.title, parent.categories = _("Tiny"), ["Segmentation"]
        slicer.app.connect("startupCompleted()", self.register)

    def register(self):
        from SampleData import SampleDataLogic
        SampleDataLogic.registerCustomSampleDataSource(sampleName="Head", uris="https://x", checksums="SHA256:0")

class TinyWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def setup(self):
        super().setup()
        panel = slicer.util.loadUI(self.resourcePath("UI/Tiny.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.seen = []
        for name in ("StartCloseEvent", "EndCloseEvent"):
            self.addObserver(slicer.mrmlScene, getattr(slicer.mrmlScene, name), getattr(self, name))
        self.ui.apply.connect("clicked()", self.onApply)

    def enter(self):
        self.parameters = Parameters(TinyLogic().getParameterNode())
        named = {w.property("SlicerParameterName"): w for w in vars(self.ui).values()}
        named.pop(None)
        self.tag = self.parameters.connectParametersToGui(named)

    def exit(self):
        self.seen.append("exit")
        self.parameters.disconnectGui(self.tag)

    def cleanup(self):
        self.seen.append("cleanup")
        self.removeObservers()

    def StartCloseEvent(self, caller, event):
        self.seen.append("closing")

    def EndCloseEvent(self, caller, event):
        self.seen.append("closed")

    def onApply(self):
        with slicer.util.tryWithErrorDisplay("It failed."):
            if slicer.util.confirmOkCancelDisplay("Sure?"):
                raise RuntimeError("no model")

class TinyLogic(ScriptedLoadableModuleLogic):
    pass
"""

UI = """<ui version="4.0"><widget class="qMRMLWidget" name="Tiny"><layout class="QVBoxLayout" name="rows">
<item><widget class="qMRMLNodeComboBox" name="volume">
<property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
<property name="SlicerParameterName" stdset="0"><string>volume</string></property></widget></item>
<item><widget class="ctkSliderWidget" name="threshold"><property name="singleStep"><double>0.01</double></property>
<property name="SlicerParameterName" stdset="0"><string>threshold</string></property></widget></item>
<item><widget class="QComboBox" name="mode">
<property name="SlicerParameterName" stdset="0"><string>mode</string></property></widget></item>
<item><widget class="ctkPathLineEdit" name="wheels"><property name="filters">
<set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Readable</set></property></widget></item>
<item><widget class="QPushButton" name="apply"><property name="text"><string>Apply</string></property></widget></item>
</layout></widget><connections><connection><sender>Tiny</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>volume</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


@pytest.fixture
def tiny(load: Any, tmp_path: Path) -> Any:
    """The tiny module, set up and entered."""
    (tmp_path / "Resources" / "UI").mkdir(parents=True)
    (tmp_path / "Resources" / "UI" / "Tiny.ui").write_text(UI)
    (tmp_path / "Tiny.py").write_text(MODULE)
    return load(tmp_path / "Tiny.py")


def add_volume(name: str = "CT") -> Any:
    return slicer.util.addVolumeFromArray(np.zeros((3, 4, 5), np.int16), name=name)


def load_ui(body: str, rest: str = "") -> Any:
    buffer = qt.QBuffer()
    buffer.setData(f'<ui version="4.0"><widget class="QWidget" name="root">{body}</widget>{rest}</ui>'.encode())
    buffer.open(qt.QBuffer.ReadOnly)
    return qt.QUiLoader().load(buffer)


def test_slicers_package_has_not_taken_in_this_folder() -> None:
    assert not hasattr(slicer, "host")
    assert not hasattr(slicer, "test_host")


def test_a_probe_that_ends_its_process_gives_a_reason() -> None:
    assert host._complaint("import os; os.abort()") == "exit code -6"
    assert (
        host._complaint("import nothing_of_this_name") == "ModuleNotFoundError: No module named 'nothing_of_this_name'"
    )


def test_properties_are_attributes_and_setters_are_methods(application: Any) -> None:
    label = qt.QLabel("one")
    label.text += " two"
    label.setToolTip("three")
    label.name = "four"
    assert (label.text, label.toolTip, label.objectName, label.enabled) == ("one two", "three", "four", True)
    assert label.sizeHint.width() > 0
    assert qt.QTableWidget(2, 3).horizontalHeader().className() == "QHeaderView"


@pytest.mark.parametrize(
    ("name", "value"), [("txt", "a"), ("setText", None), ("linkActivated", None), ("enabled", None), ("minimumSize", 3)]
)
def test_what_is_no_property_or_does_not_fit_one_cannot_be_assigned(application: Any, name: str, value: Any) -> None:
    with pytest.raises(AttributeError):
        setattr(qt.QLabel(), name, value)


def test_objects_that_qt_made_and_items_are_as_strict(application: Any) -> None:
    with pytest.raises(AttributeError):
        qt.QTableWidget(1, 1).horizontalHeader().visibel = False
    with pytest.raises(AttributeError):
        qt.QTableWidgetItem("cell").toolTip = "a method in PythonQt"


def test_only_a_modules_own_subclass_holds_new_attributes(application: Any) -> None:
    card = type("Card", (qt.QFrame,), {})()
    card.lesions = 3
    assert card.lesions == 3
    for widget in (qt.QFrame(), slicer.qMRMLNodeComboBox(), ctk.ctkSliderWidget()):
        with pytest.raises(AttributeError):
            widget.lesions = 3


def test_a_slot_gets_the_arguments_of_the_signature(application: Any) -> None:
    button, got = qt.QPushButton(), []
    button.connect("clicked()", lambda *given: got.append(given))
    button.connect("clicked(bool)", lambda *given: got.append(given))
    button.click()
    assert got == [(), (False,)]


def test_a_disconnected_slot_is_silent(application: Any) -> None:
    button, got = qt.QPushButton(), []
    for _ in range(2):
        button.connect("clicked(bool)", got.append)
        button.click()
        button.disconnect("clicked(bool)", got.append)
        button.click()
    assert got == [False, False]


def test_an_unknown_signal_cannot_be_connected(application: Any) -> None:
    for sender, signature in ((qt.QPushButton(), "cliked()"), (application, "startupCompleted(int)")):
        with pytest.raises(AttributeError, match="has no signal"):
            sender.connect(signature, print)
    with pytest.raises(AttributeError):
        qt.QPushButton().cliked.connect(print)


def test_the_plain_setters_of_stand_ins_are_out_of_reach_as_in_pythonqt(application: Any) -> None:
    for widget, setter in ((slicer.qMRMLNodeComboBox(), "setNodeTypes"), (ctk.ctkSliderWidget(), "setMinimum")):
        assert not hasattr(widget, setter)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ('<widget class="qMRMLNoSuchView" name="a"/>', "no widget class qMRMLNoSuchView"),
        ('<widget class="QLabel" name="a"><property name="txt"><string/></property></widget>', "a has no property txt"),
        (
            '<widget class="QLabel" name="a"><property name="SlicerName" stdset="0"><string/></property></widget>',
            "SlicerName",
        ),
        (
            '<widget class="ctkComboBox" name="a"><property name="default"><string/></property></widget>',
            "no property default",
        ),
        (
            '<widget class="QLabel" name="a"><property name="frameShape"><enum>QFrame::Bx</enum></property></widget>',
            "QFrame::Bx",
        ),
        (
            '<widget class="QSlider" name="a"><property name="orientation"><enum>Qt::Orientation::Horizontal</enum>'
            "</property></widget>",
            "Class::Enumerator",
        ),
    ],
)
def test_a_wrong_ui_file_is_refused(application: Any, body: str, complaint: str) -> None:
    with pytest.raises(UiFileError, match=complaint):
        load_ui(f'<layout class="QVBoxLayout" name="rows"><item>{body}</item></layout>')


@pytest.mark.parametrize(("signal", "slot"), [("sceneChanged()", "close()"), ("windowTitleChanged(QString)", "shut()")])
def test_a_wrong_connection_in_a_ui_file_is_refused(application: Any, signal: str, slot: str) -> None:
    names = f"<sender>root</sender><signal>{signal}</signal><receiver>root</receiver><slot>{slot}</slot>"
    with pytest.raises(UiFileError, match="has no s"):
        load_ui("", f"<connections><connection>{names}</connection></connections>")


def test_a_module_is_imported_with_only_its_own_folder_on_the_path(tiny: Any) -> None:
    module = sys.modules["Tiny"]
    assert module.PATH[0] == os.path.dirname(module.__file__)
    assert not [entry for entry in module.PATH[1:] if not entry.startswith((sys.prefix, sys.base_prefix))]


def test_a_module_says_what_it_is_in_known_words(tiny: Any) -> None:
    assert (tiny.module.parent.title, tiny.module.parent.categories) == ("Tiny", ["Segmentation"])
    with pytest.raises(AttributeError):
        tiny.module.parent.categorys = []
    assert slicer.util.getModuleWidget("Tiny") is tiny.widget


def test_a_module_hears_the_start_the_scenes_end_and_its_own(application: Any, tiny: Any) -> None:
    application.startupCompleted.emit()
    assert [entry["sampleName"] for entry in application.sample_data] == ["Head"]
    slicer.mrmlScene.Clear()
    tiny.close()
    assert tiny.widget.seen == ["closing", "closed", "exit", "cleanup"]
    assert not hasattr(slicer.modules, "tiny")


def test_parameters_and_widgets_follow_each_other(tiny: Any) -> None:
    parameters, ui, changes = tiny.widget.parameters, tiny.widget.ui, []
    parameters.AddObserver("ModifiedEvent", lambda *_: changes.append(1))
    volume = add_volume()
    assert parameters.volume is volume
    ui.threshold.value = 0.25
    ui.mode.currentText = "EXACT"
    assert (parameters.threshold, parameters.mode.name, parameters.window) == (0.25, "EXACT", "blood")
    assert tiny.widget.parameters.parameterNode.GetParameter("threshold") == "0.25"
    parameters.threshold = 0.75
    assert ui.threshold.value == 0.75
    assert changes
    slicer.mrmlScene.RemoveNode(volume)
    assert parameters.volume is None


def test_parameters_start_anew_with_the_scene_and_rest_when_disconnected(tiny: Any) -> None:
    tiny.widget.parameters.threshold = 0.75
    slicer.mrmlScene.Clear()
    assert tiny.widget.parameters.threshold == tiny.widget.ui.threshold.value == 0.5
    threshold = {"threshold": tiny.widget.ui.threshold}
    tag = tiny.widget.parameters.connectParametersToGui(threshold)
    for connected in (tag, tiny.widget.tag):
        tiny.widget.parameters.disconnectGui(connected)
    tiny.widget.ui.threshold.value = 0.1
    assert tiny.widget.parameters.threshold == 0.5
    tiny.widget.tag = tiny.widget.parameters.connectParametersToGui(threshold)


def test_as_in_slicer_connecting_by_property_gives_no_tag_back(tiny: Any) -> None:
    tiny.widget.parameters.disconnectGui(tiny.widget.tag)
    assert tiny.widget.parameters.connectGui(tiny.widget.ui) is None
    tiny.widget.ui.threshold.value = 0.3
    assert tiny.widget.parameters.threshold == 0.3
    tiny.widget.tag = 0


@pytest.mark.parametrize(
    ("name", "value"), [("threshold", 1.5), ("threshold", "a"), ("window", "bone"), ("volum", None)]
)
def test_a_wrong_parameter_is_refused(tiny: Any, name: str, value: Any) -> None:
    with pytest.raises((ValueError, TypeError, AttributeError)):
        setattr(tiny.widget.parameters, name, value)


def test_a_parameter_of_an_unknown_type_or_an_unfit_widget_is_refused(tiny: Any) -> None:
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    with pytest.raises(TypeError, match="does not know"):
        parameterNodeWrapper(type("Lists", (), {"__annotations__": {"names": list[str]}}))
    for name, error in (("window", RuntimeError), ("windows", ValueError), ("threshold", ValueError)):
        tiny.widget.ui.apply.setProperty("SlicerParameterName", name)
        with pytest.raises(error, match=name):
            tiny.widget.parameters.connectGui(tiny.widget.ui)


def test_a_node_selector_filters_as_told(application: Any) -> None:
    volume, label = add_volume(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    assert not selector.enabled
    selector.setMRMLScene(slicer.mrmlScene)
    assert (selector.nodeCount(), selector.currentNode(), selector.currentNodeID) == (2, volume, volume.GetID())
    selector.showChildNodeTypes = False
    assert selector.nodeCount() == 1
    selector.showChildNodeTypes = True
    label.SetAttribute("Phase", "late")
    selector.addAttribute("vtkMRMLScalarVolumeNode", "Phase", "late")
    assert selector.currentNode() is label
    label.SetHideFromEditors(True)
    selector.noneEnabled = True
    assert (selector.nodeCount(), selector.currentNode()) == (0, None)
    selector.showHidden = True
    assert selector.nodeCount() == 1


def test_a_node_selector_adds_and_deletes_and_says_so(application: Any) -> None:
    selector, seen = slicer.qMRMLNodeComboBox(), []
    selector.nodeTypes, selector.noneEnabled = ["vtkMRMLSegmentationNode"], True
    selector.setMRMLScene(slicer.mrmlScene)
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: seen.append(node and node.GetName()))
    selector.connect("currentNodeChanged(bool)", seen.append)
    node = selector.addNode()
    selector.removeCurrentNode()
    assert seen == [node.GetName(), True, None, False]


def test_a_node_chosen_before_the_scene_is_known_stays_chosen(application: Any) -> None:
    selector, _first, second = slicer.qMRMLNodeComboBox(), add_volume("first"), add_volume("second")
    selector.setCurrentNode(second)
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.setMRMLScene(slicer.mrmlScene)
    assert selector.currentNode() is second


def test_tables_follow_their_nodes(application: Any) -> None:
    table, view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode"), slicer.qMRMLTableView()
    slicer.util.updateTableFromArray(table, [np.array([1.5, 2.5])], ["volume_ml"])
    view.setMRMLTableNode(table)
    assert [view.model().index(row, 0).data() for row in range(3)] == ["volume_ml", "1.5", "2.5"]
    table.SetUseColumnNameAsColumnHeader(True)
    assert (view.model().rowCount(), view.model().headerData(0, qt.Qt.Horizontal)) == (2, "volume_ml")


def test_segment_tables_follow_their_nodes(application: Any) -> None:
    segmentation, view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode"), slicer.qMRMLSegmentsTableView()
    view.setSegmentationNode(segmentation)
    segment = segmentation.GetSegmentation().AddEmptySegment("", "Hemorrhage")
    view.setSelectedSegmentIDs([segment])
    assert (view.segmentCount, view.selectedSegmentIDs()) == (1, (segment,))


def test_ctk_stand_ins_behave(application: Any, tmp_path: Path) -> None:
    box, inside = ctk.ctkCollapsibleButton("Advanced"), qt.QLabel("inside")
    qt.QVBoxLayout(box).addWidget(inside)
    box.collapsed = True
    assert (box.text, box.checked, inside.isHidden()) == ("Advanced", False, True)
    box.click()
    assert not inside.isHidden()
    slider, moved = ctk.ctkDoubleSlider(qt.Qt.Horizontal), []
    slider.connect("valueChanged(double)", moved.append)
    slider.maximum, slider.singleStep, slider.value = 2.0, 0.5, 7.0
    assert moved == [2.0]
    spin = ctk.ctkDoubleSpinBox()
    spin.decimals, spin.suffix, spin.value = 1, " ml", 2.25
    assert spin.cleanText in ("2.2", "2.3")
    application.answers["QFileDialog.getExistingDirectory"] = str(tmp_path)
    for chooser, name in ((ctk.ctkPathLineEdit(), "currentPath"), (ctk.ctkDirectoryButton(), "directory")):
        if name == "currentPath":
            chooser.filters = ctk.ctkPathLineEdit.Dirs
        chooser.browse()
        assert getattr(chooser, name) == str(tmp_path)


def test_data_nodes_have_an_item_in_the_subject_hierarchy_while_they_live(application: Any) -> None:
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    nodes = [add_volume(), slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")]
    items = [hierarchy.GetItemByDataNode(node) for node in nodes]
    assert all(items)
    slicer.mrmlScene.RemoveNode(nodes[0])
    assert hierarchy.GetItemDataNode(items[1]) is nodes[1]
    assert hierarchy.GetNumberOfItems() == 1


def test_all_slice_views_jump_to_a_place(application: Any) -> None:
    slicer.modules.markups.logic().JumpSlicesToLocation(1.0, 2.0, 3.0, True)
    logics = [application.layoutManager().sliceWidget(name).sliceLogic() for name in ("Red", "Green", "Yellow")]
    assert [logic.GetSliceOffset() for logic in logics] == [3.0, 2.0, -1.0]
    slicer.util.setSliceViewerLayers(background=add_volume(), fit=True)
    assert logics[0].GetSliceCompositeNode().GetBackgroundVolumeID()


def test_a_saved_scene_comes_back_with_its_items(application: Any, tmp_path: Path) -> None:
    add_volume("Head")
    slicer.mrmlScene.WriteToMRB(str(tmp_path / "scene.mrb"))
    slicer.mrmlScene.Clear()
    slicer.mrmlScene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    assert slicer.mrmlScene.GetSubjectHierarchyNode().GetItemByDataNode(slicer.util.getNode("Head"))


def test_an_error_is_shown_to_the_user_and_found_by_the_test(application: Any, tiny: Any) -> None:
    application.answers["confirmOkCancelDisplay"] = True
    tiny.widget.ui.apply.click()
    assert application.shown("confirmOkCancelDisplay") == ["Sure?"]
    assert application.shown("errorDisplay") == ["It failed.\n\nno model"]
    assert [str(error) for error in application.errors] == ["no model"]
    application.errors.clear()


def test_a_question_that_nobody_answers_is_an_error(application: Any) -> None:
    for ask in (lambda: slicer.util.confirmYesNoDisplay("?"), qt.QFileDialog.getOpenFileName, qt.QDialog().exec_):
        with pytest.raises(AssertionError, match="nobody answers"):
            ask()


def test_installs_and_other_modules_are_noted_not_done(application: Any) -> None:
    slicer.util.pip_install("e3nn>=0.5")
    slicer.packaging.pip_ensure(["torch"], requester="Tiny")
    application.answers["pip_ensure"] = RuntimeError("the user declined")
    with pytest.raises(RuntimeError, match="declined"):
        slicer.packaging.pip_ensure("torch")
    with pytest.raises(TypeError):
        slicer.packaging.pip_ensure("torch", asker="Tiny")
    slicer.util.selectModule("SegmentEditor")
    assert [dialog.kind for dialog in application.dialogs] == ["pip_install", *["pip_ensure"] * 2, "selectModule"]


def test_the_segment_editor_is_handed_its_nodes(application: Any) -> None:
    editor = slicer.modules.segmenteditor.widgetRepresentation().self().editor
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    editor.setSegmentationNode(segmentation)
    assert editor.mrmlSegmentEditorNode().GetSegmentationNode() is segmentation


def test_swallowed_exceptions_and_qt_warnings_come_out(application: Any) -> None:
    qt.QTimer.singleShot(0, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        application.wait_until(lambda: False)
    qt.QVBoxLayout(box := qt.QWidget())
    qt.QVBoxLayout(box)
    assert "already has a layout" in str(application.errors.pop())
    with pytest.raises(TimeoutError):
        application.wait_until(lambda: False, seconds=0.01)


def test_settings_and_clipboard_last_for_one_test(application: Any) -> None:
    qt.QSettings().setValue("Tiny/folder", "a")
    application.clipboard().setText("report")
    assert slicer.util.settingsValue("Tiny/folder", "") == "a"
    assert application.clipboard().text() == "report"
    application.reset()
    assert not application.settings().contains("Tiny/folder")
    assert not application.clipboard().text()


def test_photographs_are_as_wide_as_asked_and_follow_the_theme(tiny: Any, tmp_path: Path) -> None:
    corners = []
    for colors in (LIGHT, DARK):
        photograph(tiny.widget.parent, tmp_path / "panel.png", width=320, colors=colors, pixels=2)
        picture = qt.QImage(str(tmp_path / "panel.png"))
        assert picture.width() == 640
        corners.append(picture.pixelColor(2, 2).lightness())
    assert corners[0] > 200 > 100 > corners[1]


def test_a_panel_too_wide_for_its_photograph_is_found(application: Any, tmp_path: Path) -> None:
    label = qt.QLabel("long " * 100)
    with pytest.raises(ValueError, match="the widget needs"):
        photograph(label, tmp_path / "panel.png")
