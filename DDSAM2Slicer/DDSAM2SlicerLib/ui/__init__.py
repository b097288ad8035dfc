"""Qt widgets of the module; one file per panel (layer: ui)."""
