"""Runs inside 3D Slicer: the panel from an empty scene to a propagated and undone segmentation, with a fake engine."""

import sys
import tempfile
import time
import unittest

import numpy as np
import slicer

LIMIT_S = 60.0


class DDSAM2SlicerPanelTest(unittest.TestCase):
    """Real widgets, real event loop, a real worker process; only the network is a stand-in that needs no torch."""

    def setUp(self):
        """An empty scene, and a panel of its own on the module's form."""
        from DDSAM2SlicerLib.logic.coordinator import Coordinator
        from DDSAM2SlicerLib.logic.install import Installer
        from DDSAM2SlicerLib.logic.process_transport import ProcessTransport, worker_command
        from DDSAM2SlicerLib.ui.widget import Panel

        slicer.mrmlScene.Clear()
        module = slicer.util.getModuleWidget("DDSAM2Slicer")
        self.form = slicer.util.loadUI(module.resourcePath("UI/DDSAM2Slicer.ui"))
        installer = Installer(lambda question: False)
        installer.missing = list  # the fake engine needs nothing
        transport = ProcessTransport(command=[*worker_command(), "--fake"])
        self.panel = Panel(slicer.util.childWidgetVariables(self.form), None, Coordinator(transport), installer)
        self.panel.coordinator.choose_model("fake")
        self.ui = self.panel.ui

    def tearDown(self):
        """End the worker, empty the scene."""
        self.panel.close()
        slicer.mrmlScene.Clear()

    def until_idle(self):
        """Let the event loop run until nothing is going on."""
        end = time.monotonic() + LIMIT_S
        while self.panel.coordinator.state.phase not in ("idle", "empty") or self.panel.coordinator.state.is_previewing:
            self.assertLess(time.monotonic(), end, self.panel.coordinator.state)
            slicer.app.processEvents()
            time.sleep(0.005)

    def test_from_a_box_to_a_segment_and_back(self):
        from DDSAM2SlicerLib.core.prompts import Box

        array = np.zeros((12, 32, 32), np.int16)
        array[3:9, 10:20, 8:22] = 200
        volume = slicer.util.addVolumeFromArray(array)
        self.ui.inputSelector.setCurrentNode(volume)
        self.ui.axisCombo.currentIndex = 3
        self.ui.beginButton.click()
        coordinator = self.panel.coordinator
        self.panel.shared.viewing.show(5)
        self.assertEqual(coordinator.state.frame, 5)
        coordinator.set_prompts(coordinator.notes.prompts.with_box(1, 5, Box(8, 10, 21, 19)))
        self.until_idle()
        self.assertTrue(self.ui.propagateButton.enabled, self.ui.propagateButton.toolTip)
        self.ui.propagateButton.click()
        self.until_idle()
        self.assertEqual(coordinator.state.error, "")
        segment_id = coordinator.notes.segment_ids[1]
        found = slicer.util.arrayFromSegmentBinaryLabelmap(coordinator.segmentation, segment_id, volume)
        np.testing.assert_array_equal(found[3:9] != 0, array[3:9] != 0)
        self.ui.undoButton.click()
        found = slicer.util.arrayFromSegmentBinaryLabelmap(coordinator.segmentation, segment_id, volume)
        self.assertFalse(found.any())

    def test_placing_a_point_in_the_scene_is_a_prompt(self):
        volume = slicer.util.addVolumeFromArray(np.zeros((4, 16, 16), np.int16))
        self.ui.inputSelector.setCurrentNode(volume)
        self.ui.axisCombo.currentIndex = 3
        self.ui.beginButton.click()
        self.panel.shared.viewing.show(2)
        self.ui.positiveButton.click()
        self.assertEqual(self.panel.shared.placing.kind, "positive")
        node = slicer.util.getNode(slicer.modules.markups.logic().GetActiveListID())
        source, index = self.panel.coordinator.stack.source_of(2)
        node.AddControlPointWorld(*(source.pixel_to_ras(index) @ [5, 6, 0, 1])[:3].tolist())
        self.assertEqual(self.panel.coordinator.notes.prompts.frames(), (2,))
        self.ui.positiveButton.click()
        self.assertEqual(self.panel.shared.placing.kind, "")

    def test_a_clip_is_followed_through_time_and_taken_back(self):
        from DDSAM2SlicerLib.core.prompts import Box

        frames = np.zeros((5, 1, 32, 32), np.int16)
        for time_point, frame in enumerate(frames):
            frame[0, 10:20, 8 + time_point : 20 + time_point] = 200
        browser = self.add_sequence(frames)
        self.ui.inputSelector.setCurrentNode(browser)
        self.ui.beginButton.click()
        coordinator = self.panel.coordinator
        self.panel.shared.viewing.show(2)
        coordinator.set_prompts(coordinator.notes.prompts.with_box(1, 2, Box(10, 10, 21, 19)))
        self.ui.propagateButton.click()
        self.until_idle()
        self.assertEqual(coordinator.state.error, "")
        segment_id = coordinator.notes.segment_ids[1]
        for time_point in (0, 4):
            self.panel.shared.viewing.show(time_point)
            shown = slicer.util.arrayFromSegmentBinaryLabelmap(
                coordinator.segmentation, segment_id, coordinator.stack.owner
            )
            np.testing.assert_array_equal(shown[0] != 0, frames[time_point, 0] != 0)
        self.ui.undoButton.click()
        self.panel.shared.viewing.show(4)
        shown = slicer.util.arrayFromSegmentBinaryLabelmap(
            coordinator.segmentation, segment_id, coordinator.stack.owner
        )
        self.assertFalse(shown.any())

    def test_a_saved_scene_brings_prompts_and_locks_back(self):
        from DDSAM2SlicerLib.core.prompts import Point

        self.ui.inputSelector.setCurrentNode(
            slicer.util.addVolumeFromArray(np.zeros((4, 16, 16), np.int16), name="image")
        )
        self.ui.axisCombo.currentIndex = 3
        self.ui.beginButton.click()
        coordinator = self.panel.coordinator
        self.panel.shared.viewing.show(2)
        coordinator.set_prompts(coordinator.notes.prompts.with_point(1, 2, Point(5, 6)))
        self.ui.lockButton.click()
        prompts, locked = coordinator.notes.prompts, coordinator.notes.locked
        self.assertTrue(locked)
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/scene.mrb"
            self.assertTrue(slicer.util.saveScene(path))
            slicer.mrmlScene.Clear()
            slicer.util.loadScene(path)
        self.ui.inputSelector.setCurrentNode(slicer.util.getNode("image"))
        self.ui.axisCombo.currentIndex = 3
        self.ui.beginButton.click()
        self.assertEqual((coordinator.notes.prompts, coordinator.notes.locked), (prompts, locked))

    def add_sequence(self, arrays):
        """Add a sequence of volumes with its browser."""
        sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "clip")
        for time_point, array in enumerate(arrays):
            item = slicer.util.addVolumeFromArray(array)
            sequence.SetDataNodeAtValue(item, str(time_point))
            slicer.mrmlScene.RemoveNode(item)
        browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "clip browser")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        return browser

    def test_nothing_heavy_was_loaded(self):
        self.assertNotIn("sam2", sys.modules)
