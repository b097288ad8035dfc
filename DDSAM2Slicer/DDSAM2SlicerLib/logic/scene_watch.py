"""Notices that nodes left the scene, and that the scene is about to be saved (layer: logic)."""

from __future__ import annotations

from collections.abc import Callable

import slicer


class SceneWatch:
    """Observes the scene until it is closed."""

    def __init__(self, on_removed: Callable[[], object], on_save: Callable[[], object]) -> None:
        """Begin to watch.

        Args:
            on_removed: Called after a node was removed, and after the scene was closed.
            on_save: Called before the scene is saved.
        """
        self._scene = slicer.mrmlScene
        pairs = (
            (self._scene.NodeRemovedEvent, on_removed),
            (self._scene.EndCloseEvent, on_removed),
            (self._scene.StartSaveEvent, on_save),
        )
        self._tags = [self._scene.AddObserver(event, lambda *_, call=call: call()) for event, call in pairs]

    def close(self) -> None:
        """Watch no more."""
        for tag in self._tags:
            self._scene.RemoveObserver(tag)
        self._tags = []
