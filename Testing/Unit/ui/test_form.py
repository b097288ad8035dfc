"""Every name that the panels use on the form exists there, with the class that its ending promises."""

import ast
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

MODULE = Path(__file__).resolve().parents[3] / "DDSAM2Slicer"
SOURCES = sorted((MODULE / "DDSAM2SlicerLib" / "ui").glob("*.py"))
CLASSES = {
    "Button": {"QPushButton", "QToolButton"},
    "Combo": {"QComboBox"},
    "Selector": {"qMRMLNodeComboBox"},
    "Label": {"QLabel"},
    "Spin": {"QSpinBox"},
    "Bar": {"QProgressBar"},
    "Check": {"QCheckBox"},
    "Edit": {"QLineEdit"},
    "List": {"QListWidget"},
    "Slider": {"QSlider"},
    "Strip": {"QLabel"},
    "Table": {"qMRMLSegmentsTableView"},
}
KINDS = ("positive", "negative", "box", "stroke", "negativeStroke", "lasso")


def form_classes():
    tree = ET.parse(MODULE / "Resources" / "UI" / "DDSAM2Slicer.ui")
    return {widget.get("name"): widget.get("class") for widget in tree.iter("widget")}


def names_used(source):
    """Attributes of everything called ui or _ui, and the names in the table of keys."""
    used = set(re.findall(r'": "(\w+Button)"', source))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = node.value
            name = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            if name in ("ui", "_ui"):
                used.add(node.attr)
    return used


def all_names_used():
    used = set().union(*(names_used(path.read_text(encoding="utf-8")) for path in SOURCES))
    return sorted(used | {f"{kind}Button" for kind in KINDS})


@pytest.mark.parametrize("name", all_names_used())
def test_a_name_the_panels_use_is_in_the_form_with_its_class(name):
    ending = re.search(r"[A-Z][a-z]+$", name).group()
    assert form_classes().get(name) in CLASSES[ending]


def test_every_widget_a_user_can_change_is_used_by_a_panel():
    used = set(all_names_used())
    passive = {"QLabel", "QWidget", "ctkCollapsibleButton"}
    assert [name for name, kind in form_classes().items() if kind not in passive and name not in used] == []


def test_a_name_that_is_not_in_the_form_is_noticed():
    assert names_used("self._ui.noSuchButton.click()\nshared.ui.otherLabel") == {"noSuchButton", "otherLabel"}
    assert "noSuchButton" not in form_classes()
