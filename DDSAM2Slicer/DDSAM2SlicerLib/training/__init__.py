"""Training: generated clips, losses, pretraining loop (layer: training; torch, no Slicer)."""
