"""Networks: SAM 2 built from its own modules, depthwise-dilated adapters, mask prior (layer: model, torch)."""
