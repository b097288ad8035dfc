"""DD-SAM2 for 3D Slicer: prompts propagated through volumes and time series; each subpackage is one layer (CONTRIBUTING.md)."""

__version__ = "0.1.0"
