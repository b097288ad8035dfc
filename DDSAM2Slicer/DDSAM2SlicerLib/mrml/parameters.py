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
ACCEPTED = {
    "axis": ["view", "i", "j", "k"],
    "direction": [each.value for each in Direction],
    "overwrite": ["none", "all", "visible"],
    "memoryRule": CHOICES["memory_rule"],
    "memoryUse": CHOICES["memory_use"],
    "precision": CHOICES["precision"],
}
LARGEST = {"firstFrame": 1_000_000, "lastFrame": 1_000_000, "stopAfterEmpty": 1000, "fillHolesPx": 1_000_000}


@parameterNodeWrapper
class DDSAM2SlicerParameterNode:
    """Choices of the panel; each field is one parameter of the module's node.

    Attributes:
        inputVolume: Volume to segment; unused with a sequence.
        inputBrowser: Sequence browser to segment; None for a volume.
        segmentation: Segmentation that takes the masks; None lets one be created.
        axis: Axis along which the frames run; "view" takes the orientation of the slice view.
        direction: Where a propagation runs.
        overwrite: Which other segments lose the voxels that a mask takes.
        limitRange: Whether firstFrame and lastFrame count.
        firstFrame: First frame to visit.
        lastFrame: Last frame to visit, included.
        model: Name in the model list, or path of a model file.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        adapterFile: Path of an adapter file for the model; empty for none.
        workerCommand: Other command that starts the worker, as "ssh HOST ddsam2 worker"; empty for this computer.
    """

    inputVolume: slicer.vtkMRMLVolumeNode
    inputBrowser: slicer.vtkMRMLSequenceBrowserNode
    segmentation: slicer.vtkMRMLSegmentationNode
    axis: Annotated[str, Choice(ACCEPTED["axis"]), Default("view")]
    direction: Annotated[str, Choice(ACCEPTED["direction"]), Default(Direction.BOTH.value)]
    overwrite: Annotated[str, Choice(ACCEPTED["overwrite"]), Default("none")]
    limitRange: bool = False
    firstFrame: Annotated[int, WithinRange(0, LARGEST["firstFrame"])] = 0
    lastFrame: Annotated[int, WithinRange(0, LARGEST["lastFrame"])] = 0
    model: str = "nano"
    device: str = "auto"
    adapterFile: str = ""
    workerCommand: str = ""
    zoom: bool = DEFAULTS.zoom
    memoryRule: Annotated[str, Choice(ACCEPTED["memoryRule"]), Default(DEFAULTS.memory_rule)]
    stopAfterEmpty: Annotated[int, WithinRange(0, LARGEST["stopAfterEmpty"])] = DEFAULTS.stop_after_empty
    maskPrior: bool = DEFAULTS.mask_prior
    memoryUse: Annotated[str, Choice(ACCEPTED["memoryUse"]), Default(DEFAULTS.memory_use)]
    nonOverlap: bool = DEFAULTS.non_overlap
    fillHolesPx: Annotated[int, WithinRange(0, LARGEST["fillHolesPx"])] = DEFAULTS.fill_holes_px
    keepLargest: bool = DEFAULTS.keep_largest
    precision: Annotated[str, Choice(ACCEPTED["precision"]), Default(DEFAULTS.precision)]


def open_parameters(node) -> DDSAM2SlicerParameterNode:
    """Wrap the module's plain parameter node, whatever another release or a hand has left in it.

    Slicer checks values when they are written, not when they are read. Numbers beyond their bounds are clipped; what
    cannot be read at all is taken out, so that its default counts.
    """
    for name, largest in LARGEST.items():
        try:
            node.SetParameter(name, str(min(max(int(node.GetParameter(name)), 0), largest)))
        except ValueError:
            node.UnsetParameter(name)
    for name, accepted in ACCEPTED.items():
        if node.GetParameter(name) not in accepted:
            node.UnsetParameter(name)
    return DDSAM2SlicerParameterNode(node)
