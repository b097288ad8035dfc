"""The panel as a user works with it: buttons that say why they wait, and a whole story on a volume."""

import numpy as np
import pytest

from DDSAM2SlicerLib.core.metrics import dice
from DDSAM2SlicerLib.core.prompts import Box

slicer = pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")

FRAME = 8


def box_of(mask):
    rows, columns = np.nonzero(mask)
    return Box(float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max()))


def begin(panel, node):
    panel.ui.inputSelector.setCurrentNode(node)
    panel.ui.axisCombo.currentIndex = 3
    panel.ui.beginButton.click()
    panel.shared.viewing.show(FRAME)


@pytest.fixture
def on_volume(panel, a_volume):
    begin(panel, a_volume)
    return panel


def give_box(panel, labels):
    coordinator = panel.coordinator
    coordinator.set_prompts(coordinator.notes.prompts.with_box(1, FRAME, box_of(labels[FRAME] == 1)))


def test_without_input_every_button_is_disabled_and_says_why(panel, stand_in):
    waiting = {"fileButton", "adaptersButton"}  # these need no input
    for name in vars(panel.ui):
        widget = getattr(panel.ui, name)
        if not isinstance(stand_in.bare(widget), stand_in.QtWidgets.QAbstractButton) or name.startswith("qt_"):
            continue
        if name.endswith("Button") and name not in waiting:
            assert not widget.enabled, name
            assert widget.toolTip.endswith("."), name
    assert panel.ui.propagateButton.toolTip == "Choose a volume or a sequence first."


def test_a_volume_is_used_when_the_button_is_pressed_and_a_segmentation_is_created(panel, a_volume):
    panel.ui.inputSelector.setCurrentNode(a_volume)
    panel.ui.axisCombo.currentIndex = 3
    assert panel.coordinator.stack is None
    assert panel.ui.beginButton.enabled
    panel.ui.beginButton.click()
    assert panel.coordinator.stack.num_frames == 16
    assert panel.ui.segmentationSelector.currentNode() is panel.coordinator.segmentation
    assert not panel.ui.boxButton.enabled
    assert panel.ui.boxButton.toolTip == "The slice view shows no frame of the input."
    panel.shared.viewing.show(FRAME)
    assert panel.ui.boxButton.enabled
    assert "two corners" in panel.ui.boxButton.toolTip
    assert panel.ui.propagateButton.toolTip == "Give at least one point, box or mask on one frame."


def test_the_image_on_display_is_suggested_and_nothing_else_begins(panel, a_volume, a_clip):
    selection = slicer.app.applicationLogic().GetSelectionNode()
    selection.SetActiveVolumeID(a_volume.GetID())
    panel.enter()
    assert panel.ui.inputSelector.currentNode() is a_volume
    assert panel.coordinator.stack is None
    _, browser = a_clip
    panel.ui.inputSelector.setCurrentNode(None)
    selection.SetActiveVolumeID(browser.GetProxyNode(browser.GetMasterSequenceNode()).GetID())
    panel.enter()
    assert panel.ui.inputSelector.currentNode() is browser


def test_placing_is_shown_by_its_button_and_ends_with_a_second_click(on_volume):
    ui = on_volume.ui
    ui.positiveButton.click()
    assert (ui.positiveButton.checked, ui.negativeButton.checked) == (True, False)
    assert on_volume.shared.placing.kind == "positive"
    ui.positiveButton.click()
    assert not ui.positiveButton.checked
    assert on_volume.shared.placing.kind == ""


def test_nothing_is_placed_when_the_installation_is_refused(make_panel, a_volume):
    from DDSAM2SlicerLib.logic.install import Outcome

    panel = make_panel(outcome=Outcome(False, "Nothing was installed."))
    begin(panel, a_volume)
    panel.ui.boxButton.click()
    assert panel.shared.placing.kind == ""
    assert not panel.ui.boxButton.checked
    assert panel.ui.statusLabel.text == "Nothing was installed."
    panel.ui.boxButton.click()
    assert len(panel.installs) == 2


def test_an_empty_segment_is_no_seed_and_the_panel_says_so(on_volume):
    on_volume.ui.seedButton.click()
    assert "is empty on frame 8" in on_volume.ui.statusLabel.text


def test_a_click_on_a_prompt_leads_to_its_frame_and_it_can_be_removed(on_volume, a_phantom, stand_in):
    give_box(on_volume, a_phantom.labels)
    on_volume.shared.viewing.show(2)
    prompts = stand_in.bare(on_volume.ui.promptList)
    assert prompts.item(0).text() == "Object 1, 8: box"
    prompts.setCurrentRow(0)
    prompts.itemClicked.emit(prompts.item(0))
    assert on_volume.coordinator.state.frame == FRAME
    on_volume.ui.removeButton.click()
    assert on_volume.coordinator.notes.prompts.frames() == ()
    assert on_volume.ui.removeButton.toolTip == "There is no prompt."


def test_a_whole_story_preview_propagate_stop_correct_undo(make_panel, a_volume, a_phantom, masks_of):
    panel = make_panel("fake?delay_s=0.02")
    begin(panel, a_volume)
    ui, loop, coordinator = panel.ui, panel.loop, panel.coordinator
    give_box(panel, a_phantom.labels)
    loop.until_idle()
    assert dice(coordinator.preview.masks[1], a_phantom.labels[FRAME] == 1) > 0.8
    assert ui.applyButton.enabled
    ui.propagateButton.click()
    assert ui.stopButton.enabled
    assert not ui.propagateButton.enabled
    assert "stop it" in ui.propagateButton.toolTip
    loop.until(lambda: coordinator.state.progress.done >= 4)
    assert "/ 16" in ui.progressLabel.text
    assert "frames/s" in ui.progressLabel.text
    assert ui.progressBar.textVisible
    ui.stopButton.click()
    loop.until_idle()
    assert not ui.progressBar.textVisible
    assert ui.statusLabel.text.startswith("Stopped after")
    done = len(coordinator.notes.results.done)
    assert 4 <= done < 16
    ui.updateButton.click()
    loop.until_idle()
    found = masks_of(coordinator, 1)
    assert dice(found, a_phantom.labels == 1) > 0.9
    assert ui.updateButton.toolTip == "All masks are up to date."
    panel.shared.viewing.show(2)
    ui.lockButton.click()
    assert ui.lockButton.checked
    assert (1, 2) in coordinator.notes.locked
    ui.nextButton.click()
    assert coordinator.state.frame != 2
    ui.undoButton.click()
    ui.undoButton.click()
    assert not masks_of(coordinator, 1).any()
    assert ui.undoButton.toolTip == "There is no propagation to undo."
    ui.redoButton.click()
    ui.redoButton.click()
    np.testing.assert_array_equal(masks_of(coordinator, 1), found)


def test_limits_and_from_here_on_visit_only_their_frames(on_volume, a_phantom):
    coordinator, ui = on_volume.coordinator, on_volume.ui
    assert (ui.lastSpin.value, ui.lastSpin.enabled) == (15, False)
    give_box(on_volume, a_phantom.labels)
    ui.limitCheck.checked = True
    ui.firstSpin.value, ui.lastSpin.value = 6, 10
    ui.propagateButton.click()
    on_volume.loop.until_idle()
    assert sorted(frame for _, frame in coordinator.notes.results.done) == [6, 7, 8, 9, 10]
    on_volume.shared.viewing.show(10)
    ui.fromHereButton.click()
    on_volume.loop.until_idle()
    assert max(frame for _, frame in coordinator.notes.results.done) == 15


def test_measuring_shows_volumes_and_writes_them(on_volume, a_phantom, tmp_path, stand_in):
    give_box(on_volume, a_phantom.labels)
    on_volume.ui.propagateButton.click()
    on_volume.loop.until_idle()
    assert on_volume.ui.csvButton.toolTip == "Measure first."
    on_volume.ui.measureButton.click()
    on_volume.loop.until_idle()
    assert on_volume.ui.measureLabel.text.startswith("Object 1: ")
    stand_in.FileDialog.answer = str(tmp_path / "m.csv")
    on_volume.ui.csvButton.click()
    assert (tmp_path / "m.csv").read_text().startswith("frame,Object 1 area [mm2]")


def test_measured_numbers_follow_the_slider_until_the_input_changes(on_volume, a_phantom, a_clip):
    give_box(on_volume, a_phantom.labels)
    ui = on_volume.ui
    assert not ui.quantityCombo.enabled
    ui.propagateButton.click()
    on_volume.loop.until_idle()
    ui.measureButton.click()
    on_volume.loop.until_idle()
    assert "\nFrame 8:\nObject 1: area " in ui.measureLabel.text
    ui.frameSlider.value = 0
    assert ui.measureLabel.text.endswith("\nFrame 0:\nObject 1: not on this frame")
    (chart,) = slicer.util.getNodesByClass("vtkMRMLPlotChartNode")
    ui.quantityCombo.currentIndex = 1
    assert chart.GetYAxisTitle() == "diameter [mm]"
    ui.measureButton.click()
    on_volume.loop.until_idle()
    assert slicer.app.applicationLogic().GetSelectionNode().GetActivePlotChartID() != chart.GetID()
    assert chart.GetNumberOfPlotSeriesNodes() == 1  # only the newest one has a mark
    begin(on_volume, a_clip[1])
    assert ui.measureLabel.text == ""
    assert not ui.csvButton.enabled
    ui.quantityCombo.currentIndex = 2


def test_a_removed_table_is_not_missed_and_a_closed_scene_takes_the_numbers_with_it(on_volume, scene):
    on_volume.ui.measureButton.click()
    on_volume.loop.until_idle()
    for table in slicer.util.getNodesByClass("vtkMRMLTableNode"):
        scene.RemoveNode(table)
    on_volume.ui.frameSlider.value = 3
    assert "Frame 3" in on_volume.ui.measureLabel.text
    scene.Clear(0)
    on_volume.ui.quantityCombo.currentIndex = 2
    assert on_volume.ui.measureLabel.text == ""


def test_ends_of_an_object_are_marked_and_cleared(on_volume):
    on_volume.ui.lastEndButton.click()
    assert on_volume.coordinator.notes.ends[1] == (None, FRAME)
    assert "Object 1:  - 8" in on_volume.ui.frameLabel.text
    on_volume.ui.clearEndsButton.click()
    assert on_volume.coordinator.notes.ends[1] == (None, None)


def test_the_slider_moves_the_view_and_the_view_moves_the_slider(on_volume):
    on_volume.ui.frameSlider.value = 3
    assert on_volume.coordinator.stack.frame_shown(on_volume.view) == 3
    on_volume.coordinator.stack.show(11, on_volume.view)
    assert on_volume.ui.frameSlider.value == 11


def test_a_clip_is_followed_through_time(panel, a_clip):
    browser = a_clip[1]
    begin(panel, browser)
    browser.SetSelectedItemNumber(4)
    assert panel.ui.frameSlider.value == 4
    panel.ui.frameSlider.value = 6
    assert browser.GetSelectedItemNumber() == 6


def test_a_removed_image_empties_the_panel_with_a_sentence(on_volume, a_volume):
    slicer.mrmlScene.RemoveNode(a_volume)
    assert "removed from the scene" in on_volume.ui.statusLabel.text
    assert not on_volume.ui.boxButton.enabled


def test_keys_work_only_while_the_module_is_shown(on_volume, stand_in):
    window = stand_in.bare(slicer.util.mainWindow())
    on_volume.enter()
    keys = window.findChildren(stand_in.QtGui.QShortcut)
    assert len(keys) == 14

    def press(name):
        next(key for key in keys if key.key().toString() == name).activated.emit()

    for name, kind in (("3", "box"), ("4", "lasso"), ("5", "stroke"), ("6", "negativeStroke")):
        press(name)
        assert on_volume.shared.placing.kind == kind
    press("Esc")
    assert on_volume.shared.placing.kind == ""
    press("1")
    on_volume.exit()
    assert window.findChildren(stand_in.QtGui.QShortcut) == []
    assert on_volume.shared.placing.kind == ""


def test_a_series_is_counted_in_times_and_slices(panel, a_series):
    begin(panel, a_series[1])
    assert panel.ui.frameLabel.text == "Frame 1, 2"
    assert panel.ui.frameSlider.maximum == 29
    assert panel.ui.lastSpin.maximum == 4


def test_the_strip_has_a_bar_for_each_sure_frame_and_marks_settled_and_current_ones(with_qt):
    from DDSAM2SlicerLib.ui import review

    image = review.draw_strip({0: 1.0, 2: 0.5}, {2}, 4, 3).toImage()

    def is_colour(x, y, name):
        return image.pixelColor(x, y).name() == review.COLORS[name]

    assert is_colour(50, 2, "bar")
    assert not is_colour(150, review.STRIP_HEIGHT - 10, "bar")
    assert is_colour(250, review.STRIP_HEIGHT - 10, "bar")
    assert not is_colour(250, 2, "bar")
    assert is_colour(250, review.STRIP_HEIGHT - 1, "settled")
    assert is_colour(350, 20, "current")


def test_another_image_gets_another_segmentation_and_the_first_one_finds_its_own_again(on_volume, a_volume, make):
    first = on_volume.coordinator.segmentation
    on_volume.coordinator.set_prompts(on_volume.coordinator.notes.prompts.with_box(1, FRAME, Box(2, 2, 9, 9)))
    other = make.volume(np.zeros((16, 20, 20), np.uint8))
    on_volume.ui.inputSelector.setCurrentNode(other)
    on_volume.ui.beginButton.click()
    assert on_volume.coordinator.segmentation is not first
    on_volume.ui.inputSelector.setCurrentNode(a_volume)
    on_volume.ui.beginButton.click()
    assert on_volume.coordinator.segmentation is first
    assert on_volume.coordinator.notes.prompts.frames() == (FRAME,)


def test_another_object_is_added_and_selected(on_volume):
    assert on_volume.shared.segment_id == on_volume.coordinator.notes.segment_ids[1]
    on_volume.ui.addObjectButton.click()
    assert on_volume.shared.segment_id == on_volume.coordinator.notes.segment_ids[2]
    assert on_volume.shared.segment_name(2) == "Object 2"


def test_a_segmentation_with_segments_gets_no_further_object(on_volume, a_volume):
    on_volume.ui.beginButton.click()
    assert list(on_volume.coordinator.segmentation.GetSegmentation().GetSegmentIDs()) == [on_volume.shared.segment_id]


def test_a_loaded_scene_goes_on_where_it_was_saved_without_a_click(make_panel, make_memory, a_volume, make, tmp_path):
    memory = make_memory(axis="k")
    panel = make_panel(parameters=memory)
    begin(panel, a_volume)
    prompts = panel.coordinator.notes.prompts.with_box(1, FRAME, Box(2, 2, 9, 9))
    panel.coordinator.set_prompts(prompts)
    panel.coordinator.add_object("another")
    make.reload(tmp_path)
    assert panel.coordinator.stack is None
    panel.recall(make_memory(axis="k", inputVolume=slicer.util.getNode("image")))
    assert panel.coordinator.notes.prompts == prompts
    assert len(slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")) == 1
    assert panel.ui.promptList.count == 1
    assert panel.ui.segmentationSelector.currentNode() is panel.coordinator.segmentation


def test_a_clip_with_notes_is_taken_up_but_nothing_else_and_never_while_there_is_an_input(
    make_panel, make_memory, a_clip, a_volume
):
    panel = make_panel()
    panel.recall(make_memory(inputVolume=a_volume))
    assert panel.coordinator.stack is None  # the scene knows nothing about this image
    begin(panel, a_clip[1])
    panel.coordinator.set_prompts(panel.coordinator.notes.prompts.with_box(1, FRAME, Box(2, 2, 9, 9)))
    stack = panel.coordinator.stack
    panel.recall(make_memory(inputVolume=a_volume))
    assert panel.coordinator.stack is stack
    panel.coordinator.release_input()
    panel.recall(make_memory(inputBrowser=a_clip[1]))
    assert panel.coordinator.notes.prompts.frames() == (FRAME,)


@pytest.mark.filterwarnings("ignore:.*QMouseEvent.pos")  # the only name that Qt 5 has too
def test_a_click_into_the_strip_goes_to_that_frame(on_volume, stand_in):
    from PySide6 import QtCore, QtTest

    strip = stand_in.bare(on_volume.ui.scoreStrip)
    strip.resize(320, 48)  # 20 pixels for each of 16 frames
    for x, frame in ((50, 2), (319, 15), (0, 0)):
        QtTest.QTest.mouseClick(strip, QtCore.Qt.MouseButton.LeftButton, pos=QtCore.QPoint(x, 20))
        assert on_volume.coordinator.state.frame == frame


def test_the_last_change_of_the_prompts_is_taken_back(on_volume, a_phantom):
    assert on_volume.ui.takeBackButton.toolTip == "There is no step to take back."
    give_box(on_volume, a_phantom.labels)
    on_volume.ui.removeAllButton.click()
    assert on_volume.coordinator.notes.prompts.frames() == ()
    on_volume.ui.takeBackButton.click()
    assert on_volume.coordinator.notes.prompts.frames() == (FRAME,)
    on_volume.ui.takeBackButton.click()
    assert on_volume.coordinator.notes.prompts.frames() == ()
    assert not on_volume.ui.takeBackButton.enabled
