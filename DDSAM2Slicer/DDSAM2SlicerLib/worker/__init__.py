"""The engine in a process of its own, behind a byte pipe (layer: worker)."""
