"""DD-SAM2 for 3D Slicer: prompts propagated through volumes and time series; one subpackage per layer."""

__version__ = "0.1.0"
