"""Slicer-side use cases without widgets: scene to worker and back, for module, effect and console alike."""
