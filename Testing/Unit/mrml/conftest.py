"""Real MRML for the tests of this folder."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from slicer_boot import booted, make, scene  # noqa: E402, F401 (fixtures, found by their names)
