"""Bridge between 3D Slicer's MRML nodes and the core vocabulary: no widgets, no torch."""
