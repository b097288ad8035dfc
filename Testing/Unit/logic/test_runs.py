"""What an update asks of the engine."""

import numpy as np
import pytest

pytest.importorskip("slicer", reason="real MRML needs the slicer-core wheel: pip install '.[slicer]'")
from DDSAM2SlicerLib.core.plan import Direction, FrameRange, affected_frames
from DDSAM2SlicerLib.core.prompts import Point, PromptSet
from DDSAM2SlicerLib.logic.runs import Line

MASK = np.ones((4, 4), bool)


def test_an_update_asks_for_all_that_is_missing_whatever_the_engine_starts_from():
    """It starts from clicks on tracked frames, too, even from those that show no object by themselves."""
    prompts = PromptSet.empty().with_mask(1, 2, MASK).with_point(1, 9, Point(1, 1, positive=False))
    done = frozenset({(1, 2), (1, 3)})
    line = Line(prompts, {}, {}, done, frozenset(), Direction.BOTH, FrameRange(0, 16))
    arguments, missing = line.arguments(lambda *_: MASK)
    assert missing == {(1, frame) for frame in range(16)} - done
    for seeds in ({1: (2,)}, {1: (2, 9)}):
        reached = [affected_frames(seeds, key, line.frames, arguments["locked"]) for key in arguments["changed"]]
        assert {(1, frame) for frames in reached for frame in frames} - {(1, 2)} == missing
