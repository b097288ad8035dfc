"""What the panel remembers in the scene: the typed parameter node (layer: mrml).

The decorator reads the annotations when the class is made, so they are not postponed here.
"""

from dataclasses import fields
from typing import Annotated

import slicer
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper

from ..core.plan import Direction
from ..core.settings import EngineSettings

DEFAULTS = EngineSettings()
CHOICES = {declared.name: list(declared.metadata["choices"]) for declared in fields(EngineSettings)}
AXES = ["view", "i", "j", "k"]


@parameterNodeWrapper
class DDSAM2SlicerParameterNode:
    """Choices of the panel; each field is one parameter of the module's node.

    Attributes:
        inputVolume: Volume to segment; unused with a sequence.
        inputBrowser: Sequence browser to segment; None for a volume.
        segmentation: Segmentation that takes the masks; None lets one be created.
        axis: Axis along which the frames run; "view" takes the orientation of the slice view.
        direction: Where a propagation runs.
        limitRange: Whether firstFrame and lastFrame count.
        firstFrame: First frame to visit.
        lastFrame: Last frame to visit, included.
        model: Name in the model list, or path of a model file.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        workerCommand: Other command that starts the worker, as "ssh HOST ddsam2 worker"; empty for this computer.
    """

    inputVolume: slicer.vtkMRMLVolumeNode
    inputBrowser: slicer.vtkMRMLSequenceBrowserNode
    segmentation: slicer.vtkMRMLSegmentationNode
    axis: Annotated[str, Choice(AXES), Default("view")]
    direction: Annotated[str, Choice([each.value for each in Direction]), Default(Direction.BOTH.value)]
    limitRange: bool = False
    firstFrame: Annotated[int, WithinRange(0, 1_000_000)] = 0
    lastFrame: Annotated[int, WithinRange(0, 1_000_000)] = 0
    model: str = "nano"
    device: str = "auto"
    workerCommand: str = ""
    zoom: bool = DEFAULTS.zoom
    memoryRule: Annotated[str, Choice(CHOICES["memory_rule"]), Default(DEFAULTS.memory_rule)]
    stopAfterEmpty: Annotated[int, WithinRange(0, 1000)] = DEFAULTS.stop_after_empty
    maskPrior: bool = DEFAULTS.mask_prior
    nonOverlap: bool = DEFAULTS.non_overlap
    fillHolesPx: Annotated[int, WithinRange(0, 1_000_000)] = DEFAULTS.fill_holes_px
    keepLargest: bool = DEFAULTS.keep_largest
    precision: Annotated[str, Choice(CHOICES["precision"]), Default(DEFAULTS.precision)]


def engine_settings(node) -> EngineSettings:
    """The engine's settings as the parameter node has them; what the panel does not offer keeps its default."""
    return EngineSettings(
        zoom=node.zoom,
        memory_rule=node.memoryRule,
        stop_after_empty=node.stopAfterEmpty,
        mask_prior=node.maskPrior,
        non_overlap=node.nonOverlap,
        fill_holes_px=node.fillHolesPx,
        keep_largest=node.keepLargest,
        precision=node.precision,
    )
