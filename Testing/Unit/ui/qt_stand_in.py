"""PySide6 dressed as PythonQt, as far as the panels use it, and stand-ins for Slicer's own widgets.

Like PythonQt: properties are attributes, unknown attributes and wrong types raise AttributeError, signals connect by
signature, an unknown signal is reported and not raised, and so are exceptions in slots. Here both land in PROBLEMS.
"""

# ruff: noqa: N802, N815, D105 (the names are those of Qt and Slicer)

import os
import traceback
from types import ModuleType

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

PROBLEMS: list[str] = []
SIMPLE = (bool, int, float, str)


class qMRMLNodeComboBox(QtWidgets.QComboBox):  # noqa: N801 (Slicer's name)
    """Stands for qMRMLNodeComboBox: one node, a signal when it changes."""

    currentNodeChanged = QtCore.Signal(object)
    SIGNALS = ("currentNodeChanged(vtkMRMLNode*)",)

    def __init__(self, parent=None):
        """No scene, no node."""
        super().__init__(parent)
        self.scene = self.node = None

    def setMRMLScene(self, scene):
        self.scene = scene

    def currentNode(self):
        return self.node

    def setCurrentNode(self, node):
        if node is not self.node:
            self.node = node
            self.currentNodeChanged.emit(node)


class qMRMLSegmentsTableView(QtWidgets.QWidget):  # noqa: N801
    """Stands for qMRMLSegmentsTableView."""

    selectionChanged = QtCore.Signal(object, object)
    SIGNALS = ("selectionChanged(QItemSelection,QItemSelection)",)

    def __init__(self, parent=None):
        """No segmentation."""
        super().__init__(parent)
        self.node, self.selected = None, ()

    def setMRMLScene(self, scene):
        self.scene = scene

    def segmentationNode(self):
        return self.node

    def setSegmentationNode(self, node):
        self.node, self.selected = node, ()

    def selectedSegmentIDs(self):
        return tuple(self.selected)

    def setSelectedSegmentIDs(self, ids):
        self.selected = tuple(ids)
        self.selectionChanged.emit(None, None)


class ctkCollapsibleButton(QtWidgets.QGroupBox):  # noqa: N801
    """Stands for ctkCollapsibleButton."""

    def _text(self):
        return self.title()

    def _set_collapsed(self, is_collapsed):
        self.is_collapsed = is_collapsed

    text = QtCore.Property(str, _text, lambda self, text: self.setTitle(text))
    collapsed = QtCore.Property(bool, lambda self: getattr(self, "is_collapsed", False), _set_collapsed)


CUSTOM = (qMRMLNodeComboBox, qMRMLSegmentsTableView, ctkCollapsibleButton)


def wrap(value):
    """Qt objects as PythonQt shows them; everything else as it is."""
    return Dressed(value) if isinstance(value, QtCore.QObject) else value


def bare(value):
    """The Qt object below."""
    return value._object if isinstance(value, Dressed) else value


class Dressed:
    """One Qt object."""

    __slots__ = ("_object",)

    def __init__(self, qt_object):
        """Dress an object."""
        object.__setattr__(self, "_object", qt_object)

    def __getattr__(self, name):
        index = self._object.metaObject().indexOfProperty(name)
        if index >= 0:
            return wrap(self._object.property(name))
        method = getattr(self._object, name)
        return lambda *args: wrap(method(*map(bare, args)))

    def __setattr__(self, name, value):
        index = self._object.metaObject().indexOfProperty(name)
        if index < 0:
            msg = f"{type(self._object).__name__} has no property {name!r}"
            raise AttributeError(msg)
        before = self._object.property(name)
        if isinstance(before, SIMPLE) and isinstance(before, str) != isinstance(value, str):
            msg = f"property {name!r} of {type(self._object).__name__} does not take {value!r}"
            raise AttributeError(msg)
        self._object.setProperty(name, type(before)(value) if isinstance(before, bool | int) else value)

    def connect(self, signature, slot):
        known = getattr(self._object, "SIGNALS", ())
        if signature not in known and not self._has_signal(signature):
            PROBLEMS.append(f"{type(self._object).__name__} has no signal {signature}")
            return False
        takes = signature.count(",") + 1 if not signature.endswith("()") else 0
        getattr(self._object, signature.partition("(")[0]).connect(_guard(slot, takes))
        return True

    def _has_signal(self, signature):
        def ask():
            meta = self._object.metaObject()
            return meta.indexOfSignal(meta.normalizedSignature(signature).data().decode()) >= 0

        try:
            return ask()
        except RuntimeError:  # PySide6 now and then hands out the meta-object of a deleted one, but once only
            return ask()

    def disconnect(self, signature):
        getattr(self._object, signature.partition("(")[0]).disconnect()


def _guard(slot, takes):
    def call(*args):
        try:
            slot(*map(wrap, args[:takes]))
        except Exception:  # noqa: BLE001 (PythonQt prints whatever a slot raises)
            PROBLEMS.append(traceback.format_exc())

    return call


class FileDialog:
    """Answers with what a test has put there."""

    answer = ""

    @staticmethod
    def getOpenFileName(*_):
        return FileDialog.answer

    getSaveFileName = getOpenFileName


def create_module():
    """The module ``qt``."""
    qt = ModuleType("qt")
    qt.QPixmap, qt.QPainter, qt.QColor = QtGui.QPixmap, QtGui.QPainter, QtGui.QColor
    qt.QObject, qt.QEvent = QtCore.QObject, QtCore.QEvent
    qt.QTimer = lambda: Dressed(QtCore.QTimer())
    qt.QTimer.singleShot = QtCore.QTimer.singleShot
    qt.QKeySequence, qt.QFileDialog = QtGui.QKeySequence, FileDialog
    qt.QShortcut = lambda key, parent: Dressed(QtGui.QShortcut(key, bare(parent)))
    qt.QLabel = lambda text: Dressed(QtWidgets.QLabel(text))
    return qt


def load_form(path):
    """The root widget of a .ui file."""
    loader = QtUiTools.QUiLoader()
    for kind in CUSTOM:
        loader.registerCustomWidget(kind)
    return Dressed(loader.load(str(path)))


class Names:
    """Widgets of a form by name, as ``slicer.util.childWidgetVariables`` gives them."""

    def __init__(self, root):
        """Find them all."""
        for widget in bare(root).findChildren(QtWidgets.QWidget):
            if widget.objectName():
                setattr(self, widget.objectName(), Dressed(widget))
