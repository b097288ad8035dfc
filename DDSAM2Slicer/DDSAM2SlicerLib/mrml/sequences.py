"""Volume sequences to frames, and results as a segmentation sequence of the same browser (layer: mrml)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray

from ..core.errors import GeometryError, InputError
from ..core.frames import FrameSource, SeriesFrames, TimeFrames
from ..core.geometry import Axis, VolumeGeometry
from ..core.intensity import IntensityMapping
from .editing import DEFAULT_RULES, EditRules, LabelmapEditor
from .segmentations import check_frame_mask, segment_of_object
from .sequence_history import SequenceHistory, note_change, show_items
from .transforms import local_to_world, share_transform
from .volumes import displayed_mapping, local_geometry, volume_array

SECONDS_PER_UNIT = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "us": 1e-6}
"""Index units of sequences that are times; anything else (a dose, a cardiac phase) is not."""


def frames_of_sequence(
    browser, axis: Axis = Axis.K, volume_sequence=None, mapping: IntensityMapping | None = None
) -> TimeFrames | SeriesFrames:
    """All items of a browser's volume sequence: 2D images become one clip, volumes a series.

    Args:
        browser: Sequence browser node.
        axis: Axis along which the slices of one time point are stacked (3D+t only).
        volume_sequence: Which sequence of the browser; by default its first one with volumes.
        mapping: Grey values; by default the displayed window, else robust percentiles over all items.

    Raises:
        InputError: If there is no volume sequence, or its items differ in size.
        GeometryError: If the volumes of a 3D+t sequence are not on one grid, or the parent transform is not linear.
    """
    sequence = volume_sequence or find_volume_sequence(browser)
    volumes = _volumes_of(sequence)
    arrays = [volume_array(volume) for volume in volumes]
    for item, array in enumerate(arrays):
        if array.shape != arrays[0].shape:
            msg = (
                f"Item {item} of sequence {sequence.GetName()!r} has shape {array.shape}, item 0 has "
                f"{arrays[0].shape}; all items must have the same size."
            )
            raise InputError(msg)
    proxy = browser.GetProxyNode(sequence)
    mapping = mapping or (displayed_mapping(proxy) if proxy is not None else None)
    geometry = sequence_geometry(browser, sequence)
    if arrays[0].shape[0] > 1:
        _check_one_grid(sequence, volumes)
        return SeriesFrames(arrays, geometry, Axis(axis), mapping)
    frames = np.concatenate(arrays)
    return TimeFrames(frames, geometry.ijk_to_ras, item_times_s(sequence), mapping)


def find_volume_sequence(browser):
    """First sequence of a browser that holds scalar or colour volumes.

    Raises:
        InputError: If there is none.
    """
    sequences = vtk.vtkCollection()
    browser.GetSynchronizedSequenceNodes(sequences, True)
    for index in range(sequences.GetNumberOfItems()):
        sequence = sequences.GetItemAsObject(index)
        if sequence.GetNumberOfDataNodes() > 0 and sequence.GetNthDataNode(0).IsA("vtkMRMLVolumeNode"):
            return sequence
    msg = f"Sequence browser {browser.GetName()!r} has no sequence of volumes. Choose a browser of an image sequence."
    raise InputError(msg)


def sequence_geometry(browser, volume_sequence) -> VolumeGeometry:
    """Placement of item 0 in the world, under the transform of the volume the browser shows."""
    local = local_geometry(volume_sequence.GetNthDataNode(0))
    proxy = browser.GetProxyNode(volume_sequence)
    to_world = np.eye(4) if proxy is None else local_to_world(proxy)
    return VolumeGeometry(local.shape_kji, to_world @ local.ijk_to_ras)


def item_times_s(sequence) -> tuple[float, ...] | None:
    """Times of the items in seconds, or None if the index of the sequence is not a time."""
    seconds = SECONDS_PER_UNIT.get((sequence.GetIndexUnit() or "").strip().lower())
    values = item_values(sequence)
    return None if seconds is None or values is None else tuple(value * seconds for value in values)


def item_values(sequence) -> tuple[float, ...] | None:
    """Index values of the items as numbers, or None if they are text."""
    texts = [sequence.GetNthIndexValue(item) for item in range(sequence.GetNumberOfDataNodes())]
    try:
        return tuple(float(text) for text in texts)
    except ValueError:
        return None


def create_segmentation_sequence(browser, volume_sequence, name: str, segments: Sequence[tuple]):
    """Add a segmentation sequence with an empty segmentation per item, synchronized with the volumes.

    Args:
        browser: Sequence browser of the volumes.
        volume_sequence: The volumes.
        name: Name of the new sequence and of the segmentation shown for it.
        segments: (segment ID, name, colour as three numbers from 0 to 1) of each segment.

    Returns:
        The sequence node. The browser's proxy of it follows the slider; changes made to the proxy (Segment Editor) are
        saved into the sequence.
    """
    scene = slicer.mrmlScene
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", name)
    sequence.SetIndexName(volume_sequence.GetIndexName())
    sequence.SetIndexUnit(volume_sequence.GetIndexUnit())
    sequence.SetIndexType(volume_sequence.GetIndexType())
    for item in range(volume_sequence.GetNumberOfDataNodes()):
        template = slicer.vtkMRMLSegmentationNode()
        template.SetName(name)
        template.SetReferenceImageGeometryParameterFromVolumeNode(volume_sequence.GetNthDataNode(item))
        # The volume of an item is not in the scene: its ID would point to another node there.
        template.SetNodeReferenceID(template.GetReferenceImageGeometryReferenceRole(), None)
        for segment_id, segment_name, color in segments:
            template.GetSegmentation().AddEmptySegment(segment_id, segment_name, color)
        sequence.SetDataNodeAtValue(template, volume_sequence.GetNthIndexValue(item))
    browser.AddSynchronizedSequenceNode(sequence)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(sequence)
    proxy.CreateDefaultDisplayNodes()
    browser.SetSaveChanges(sequence, True)
    proxy_volume = browser.GetProxyNode(volume_sequence)
    if proxy_volume is not None:
        share_transform(proxy, proxy_volume)
        proxy.SetNodeReferenceID(proxy.GetReferenceImageGeometryReferenceRole(), proxy_volume.GetID())
    return sequence


class SequenceWriter:
    """Writes masks into the items of a segmentation sequence, frame by frame; the item on display follows."""

    def __init__(
        self,
        browser,
        volume_sequence,
        segmentation_sequence,
        segment_ids: Mapping[int, str],
        rules: EditRules = DEFAULT_RULES,
        history: SequenceHistory | None = None,
    ) -> None:
        """Check the nodes; nothing is changed before the first mask.

        Args:
            browser: Browser that synchronizes both sequences.
            volume_sequence: Volumes the frames came from.
            segmentation_sequence: Segmentations, as from ``create_segmentation_sequence``.
            segment_ids: Segment of each object.
            rules: Editable area and overwrite mode; visible means visible in the proxy.
            history: Remembers the items as they were, as one step.
        """
        expected, given = volume_sequence.GetNumberOfDataNodes(), segmentation_sequence.GetNumberOfDataNodes()
        if expected != given:
            msg = (
                f"Sequence {segmentation_sequence.GetName()!r} has {given} items, the volumes "
                f"{volume_sequence.GetName()!r} have {expected}; create a new segmentation sequence."
            )
            raise InputError(msg)
        self._browser, self._volumes, self._segmentations = browser, volume_sequence, segmentation_sequence
        self._segment_ids, self._rules = dict(segment_ids), rules
        self._geometry = sequence_geometry(browser, volume_sequence)
        self._history = history
        self._editors: dict[int, LabelmapEditor] = {}
        if history is not None:
            history.begin()

    def prepare(self, item: int, object_ids: Iterable[int]) -> Iterator[None]:
        """Remember an item and make room in its segments, in pieces of a few milliseconds for event loops."""
        editor = self._editor(item)
        yield
        yield from editor.prepare(self._segment(one) for one in object_ids)

    def write_frame(self, item: int, frames: FrameSource, index: int, masks: Mapping[int, NDArray]) -> None:
        """Replace what the segments of one item show on one frame.

        Args:
            item: Time point.
            frames: The clip (2D+t; index = item), or slices of the series: ``at_time(item)`` or ``at_slice(n)``.
            index: The frame within ``frames``.
            masks: (H, W) mask of each object.
        """
        for object_id, mask in masks.items():
            check_frame_mask(mask, frames, index, object_id)
        editor = self._editor(item)
        pixel_to_ijk = self._geometry.ras_to_ijk @ frames.pixel_to_ras(index)
        for object_id, mask in masks.items():
            editor.replace(self._segment(object_id), pixel_to_ijk, mask)
        editor.show()
        show_items(self._browser, [item])

    def write_volume(self, item: int, masks: Mapping[int, NDArray]) -> None:
        """Replace the segments of one item by whole (K, J, I) masks."""
        editor = self._editor(item)
        for object_id, mask in masks.items():
            editor.replace_all(self._segment(object_id), np.asarray(mask))
        editor.show()
        show_items(self._browser, [item])

    def finish(self) -> None:
        """Bring closed surfaces up to date; call it once after the last frame."""
        for editor in self._editors.values():
            editor.finish()
        note_change(self._segmentations)
        show_items(self._browser, self._editors)

    def _segment(self, object_id: int) -> str:
        return segment_of_object(self._segment_ids, object_id)

    def _editor(self, item: int) -> LabelmapEditor:
        if item in self._editors:
            return self._editors[item]
        volume = self._volumes.GetNthDataNode(item)
        node = self._segmentations.GetNthDataNode(item)
        if volume is None or node is None:
            msg = f"Item {item} does not exist: the sequence has items 0 to {self._volumes.GetNumberOfDataNodes() - 1}."
            raise InputError(msg)
        grid = local_geometry(volume)
        array = volume_array(volume) if self._rules.intensity_range is not None else None
        proxy = self._browser.GetProxyNode(self._segmentations)
        display = proxy.GetDisplayNode() if proxy is not None else None
        if self._history is not None:
            self._history.remember(item)
        self._editors[item] = LabelmapEditor(node, grid, self._rules, array, display)
        return self._editors[item]


def _volumes_of(sequence) -> list:
    count = sequence.GetNumberOfDataNodes()
    if count == 0:
        msg = f"Sequence {sequence.GetName()!r} is empty. Choose one with images."
        raise InputError(msg)
    return [sequence.GetNthDataNode(item) for item in range(count)]


def _check_one_grid(sequence, volumes: Sequence) -> None:
    """Refuse series whose volumes lie elsewhere or have other voxel sizes."""
    first = local_geometry(volumes[0])
    for item, volume in enumerate(volumes):
        if not local_geometry(volume).same_grid_as(first):
            msg = (
                f"Item {item} of sequence {sequence.GetName()!r} is not on the grid of item 0 (position, "
                "orientation or spacing differ); resample the series onto one grid first."
            )
            raise GeometryError(msg)
