"""The chosen input as one row of frames: a volume, a clip, or a series of volumes (layer: logic).

Frames of a 3D+t series are numbered through: frame = time point * number of slices + slice.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

import slicer

from ..core.errors import InputError
from ..core.frames import FrameSource, SeriesFrames, TimeFrames
from ..core.geometry import Axis
from ..mrml import sequences, volumes
from ..mrml.transforms import local_to_world, matrix_from_vtk
from .i18n import _

ORIENTATION_DECIMALS = 5
"""An oblique orientation is known again by its numbers, so they are rounded."""


class Stack(Protocol):
    """What the rest of the logic knows about the input.

    Attributes:
        owner: Volume node in the scene that prompts belong to; for sequences the one the browser shows.
        num_frames: All frames.
        num_slices: Slices of one time point of a series; None for volumes and clips.
    """

    owner: object
    num_frames: int
    num_slices: int | None

    def source_of(self, frame: int) -> tuple[FrameSource, int]:
        """The frames among which a frame is previewed, and its index there."""

    def fingerprint(self) -> Hashable:
        """Changes whenever voxels or placement change."""

    def window(self) -> Hashable:
        """Changes whenever the user chooses another window for the grey values."""

    def is_present(self) -> bool:
        """Whether all nodes are still in the scene."""

    def frame_shown(self, slice_node) -> int | None:
        """The frame that a slice view shows now."""

    def show(self, frame: int, slice_node) -> None:
        """Make a slice view show a frame."""


class VolumeStack:
    """The slices of one volume, along an axis or in the orientation of a slice view."""

    num_slices = None

    def __init__(self, volume, axis: Axis | str = Axis.K, slice_to_ras: list[float] | None = None) -> None:
        """Read the volume as it is now.

        Args:
            volume: Scalar or colour volume node.
            axis: Index axis of the slices.
            slice_to_ras: Sixteen numbers of an oblique slice view, which then counts instead of the axis.
        """
        self.owner = volume
        self.axis = Axis(axis)
        self.slice_to_ras = slice_to_ras
        if slice_to_ras is None:
            self.frames = volumes.frames_along_axis(volume, self.axis)
        else:
            view = slicer.vtkMRMLSliceNode()
            view.GetSliceToRAS().DeepCopy(slice_to_ras)
            view.UpdateMatrices()
            self.frames = volumes.frames_of_slice_view(volume, view)
        self.num_frames = self.frames.num_frames

    @classmethod
    def from_slice_view(cls, volume, slice_node) -> VolumeStack:
        """Take the orientation that a slice view shows."""
        axis = volumes.axis_of_slice_view(volume, slice_node)
        if axis is not None:
            return cls(volume, axis)
        geometry = volumes.volume_geometry(volume)
        middle_ijk = [(size - 1) / 2 for size in geometry.shape_kji[::-1]]
        # Where the view is scrolled to does not matter: one plane goes through the middle, the others are beside it.
        matrix = matrix_from_vtk(slice_node.GetSliceToRAS())
        matrix[:3, 3] = geometry.map_ijk_to_ras([middle_ijk])[0]
        return cls(volume, slice_to_ras=matrix.round(ORIENTATION_DECIMALS).ravel().tolist())

    def source_of(self, frame: int) -> tuple[FrameSource, int]:
        """The slices of the volume."""
        return self.frames, frame

    def fingerprint(self) -> Hashable:
        """Voxels and placement of the volume."""
        return _state_of(self.owner), local_to_world(self.owner).tobytes()

    def window(self) -> Hashable:
        """Displayed window of the volume."""
        return _window_of(self.owner)

    def is_present(self) -> bool:
        """Whether the volume is in the scene."""
        return _is_in_scene(self.owner)

    def frame_shown(self, slice_node) -> int | None:
        """The slice a view shows."""
        return volumes.frame_of_slice_view(self.frames, slice_node)

    def show(self, frame: int, slice_node) -> None:
        """Move a view to a slice."""
        volumes.show_frame(self.frames, frame, slice_node)


class _SequenceStack:
    """What clips and series share: a browser, its volume sequence, and the volume the browser shows."""

    def __init__(self, browser, axis: Axis | str = Axis.K) -> None:
        self.browser = browser
        self.axis = Axis(axis)
        self.sequence = sequences.find_volume_sequence(browser)
        self.owner = browser.GetProxyNode(self.sequence)
        if self.owner is None:
            text = _("Sequence browser {name!r} shows no volume. Select it in the Sequences module.")
            raise InputError(text.format(name=browser.GetName()))
        self.frames = sequences.frames_of_sequence(browser, self.axis)
        self.num_times = self.sequence.GetNumberOfDataNodes()

    def fingerprint(self) -> Hashable:
        """Voxels and placement of all items, and transform of the volume on display."""
        items = [self.sequence.GetNthDataNode(item) for item in range(self.sequence.GetNumberOfDataNodes())]
        return tuple(map(_state_of, items)), local_to_world(self.owner).tobytes()

    def window(self) -> Hashable:
        """Displayed window of the volume on display."""
        return _window_of(self.owner)

    def is_present(self) -> bool:
        """Whether browser, sequence and the volume on display are in the scene."""
        return all(map(_is_in_scene, (self.browser, self.sequence, self.owner)))


class ClipStack(_SequenceStack):
    """2D+t: every item of a sequence is a frame."""

    num_slices = None

    def __init__(self, browser) -> None:
        """Read all items as they are now."""
        super().__init__(browser)
        self.num_frames = self.frames.num_frames

    def source_of(self, frame: int) -> tuple[TimeFrames, int]:
        """The whole clip."""
        return self.frames, frame

    def frame_shown(self, slice_node=None) -> int | None:
        """The item on display."""
        return self.browser.GetSelectedItemNumber()

    def show(self, frame: int, slice_node=None) -> None:
        """Display an item."""
        self.browser.SetSelectedItemNumber(frame)


class SeriesStack(_SequenceStack):
    """3D+t: the slices of every time point."""

    frames: SeriesFrames

    def __init__(self, browser, axis: Axis | str = Axis.K) -> None:
        """Read all items as they are now."""
        super().__init__(browser, axis)
        self.num_slices = self.frames.num_slices
        self.num_frames = self.num_times * self.num_slices

    def source_of(self, frame: int) -> tuple[FrameSource, int]:
        """The slices of the frame's time point."""
        time, index = divmod(frame, self.num_slices)
        return self.frames.at_time(time), index

    def frame_shown(self, slice_node) -> int | None:
        """The slice a view shows at the time on display."""
        time = max(self.browser.GetSelectedItemNumber(), 0)
        index = volumes.frame_of_slice_view(self.frames.at_time(time), slice_node)
        return None if index is None else time * self.num_slices + index

    def show(self, frame: int, slice_node) -> None:
        """Display the time point and move a view to the slice."""
        time, index = divmod(frame, self.num_slices)
        self.browser.SetSelectedItemNumber(time)
        volumes.show_frame(self.frames.at_time(time), index, slice_node)


def open_sequence(browser, axis: Axis | str = Axis.K) -> ClipStack | SeriesStack:
    """Clip or series, whichever the browser's volumes are."""
    item = sequences.find_volume_sequence(browser).GetNthDataNode(0)
    is_flat = volumes.volume_array(item).shape[0] == 1
    return ClipStack(browser) if is_flat else SeriesStack(browser, axis)


def _is_in_scene(node) -> bool:
    return node is not None and bool(slicer.mrmlScene.IsNodePresent(node))


def _state_of(volume) -> Hashable:
    """Voxels and placement; VTK's modification times never repeat, whatever array they belong to."""
    image = volume.GetImageData()
    scalars = image.GetPointData().GetScalars() if image is not None else None
    directions = [[0.0] * 3 for _ in range(3)]
    volume.GetIJKToRASDirections(directions)
    placement = volume.GetOrigin(), volume.GetSpacing(), tuple(map(tuple, directions))
    return scalars.GetMTime() if scalars is not None else None, placement


def _window_of(volume) -> Hashable:
    """The window; one that Slicer chooses by itself does not count, it differs from item to item of a sequence."""
    display = volume.GetDisplayNode()
    if display is None or not display.IsA("vtkMRMLScalarVolumeDisplayNode") or display.GetAutoWindowLevel():
        return None
    mapping = volumes.displayed_mapping(volume)
    return None if mapping is None else (mapping.low, mapping.high, mapping.invert)
