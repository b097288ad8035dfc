"""One undo step for a propagation through a segmentation sequence, whose items have none of their own (layer: mrml)."""

from __future__ import annotations

from collections.abc import Container

import slicer


class SequenceHistory:
    """Undo and redo of the last propagation; an item is copied just before it is changed for the first time."""

    def __init__(self, browser, segmentation_sequence) -> None:
        """Watch over one sequence; nothing is copied yet."""
        self._browser = browser
        self._sequence = segmentation_sequence
        self._copies: dict[int, object] = {}
        self._is_undone = False

    @property
    def can_undo(self) -> bool:
        """Whether there are remembered items that can come back."""
        return bool(self._copies) and not self._is_undone

    @property
    def can_redo(self) -> bool:
        """Whether an undone propagation can come back."""
        return self._is_undone

    def begin(self) -> None:
        """Start a new step; the one before is forgotten."""
        self._copies.clear()
        self._is_undone = False

    def remember(self, item: int) -> None:
        """Keep an item as it is now, unless this step has it already."""
        if item not in self._copies:
            self._copies[item] = _copy(self._segmentation(item))

    def undo(self) -> bool:
        """Bring the remembered items back; False if there are none."""
        return self.can_undo and self._exchange()

    def redo(self) -> bool:
        """Take an undo back; False if there was none."""
        return self.can_redo and self._exchange()

    def _segmentation(self, item: int):
        return self._sequence.GetNthDataNode(item).GetSegmentation()

    def _exchange(self) -> bool:
        """Swap the remembered items and those of the sequence."""
        for item, remembered in self._copies.items():
            now = _copy(self._segmentation(item))
            self._segmentation(item).DeepCopy(remembered)
            self._copies[item] = now
        note_change(self._sequence)
        show_items(self._browser, self._copies)
        self._is_undone = not self._is_undone
        return True


def note_change(sequence) -> None:
    """Tell Slicer that items were changed; once, after the last, since each time its widgets go through all items."""
    sequence.StorableModified()  # else it would not offer to save them
    sequence.Modified()


def show_items(browser, items: Container[int]) -> None:
    """Refresh what the browser shows if it is one of these items."""
    if browser.GetSelectedItemNumber() in items:
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)


def _copy(segmentation):
    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segmentation)
    return copy
