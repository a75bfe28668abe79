"""Stand-ins for CTK's widgets: properties, signals and slots as in its headers (commontk.org), the common ones.

PythonQt reaches properties, signals and slots of these classes, not their other methods: there is no setMinimum().
Enumerators are numbers.
"""

from __future__ import annotations

import os
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from host.stand_in import forwarded, in_a_row, stored

Signal, Property = QtCore.Signal, QtCore.Property


class ctkDoubleSlider(QtWidgets.QWidget):
    valueChanged = Signal(float)
    sliderMoved = Signal(float)
    sliderReleased = Signal()
    rangeChanged = Signal(float, float)
    _slider: QtWidgets.QSlider
    _value: float
    _low: float
    _high: float
    _step: float

    def __init__(self, *arguments: Any) -> None:
        orientation = [given for given in arguments if isinstance(given, QtCore.Qt.Orientation)]
        super().__init__(*[given for given in arguments if given not in orientation])
        self._value, self._low, self._high, self._step = 0.0, 0.0, 99.0, 1.0
        self._slider = QtWidgets.QSlider(*(orientation or [QtCore.Qt.Vertical]), self)
        in_a_row(self, self._slider)
        self._slider.valueChanged.connect(lambda ticks: self.setValue(self._at(ticks)))
        self._slider.sliderMoved.connect(lambda ticks: self.sliderMoved.emit(self._at(ticks)))
        self._slider.sliderReleased.connect(self.sliderReleased)

    def _at(self, ticks: int) -> float:
        return min(self._low + ticks * self._step, self._high)

    def setValue(self, value: float) -> None:
        value = min(max(value, self._low), self._high)
        if value != self._value:
            self._value = value
            self._move()
            self.valueChanged.emit(value)

    def setOrientation(self, orientation: int) -> None:
        self._slider.setOrientation(QtCore.Qt.Orientation(orientation))

    def _move(self) -> None:
        self._slider.blockSignals(True)
        self._slider.setRange(0, round((self._high - self._low) / self._step))
        self._slider.setValue(round((self._value - self._low) / self._step))
        self._slider.blockSignals(False)

    def _bound(self, low: float, high: float) -> None:
        self._low, self._high = low, high
        self.setValue(self._value)
        self._move()
        self.rangeChanged.emit(low, high)

    def _set_step(self, step: float) -> None:
        self._step = step
        self._move()

    value = Property(float, lambda self: self._value, setValue)
    minimum = Property(float, lambda self: self._low, lambda self, low: self._bound(low, max(low, self._high)))
    maximum = Property(float, lambda self: self._high, lambda self, high: self._bound(min(high, self._low), high))
    singleStep = Property(float, lambda self: self._step, _set_step)
    pageStep = stored(float, 10.0)
    (tracking,) = forwarded(bool, "_slider", "tracking")
    orientation = Property(int, lambda self: self._slider.orientation.value, setOrientation)


class ctkSliderWidget(QtWidgets.QWidget):
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    _slider: ctkDoubleSlider
    _box: QtWidgets.QDoubleSpinBox

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._slider, self._box = ctkDoubleSlider(QtCore.Qt.Horizontal), QtWidgets.QDoubleSpinBox()
        in_a_row(self, self._slider, self._box)
        self._slider.valueChanged.connect(self._box.setValue)
        self._slider.sliderMoved.connect(self._moved)
        self._box.valueChanged.connect(self._changed)

    def _moved(self, value: float) -> None:
        if not self._slider.tracking:
            self.valueIsChanging.emit(value)

    def _changed(self, value: float) -> None:
        self._slider.blockSignals(True)
        self._slider.setValue(value)
        self._slider.blockSignals(False)
        self.valueChanged.emit(value)

    def _put(self, name: str, value: float) -> None:
        setattr(self._slider, name, value)
        setattr(self._box, name, value)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._box.setVisible(visible)

    def reset(self) -> None:
        self._box.setValue(0.0)

    minimum = Property(float, lambda self: self._box.minimum, lambda self, low: self._put("minimum", low))
    maximum = Property(float, lambda self: self._box.maximum, lambda self, high: self._put("maximum", high))
    singleStep = Property(float, lambda self: self._box.singleStep, lambda self, step: self._put("singleStep", step))
    spinBoxVisible = Property(bool, lambda self: not self._box.isHidden(), setSpinBoxVisible)
    (value,) = forwarded(float, "_box", "value")
    (decimals,) = forwarded(int, "_box", "decimals")
    prefix, suffix = forwarded(str, "_box", "prefix", "suffix")
    (pageStep,) = forwarded(float, "_slider", "pageStep")
    (tracking,) = forwarded(bool, "_slider", "tracking")


class ctkDoubleSpinBox(QtWidgets.QWidget):
    valueChanged = Signal((float,), (str,))
    editingFinished = Signal()
    _box: QtWidgets.QDoubleSpinBox

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._box = QtWidgets.QDoubleSpinBox()
        in_a_row(self, self._box)
        self._box.valueChanged.connect(self.valueChanged)
        self._box.textChanged.connect(self.valueChanged[str])
        self._box.editingFinished.connect(self.editingFinished)

    def setValue(self, value: float) -> None:
        self._box.setValue(value)

    value, minimum, maximum, singleStep = forwarded(float, "_box", "value", "minimum", "maximum", "singleStep")
    prefix, suffix, cleanText = forwarded(str, "_box", "prefix", "suffix", "cleanText")
    frame, readOnly = forwarded(bool, "_box", "frame", "readOnly")
    (decimals,) = forwarded(int, "_box", "decimals")
    decimalsOption = stored(int, 9)


def _fold(box: QtWidgets.QWidget, folded: bool) -> None:
    """Hide the children, or show those again that this hid."""
    for child in box.findChildren(QtWidgets.QWidget, options=QtCore.Qt.FindDirectChildrenOnly):
        if folded and not child.isHidden():
            child.setProperty("folded", True)
            child.hide()
        elif not folded and child.property("folded"):
            child.setProperty("folded", None)
            child.show()


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    contentsCollapsed = Signal(bool)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*[given for given in arguments if not isinstance(given, str)])
        self.setText("".join(given for given in arguments if isinstance(given, str)))
        self.setCheckable(True)
        self.setChecked(True)
        self.setContentsMargins(0, self._head(), 0, 0)
        self.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.Preferred)
        self.toggled.connect(self._toggled)

    def _head(self) -> int:
        return self.fontMetrics().height() + 8

    def _toggled(self, opened: bool) -> None:
        _fold(self, not opened)
        self.updateGeometry()
        self.contentsCollapsed.emit(not opened)

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        _fold(self, not self.checked)
        super().showEvent(event)

    def hitButton(self, place: QtCore.QPoint) -> bool:
        return place.y() < self._head()

    def sizeHint(self) -> QtCore.QSize:
        head = QtCore.QSize(self.fontMetrics().horizontalAdvance(self.text) + 40, self._head())
        return self.layout().sizeHint().expandedTo(head) if self.layout() is not None and self.checked else head

    def minimumSizeHint(self) -> QtCore.QSize:
        head = QtCore.QSize(0, self._head())
        return self.layout().minimumSize().expandedTo(head) if self.layout() is not None and self.checked else head

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter, option = QtWidgets.QStylePainter(self), QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, self._head())
        painter.drawPrimitive(QtWidgets.QStyle.PE_PanelButtonCommand, option)
        painter.drawText(option.rect.adjusted(24, 0, -4, 0), QtCore.Qt.AlignVCenter, self.text)
        option.rect = QtCore.QRect(8, (self._head() - 10) // 2, 10, 10)
        arrow = QtWidgets.QStyle.PE_IndicatorArrowDown if self.checked else QtWidgets.QStyle.PE_IndicatorArrowRight
        painter.drawPrimitive(arrow, option)

    collapsed = Property(bool, lambda self: not self.checked, lambda self, shut: self.setChecked(not shut))
    collapsedHeight = stored(int, 10)
    contentsFrameShape = stored(int, 0)


class ctkCollapsibleGroupBox(QtWidgets.QGroupBox):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.setCheckable(True)
        self.toggled.connect(lambda opened: _fold(self, not opened))

    def showEvent(self, event: QtGui.QShowEvent) -> None:
        _fold(self, not self.checked)
        super().showEvent(event)

    collapsed = Property(bool, lambda self: not self.checked, lambda self, shut: self.setChecked(not shut))
    collapsedHeight = stored(int, 14)


class ctkComboBox(QtWidgets.QComboBox):
    NeverScroll, AlwaysScroll, ScrollWithFocus, ScrollWithNoVScrollBar = range(4)
    defaultText = stored(str, "", lambda self: self.setPlaceholderText(self.defaultText))
    forceDefault = stored(bool, False)
    elideMode = stored(int, 3)
    scrollWheelEffect = stored(int, 1)


class ctkPathLineEdit(QtWidgets.QWidget):
    Dirs, Files, Drives, NoSymLinks, Readable, Writable, Executable, Hidden = 1, 2, 4, 8, 16, 32, 64, 256
    currentPathChanged = Signal(str)
    _edit: QtWidgets.QLineEdit
    _browse: QtWidgets.QToolButton

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._edit, self._browse = QtWidgets.QLineEdit(), QtWidgets.QToolButton()
        self._browse.setText("...")
        in_a_row(self, self._edit, self._browse)
        self._edit.textChanged.connect(self.currentPathChanged)
        self._browse.clicked.connect(self.browse)

    def setCurrentPath(self, path: str) -> None:
        self._edit.setText(path)

    def browse(self) -> None:
        dialog = QtWidgets.QFileDialog
        file = dialog.getSaveFileName if self.filters & self.Writable else dialog.getOpenFileName
        chosen = (file if self.filters & self.Files else dialog.getExistingDirectory)(self, self.label, "")
        if chosen:
            self.setCurrentPath(chosen)

    (currentPath,) = forwarded(str, "_edit", "text")
    label = stored(str, "")
    filters = stored(int, 7)
    settingKey = stored(str, "")
    nameFilters = stored("QStringList", [])
    showHistoryButton = stored(bool, True)
    showBrowseButton = stored(bool, True, lambda self: self._browse.setVisible(self.showBrowseButton))


class ctkDirectoryButton(QtWidgets.QWidget):
    directoryChanged = Signal(str)
    directorySelected = Signal(str)
    _button: QtWidgets.QPushButton
    _directory: str

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._button, self._directory = QtWidgets.QPushButton(os.getcwd()), os.getcwd()
        in_a_row(self, self._button)
        self._button.clicked.connect(self.browse)

    def _set_directory(self, path: str) -> None:
        changed, self._directory = path != self._directory, path
        self._button.setText(self.text or path)
        self.directorySelected.emit(path)
        if changed:
            self.directoryChanged.emit(path)

    def browse(self) -> str:
        chosen = QtWidgets.QFileDialog.getExistingDirectory(self, self.caption, self._directory)
        if chosen:
            self._set_directory(chosen)
        return chosen

    directory = Property(str, lambda self: self._directory, _set_directory)
    caption = stored(str, "")
    text = stored(str, "", lambda self: self._button.setText(self.text or self._directory))


STAND_INS = {name: found for name, found in list(globals().items()) if name.startswith("ctk")}
