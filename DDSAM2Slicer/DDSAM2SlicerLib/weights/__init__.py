"""Which model files exist, where they lie on this computer, and how they get there (layer: weights, no torch)."""
