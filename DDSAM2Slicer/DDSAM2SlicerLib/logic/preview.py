"""The answer to the prompts on the current frame, in a segmentation of its own that is never saved (layer: logic)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import slicer

from ..core.errors import DDSAM2Error
from ..core.frames import FrameSource
from ..core.prompts import PromptSet
from ..core.results import FrameResult
from ..mrml.labelmaps import BINARY_LABELMAP, create_image
from ..worker.client import Event
from .notebook import Notebook
from .process_transport import ProcessTransport, sentence_of
from .sessions import Sessions
from .stacks import Stack
from .targets import Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEBOUNCE_S = 0.15
"""Prompts that follow each other faster than this are answered together."""
PREVIEW_NAME = "DD-SAM2 preview"
FILL_OPACITY = 0.25


class PreviewNode:
    """Shows masks of one frame as thin label maps that lie exactly on it; the user's segments stay as they are."""

    def __init__(self) -> None:
        """No node before there is something to show."""
        self._node = None

    @property
    def node(self):
        """The segmentation node, or None."""
        return self._node

    def show(self, frames: FrameSource, index: int, masks: dict[str, NDArray], like) -> None:
        """Replace what is shown.

        Args:
            frames: Frames the masks belong to.
            index: The frame.
            masks: (H, W) mask of each segment.
            like: Segmentation node whose names and colours are taken over.
        """
        if not masks:
            self.clear()
            return
        self._create()
        segmentation, template = self._node.GetSegmentation(), like.GetSegmentation()
        for old in list(segmentation.GetSegmentIDs()):
            if old not in masks:
                segmentation.RemoveSegment(old)
        for segment_id, mask in masks.items():
            known = template.GetSegment(segment_id)
            if segmentation.GetSegment(segment_id) is None:
                segmentation.AddEmptySegment(segment_id, known.GetName(), known.GetColor())
            image = create_image(mask[None].astype("uint8"), (0, 0, 0), frames.pixel_to_ras(index))
            segment = segmentation.GetSegment(segment_id)
            segment.AddRepresentation(BINARY_LABELMAP, image)
            segment.SetLabelValue(1)  # Slicer numbers an empty segment as if it shared the label map of the others
            segmentation.InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified, segment_id)

    def clear(self) -> None:
        """Show nothing."""
        if self._node is not None and slicer.mrmlScene.IsNodePresent(self._node):
            slicer.mrmlScene.RemoveNode(self._node)
        self._node = None

    def _create(self) -> None:
        if self._node is not None and slicer.mrmlScene.IsNodePresent(self._node):
            return
        self._node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentationNode")
        self._node.UnRegister(None)
        self._node.SetName(PREVIEW_NAME)
        self._node.SetSaveWithScene(False)
        slicer.mrmlScene.AddNode(self._node)
        self._node.SetHideFromEditors(True)  # not before: Slicer's subject hierarchy wants to know every segmentation
        self._node.GetSegmentation().SetSourceRepresentationName(BINARY_LABELMAP)
        self._node.CreateDefaultDisplayNodes()
        display = self._node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetOpacity2DFill(FILL_OPACITY)
        display.SetVisibility3D(False)


class Preview:
    """Asks for the current frame a moment after its prompts changed; only the latest answer counts."""

    def __init__(
        self,
        stack: Stack,
        notes: Notebook,
        target: Target,
        sessions: Sessions,
        transport: ProcessTransport,
        on_end: Callable[[str], object],
    ) -> None:
        """Begin without a frame.

        Args:
            stack: The input.
            notes: Prompts and objects.
            target: Names and colours of the segments.
            sessions: Open stacks.
            transport: Reaches the worker.
            on_end: Told that an answer is shown, or a sentence about why there is none.
        """
        self._stack, self._notes, self._target = stack, notes, target
        self._sessions, self._transport, self._on_end = sessions, transport, on_end
        self._shown = PreviewNode()
        self._frame: int | None = None
        self._due_s: float | None = None
        self._request: int | None = None
        self.masks: dict[int, NDArray] = {}
        """What is shown: mask of each object on the current frame."""
        self.result: FrameResult | None = None

    @property
    def node(self):
        """The segmentation node that shows the preview, or None."""
        return self._shown.node

    @property
    def is_pending(self) -> bool:
        """Whether an answer is on its way."""
        return self._due_s is not None or self._request is not None

    def show(self, frame: int | None) -> None:
        """Another frame is current now, or its prompts have changed."""
        if frame != self._frame:
            self.clear()
        self._frame = frame
        self._drop_request()
        has_prompts = frame is not None and any(at == frame for _, at in self._notes.prompts.prompts)
        if has_prompts:
            self._due_s = self._transport.clock() + DEBOUNCE_S
            self._transport.wake()
        else:
            self.clear()

    def clear(self) -> None:
        """Show nothing and wait for nothing."""
        self._drop_request()
        self.masks, self.result = {}, None
        self._shown.clear()

    def work(self) -> bool:
        """Ask when it is time; whether it wants to be called again soon."""
        if self._due_s is not None and self._transport.clock() >= self._due_s:
            self._due_s = None
            try:
                self._ask()
            except DDSAM2Error as error:
                self._on_end(str(error))
        return self.is_pending

    def _ask(self) -> None:
        frame = self._frame
        source, index = self._stack.source_of(frame)
        name, prompts = prompts_for_session(self._stack, self._notes, frame)
        session = self._sessions.get(name, source)
        session.set_prompts(prompts)
        self._request = self._transport.send(lambda: session.start_preview(index), self._on_event)

    def _on_event(self, event: Event) -> None:
        if event.result is not None:
            self._take(event.result)
            return
        self._request = None
        if event.kind == "failed":
            self.clear()  # it was the answer to other prompts
        self._on_end("" if event.kind != "failed" else sentence_of(event.error))

    def _take(self, result: FrameResult) -> None:
        source, index = self._stack.source_of(self._frame)
        self.result = result
        self.masks = dict(zip(result.object_ids, result.masks, strict=True))
        names = {self._notes.segment_ids[one]: mask for one, mask in self.masks.items()}
        self._shown.show(source, index, names, self._target.node)

    def _drop_request(self) -> None:
        self._due_s = None
        if self._request is not None:
            self._transport.abandon(self._request)
            self._request = None


def prompts_for_session(stack: Stack, notes: Notebook, frame: int) -> tuple[str, PromptSet]:
    """Name of the stack that a frame is previewed on, and its prompts in that stack's frames."""
    num_slices = stack.num_slices or stack.num_frames
    time = frame // num_slices
    prompts = PromptSet(
        {
            (one, at % num_slices): prompt
            for (one, at), prompt in notes.prompts.prompts.items()
            if at // num_slices == time
        }
    )
    usable = prompts
    for one in prompts.object_ids:
        if not any(prompts.get(one, at).shows_object for at in prompts.frames(one)):
            usable = usable.without(one)  # it would keep the others from being shown
    return "input" if stack.num_slices is None else f"time {time}", usable if usable.prompts else prompts
