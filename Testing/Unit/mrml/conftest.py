"""Real MRML for the tests of this folder."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

import slicer_boot

booted, make, scene = slicer_boot.booted, slicer_boot.make, slicer_boot.scene  # fixtures, found by their names
