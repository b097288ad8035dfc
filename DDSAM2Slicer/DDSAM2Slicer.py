"""The door of the extension: declares the module to 3D Slicer and delegates; no computing, no download, no torch."""

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *


class DDSAM2Slicer(ScriptedLoadableModule):
    """What Slicer shows about the module before it is opened."""

    def __init__(self, parent):
        """Fill in title, category, dependencies, help and acknowledgement."""
        super().__init__(parent)
        parent.title = "DDSAM2Slicer"
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["DDSAM2Slicer contributors"]
        parent.helpText = _(
            "Segments an organ, tumor or instrument in a whole volume or time series from a few prompts on one frame, "
            "with DD-SAM2. The interactive panels are not part of this version; the command line program is."
        )
        parent.acknowledgementText = _(
            "Re-implements the adapters of DD-SAM2 (Xu, Kabat, Zhang, arXiv:2507.14613) on top of SAM 2 "
            "(Meta, Apache-2.0). Please cite both."
        )


class DDSAM2SlicerWidget(ScriptedLoadableModuleWidget):
    """The module's panel: in this version a page that explains the command line program."""

    def setup(self):
        """Build the panel; called by Slicer when the module is opened for the first time."""
        super().setup()
        from DDSAM2SlicerLib.ui.getting_started import create_getting_started

        self.gettingStarted = create_getting_started()
        self.layout.addWidget(self.gettingStarted)
        self.layout.addStretch(1)


class DDSAM2SlicerTest(ScriptedLoadableModuleTest):
    """The self-test behind the button "Reload and Test"."""

    def runTest(self):
        """Open the module in a clean scene and read its panel."""
        slicer.mrmlScene.Clear()
        self.test_panel_explains_the_command_line()

    def test_panel_explains_the_command_line(self):
        """The panel is there and names the command a user has to type."""
        widget = slicer.util.getModuleWidget("DDSAM2Slicer")
        self.assertIn("ddsam2 propagate", widget.gettingStarted.text)
