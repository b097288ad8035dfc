"""Settings, worker command, adapters and limits: used by the next preview and run, kept in the scene, restored."""

import importlib
import shlex
import sys

import pytest

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")

from DDSAM2SlicerLib.core.masks import label_components  # noqa: E402 (as are all below: they need slicer)
from DDSAM2SlicerLib.core.prompts import Point, PromptSet  # noqa: E402
from DDSAM2SlicerLib.core.settings import EngineSettings  # noqa: E402
from DDSAM2SlicerLib.logic.install import Outcome  # noqa: E402
from DDSAM2SlicerLib.logic.state import State  # noqa: E402
from DDSAM2SlicerLib.mrml.editing import EditRules, Overwrite  # noqa: E402

FRAME = 8
TAG = "DDSAM2Slicer"
ELSEWHERE = shlex.join([sys.executable, "-m", "DDSAM2SlicerLib.cli", "worker", "--fake"])


@pytest.fixture
def parameter_node(monkeypatch):
    """Opens the module's parameter node in the scene, made when there is none, as Slicer's logic does."""
    import parameter_stand_in

    monkeypatch.setitem(sys.modules, "slicer.parameterNodeWrapper", parameter_stand_in.create_module())
    name = "DDSAM2SlicerLib.mrml.parameters"
    sys.modules.pop(name, None)
    module = importlib.import_module(name)

    def open_node():
        node = slicer.mrmlScene.GetSingletonNode(TAG, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(TAG)
            slicer.mrmlScene.AddNode(node)
        return module.open_parameters(node)

    yield open_node
    sys.modules.pop(name, None)


def begin(panel, volume):
    """Use a volume, with one object and its frame shown."""
    panel.model.add_file("fake")
    panel.ui.inputSelector.setCurrentNode(volume)
    panel.ui.axisCombo.currentIndex = 3
    panel.ui.beginButton.click()
    panel.ui.addObjectButton.click()
    panel.shared.viewing.show(FRAME)


def place_two_points(panel):
    prompts = PromptSet.empty().with_point(1, FRAME, Point(7, 7)).with_point(1, FRAME, Point(28, 24))
    panel.coordinator.set_prompts(PromptSet.empty())
    panel.coordinator.set_prompts(prompts)
    panel.loop.until_idle()


def type_command(panel, stand_in, command, is_left=False):
    """Type over the line of the worker command; end with Return, or leave the line."""
    from PySide6 import QtTest

    edit = stand_in.bare(panel.ui.commandEdit)
    edit.selectAll()
    QtTest.QTest.keyClicks(edit, command or " ")
    if is_left:
        edit.editingFinished.emit()
    else:
        QtTest.QTest.keyClick(edit, stand_in.QtCore.Qt.Key.Key_Return)


def command_in_use(panel):
    return panel.coordinator._transport._client.command


def test_the_settings_show_the_defaults_choices_and_help_of_their_schema(panel, stand_in):
    ui = panel.ui
    rules = [stand_in.bare(ui.memoryRuleCombo).itemText(row) for row in range(ui.memoryRuleCombo.count)]
    assert rules[:2] == ["recent", "short"]
    assert (ui.zoomCheck.checked, ui.stopAfterEmptySpin.value, ui.precisionCombo.currentText) == (True, 3, "auto")
    assert ui.fillHolesSpin.toolTip == "Fill holes of at most this many pixels; 0 leaves all holes."
    assert ui.stopAfterEmptySpin.minimum == 0
    assert panel.shared.settings == EngineSettings()


def test_every_setting_reaches_the_engine_and_the_scene(make_panel, make_memory):
    memory = make_memory()
    ui = (panel := make_panel(parameters=memory)).ui
    ui.zoomCheck.checked = ui.maskPriorCheck.checked = False
    ui.nonOverlapCheck.checked = ui.keepLargestCheck.checked = True
    ui.memoryRuleCombo.currentText, ui.memoryUseCombo.currentText = "diverse", "never"
    ui.precisionCombo.currentText = "fp32"
    ui.stopAfterEmptySpin.value, ui.fillHolesSpin.value = 7, 9
    expected = EngineSettings(
        zoom=False,
        memory_rule="diverse",
        stop_after_empty=7,
        mask_prior=False,
        memory_use="never",
        non_overlap=True,
        fill_holes_px=9,
        keep_largest=True,
        precision="fp32",
    )
    assert panel.coordinator._transport._model[2] == expected
    kept = memory.zoom, memory.memoryRule, memory.stopAfterEmpty, memory.maskPrior
    assert kept == (False, "diverse", 7, False)
    kept = memory.memoryUse, memory.nonOverlap, memory.fillHolesPx, memory.keepLargest, memory.precision
    assert kept == ("never", True, 9, True, "fp32")


def test_a_changed_setting_counts_from_the_next_preview_and_run_on(make_panel, a_volume):
    panel = make_panel()
    begin(panel, a_volume)
    parts = []
    for is_checked in (False, True):
        panel.ui.keepLargestCheck.checked = is_checked
        place_two_points(panel)
        panel.ui.propagateButton.click()
        panel.loop.until_idle()
        assert panel.coordinator.state.error == ""
        shown = panel.coordinator.preview.masks[1]
        written = panel.coordinator._space.read_mask(1, FRAME)
        parts.append((label_components(shown)[1], label_components(written)[1]))
    assert parts == [(2, 2), (1, 1)]


def test_nothing_about_the_model_can_be_changed_during_a_run(make_panel, a_volume):
    panel = make_panel()
    begin(panel, a_volume)
    panel.model.add_file("fake?delay_s=0.05")
    place_two_points(panel)
    panel.ui.propagateButton.click()
    ui = panel.ui
    fixed = (ui.zoomCheck, ui.memoryRuleCombo, ui.commandEdit, ui.modelCombo, ui.fileButton, ui.adaptersButton)
    for widget in fixed:
        assert not widget.enabled
        assert widget.toolTip == "Wait for the propagation to end, or stop it."
    ui.stopButton.click()
    panel.loop.until_idle()
    assert all(widget.enabled for widget in fixed)


def test_a_typed_command_starts_the_worker_elsewhere_where_nothing_is_installed(
    make_panel, make_memory, a_volume, stand_in
):
    memory = make_memory()
    panel = make_panel(parameters=memory, outcome=Outcome(False, "Nothing was installed."))
    begin(panel, a_volume)
    own = command_in_use(panel)
    type_command(panel, stand_in, ELSEWHERE)
    assert memory.workerCommand == ELSEWHERE
    assert list(command_in_use(panel)) == shlex.split(ELSEWHERE)
    place_two_points(panel)
    assert 1 in panel.coordinator.preview.masks
    panel.ui.boxButton.click()
    assert (panel.shared.placing.kind, panel.installs) == ("box", [])
    type_command(panel, stand_in, "", is_left=True)
    assert (command_in_use(panel), memory.workerCommand) == (own, "")


def test_a_command_that_cannot_be_read_or_started_is_one_sentence(make_panel, a_volume, stand_in):
    panel = make_panel()
    begin(panel, a_volume)
    type_command(panel, stand_in, 'ssh "HOST')
    assert panel.ui.statusLabel.text.endswith("cannot be read (No closing quotation). Close its quotation marks.")
    type_command(panel, stand_in, "/nowhere/ssh HOST")
    place_two_points(panel)
    assert panel.ui.statusLabel.text.startswith("The worker cannot be started: '/nowhere/ssh' (")


def test_a_command_of_somebody_elses_scene_is_shown_but_started_only_when_confirmed(make_panel, make_memory, stand_in):
    panel = make_panel()
    own = command_in_use(panel)
    memory = make_memory(workerCommand=ELSEWHERE)
    panel.recall(memory)
    edit = panel.ui.commandEdit
    assert edit.text == ELSEWHERE
    assert command_in_use(panel) == own
    assert panel.ui.statusLabel.text.startswith("This scene names a worker command. To use it press Return")
    assert edit.toolTip.startswith("Not used yet")
    stand_in.bare(edit).editingFinished.emit()  # clicked into the line and away again
    assert command_in_use(panel) == own
    stand_in.bare(edit).returnPressed.emit()
    assert list(command_in_use(panel)) == shlex.split(ELSEWHERE)
    assert edit.toolTip.startswith("Command that starts the worker elsewhere")
    panel.recall(make_memory())
    assert (edit.text, command_in_use(panel)) == ("", own)
    panel.recall(memory)  # confirmed before
    assert list(command_in_use(panel)) == shlex.split(ELSEWHERE)


def test_an_adapter_file_is_chosen_shown_and_let_go_of(make_panel, make_memory, stand_in, tmp_path, a_volume):
    memory = make_memory()
    panel = make_panel(parameters=memory)
    begin(panel, a_volume)
    ui = panel.ui
    assert (ui.adaptersLabel.text, ui.noAdaptersButton.toolTip) == ("none", "No adapter file is chosen.")
    stand_in.FileDialog.answer = str(tmp_path / "gone.safetensors")
    ui.adaptersButton.click()
    assert ui.adaptersLabel.text == "gone.safetensors"
    assert memory.adapterFile == str(tmp_path / "gone.safetensors")
    place_two_points(panel)
    assert "gone.safetensors cannot be read" in ui.statusLabel.text
    ui.noAdaptersButton.click()
    assert (ui.adaptersLabel.text, memory.adapterFile, ui.noAdaptersButton.enabled) == ("none", "", False)
    place_two_points(panel)
    assert panel.coordinator.state.error == ""
    assert 1 in panel.coordinator.preview.masks


def test_a_saved_scene_brings_back_every_choice(make_panel, parameter_node, make, a_volume, tmp_path, stand_in):
    panel = make_panel(parameters=parameter_node())
    begin(panel, a_volume)
    ui = panel.ui
    ui.deviceCombo.currentText = "cpu"
    ui.directionCombo.currentIndex, ui.overwriteCombo.currentIndex = 2, 1
    ui.limitCheck.checked = True
    ui.firstSpin.value, ui.lastSpin.value = 4, 9
    ui.keepLargestCheck.checked, ui.stopAfterEmptySpin.value, ui.memoryRuleCombo.currentText = True, 5, "short"
    panel.model.use_adapters("/mine/adapters.safetensors")
    type_command(panel, stand_in, ELSEWHERE)
    make.reload(tmp_path)
    panel.recall(parameter_node())  # the same panel, as after File / Load
    other = make_panel(parameters=parameter_node())  # and another one, as in the next session
    for one in (panel, other):
        ui = one.ui
        assert one.model.chosen == "fake"
        assert (ui.deviceCombo.currentText, ui.adaptersLabel.text) == ("cpu", "adapters.safetensors")
        assert (ui.directionCombo.currentIndex, ui.limitCheck.checked) == (2, True)
        assert one.coordinator.rules == EditRules(Overwrite.ALL)
        assert one.shared.settings == EngineSettings(keep_largest=True, stop_after_empty=5, memory_rule="short")
        assert ui.commandEdit.text == ELSEWHERE
        ui.beginButton.click()
        assert (ui.firstSpin.value, ui.lastSpin.value) == (4, 9)
    assert panel.coordinator._transport._model[1:] == ("cpu", panel.shared.settings, "/mine/adapters.safetensors")


def test_limits_of_a_scene_are_clipped_to_its_image_and_the_next_image_has_its_own(
    make_panel, make_memory, make, a_volume
):
    import numpy as np

    memory = make_memory(limitRange=True, firstFrame=3, lastFrame=400, direction="sideways", device="", model="")
    panel = make_panel(parameters=memory)
    ui = panel.ui
    assert (ui.directionCombo.currentIndex, ui.deviceCombo.currentText, panel.model.chosen) == (0, "auto", "nano")
    begin(panel, a_volume)
    assert (ui.firstSpin.value, ui.lastSpin.value, memory.lastFrame) == (3, 15, 15)
    ui.inputSelector.setCurrentNode(make.volume(np.zeros((9, 12, 12), np.uint8)))
    ui.beginButton.click()
    assert (ui.firstSpin.value, ui.lastSpin.value, memory.firstFrame, memory.lastFrame) == (0, 8, 0, 8)


@pytest.mark.parametrize("kind", ["QLineEdit", "QSpinBox", "QTextEdit"])
def test_a_letter_typed_into_a_field_is_a_letter_and_elsewhere_a_key(panel, stand_in, kind):
    from PySide6 import QtTest

    window = stand_in.bare(slicer.util.mainWindow())
    body = stand_in.QtWidgets.QWidget(window)
    field = getattr(stand_in.QtWidgets, kind)(body)
    view = stand_in.QtWidgets.QPushButton(body)  # stands for a slice view: takes the focus, but no letters
    window.setCentralWidget(body)
    window.show()
    window.activateWindow()
    assert QtTest.QTest.qWaitForWindowActive(window)
    panel.enter()
    pressed = []
    for shortcut in window.findChildren(stand_in.QtGui.QShortcut):
        key = shortcut.key().toString()
        shortcut.activated.connect(lambda key=key: pressed.append(key))
    for focus, expected in ((field, []), (view, ["1", "Z"])):
        focus.setFocus()
        QtTest.QTest.keyClicks(focus, "1z")
        assert pressed == expected
    window.hide()


def test_no_key_is_one_of_slicers_own(with_qt):
    from DDSAM2SlicerLib.ui.widget import KEYS

    assert [key for key in KEYS if "+" in key] == []


def test_tool_tips_name_the_keys_as_they_are(panel):
    from DDSAM2SlicerLib.ui.widget import KEYS

    panel.propagate.update(State())  # nothing stands against any action
    for name in ("propagateButton", "updateButton", "undoButton", "redoButton"):
        key = next(key for key, button in KEYS.items() if button == name)
        assert getattr(panel.ui, name).toolTip.endswith(f"(key {key})."), name
