"""The door of the extension: declares the module to 3D Slicer and delegates; no computing, no download, no torch."""

import sys
from pathlib import Path

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin

SAMPLES_URL = "https://github.com/Slicer/{repository}/releases/download/SHA256/{sha256}"
# Slicer's own samples: (name, repository, SHA-256, file, node, type of file)
SAMPLES = (
    (
        "DDSAM2 CT chest",
        "SlicerTestingData",
        "4507b664690840abb6cb9af2d919377ffc4ef75b167cb6fd0f747befdb12e38e",
        "CT-chest.nrrd",
        "CTChest",
        "VolumeFile",
    ),
    (
        "DDSAM2 beating heart",
        "SlicerDataStore",
        "d1a1119969acead6c39c7c3ec69223fa2957edc561bc5bf384a203e2284dbc93",
        "CT-cardio.seq.nrrd",
        "CTCardioSeq",
        "SequenceFile",
    ),
)


class DDSAM2Slicer(ScriptedLoadableModule):
    """What Slicer shows about the module before it is opened."""

    def __init__(self, parent):
        """Fill in title, category, dependencies, help and acknowledgement."""
        super().__init__(parent)
        parent.title = "DDSAM2Slicer"
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["DDSAM2Slicer contributors"]
        picture = Path(__file__).with_name("Resources") / "help.png"
        parent.helpText = _(
            "Segments an organ, tumor or instrument in a whole volume or time series from a few prompts on one frame, "
            "with DD-SAM2. Choose an image, click on the object in a slice view, look at the preview, and propagate."
        )
        parent.helpText += f'<p><img src="{picture}" width="400"></p>'
        parent.acknowledgementText = _(
            "Re-implements the adapters of DD-SAM2 (Xu, Kabat, Zhang, arXiv:2507.14613) on top of SAM 2 "
            "(Meta, Apache-2.0). Please cite both."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)


def registerSampleData():
    """Offer two of Slicer's own images in the Sample Data module; nothing is downloaded before a user asks."""
    import SampleData

    for name, repository, sha256, fileName, nodeName, fileType in SAMPLES:
        url = SAMPLES_URL.format(repository=repository, sha256=sha256)
        # By position: the name of the eighth argument differs between releases of Slicer.
        SampleData.SampleDataLogic.registerCustomSampleDataSource(
            "DDSAM2Slicer", name, url, fileName, nodeName, None, None, fileType, checksums=f"SHA256:{sha256}"
        )


class DDSAM2SlicerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel; says so where the module cannot work, as in Slicer 5.8."""

    def __init__(self, parent=None):
        """Begin without a panel."""
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.panel = self.notice = None

    def setup(self):
        """Build the panel; called by Slicer when the module is opened for the first time."""
        super().setup()
        from DDSAM2SlicerLib.logic.install import unsupported_reason

        reason = unsupported_reason(tuple(sys.version_info), slicer.app.applicationVersion)
        if reason:
            from DDSAM2SlicerLib.ui.notice import create_notice

            self.notice = create_notice(reason)
            self.layout.addWidget(self.notice)
            self.layout.addStretch(1)
            return
        from DDSAM2SlicerLib.ui.widget import Panel

        self.logic = DDSAM2SlicerLogic()
        form = slicer.util.loadUI(self.resourcePath("UI/DDSAM2Slicer.ui"))
        self.layout.addWidget(form)
        self.panel = Panel(slicer.util.childWidgetVariables(form), self.logic.getParameterNode())
        for event in (slicer.mrmlScene.EndCloseEvent, slicer.mrmlScene.EndImportEvent):
            self.addObserver(slicer.mrmlScene, event, self.onSceneReplaced)

    def enter(self):
        """The module is shown."""
        if self.panel is not None:
            self.panel.enter()

    def exit(self):
        """Another module is shown."""
        if self.panel is not None:
            self.panel.exit()

    def cleanup(self):
        """The module is closed or reloaded."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()
            self.panel = None

    def onSceneReplaced(self, *_args):
        """Another scene: take over what it remembers."""
        if self.panel is not None:
            self.panel.recall(self.logic.getParameterNode())

    def onReload(self):
        """Forget the whole package, so that Slicer reads it anew."""
        self.cleanup()
        for name in [name for name in sys.modules if name.split(".")[0] == "DDSAM2SlicerLib"]:
            del sys.modules[name]
        super().onReload()


class DDSAM2SlicerLogic(ScriptedLoadableModuleLogic):
    """For scripts: ``createCoordinator`` gives the object that does all the work, without widgets."""

    def getParameterNode(self):
        """Typed parameter node of the module."""
        from DDSAM2SlicerLib.mrml.parameters import open_parameters

        return open_parameters(super().getParameterNode())

    def createCoordinator(self):
        """Create a coordinator; see its docstring for an example."""
        from DDSAM2SlicerLib.logic.coordinator import Coordinator

        return Coordinator()


class DDSAM2SlicerTest(ScriptedLoadableModuleTest):
    """The self-test behind the button "Reload and Test"."""

    def runTest(self):
        """Open the module in a clean scene and look at its panel."""
        slicer.mrmlScene.Clear()
        self.test_buttons_wait_for_an_image_and_say_so()

    def test_buttons_wait_for_an_image_and_say_so(self):
        """The panel is there, and what needs an image is disabled with a reason."""
        slicer.util.selectModule("DDSAM2Slicer")
        ui = slicer.util.getModuleWidget("DDSAM2Slicer").panel.ui
        self.assertFalse(ui.propagateButton.enabled)
        self.assertIn("Choose a volume", ui.propagateButton.toolTip)
