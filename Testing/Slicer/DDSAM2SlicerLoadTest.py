"""Runs inside 3D Slicer: the installed module is complete and light."""

import sys
import unittest
from pathlib import Path

import slicer


class DDSAM2SlicerLoadTest(unittest.TestCase):
    """What has to hold after the extension was installed, before anything else was."""

    def setUp(self):
        """Find the module as Slicer loaded it, in an empty scene."""
        slicer.mrmlScene.Clear()
        self.folder = Path(slicer.modules.ddsam2slicer.path).resolve().parent

    def test_panel_opens_without_torch(self):
        self.assertFalse(slicer.util.getModuleWidget("DDSAM2Slicer").panel.ui.propagateButton.enabled)
        self.assertNotIn("sam2", sys.modules)

    def test_default_model_is_installed(self):
        from DDSAM2SlicerLib.weights.store import Store

        self.assertEqual(Store().resolve("nano").resolve().parent, self.folder / "Resources" / "Models")

    def test_requirements_are_installed(self):
        for name in ("requirements.txt", "requirements-sam2.txt"):
            self.assertTrue((self.folder / "Resources" / name).is_file(), name)
